"""Opening a finished model: from its folder, or by the name that the registry knows it by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from expertise_graph.core import Expert, InvalidInputError, NotFoundError, Run, did_you_mean
from expertise_graph.inference.model import Ensemble, Model, Network
from expertise_graph.models import RunFolder, SourceOptions, existing_folder, load, read_head, resolve
from expertise_graph.store import Store


def open_model(folder: str | Path, *, trust_code: bool = False) -> Model:
    """Read the ``--out`` folder of a finished warm start, or of an `auto` that left an ensemble.

    Args:
        folder: it holds ``model/``, ``head.safetensors`` and ``head.json``, and of an ensemble
            ``ensemble.json`` and ``members/``; no workspace is needed.
        trust_code: whether networks built by code of the user may be built.

    Raises:
        NotFoundError: when there is no such folder, or no head in it.
        InvalidInputError: when the run has not finished, or its files do not belong together.
        SourceError: when a file is damaged.
        UntrustedError: when a network is built by code and that was not allowed.
    """
    root = existing_folder(str(folder))
    first = open_network(root, trust_code=trust_code)
    described = RunFolder(root).ensemble()
    if described is None:
        return first
    others = [open_network(root / name, trust_code=trust_code) for name in list(described.weights)[1:]]
    members = (first, *others)
    for member in members:
        if (member.classes, member.kind, member.modality) != (first.classes, first.kind, first.modality):
            raise InvalidInputError(f"{member.folder} has other classes than {root}: they are no ensemble")
    return Ensemble(
        folder=root,
        classes=first.classes,
        kind=first.kind,
        temperature=1.0,
        identity=first.identity,
        accuracy=described.accuracy,
        members=members,
        seen=max(member.seen for member in members),
        weights=_normalised(list(described.weights.values())),
    )


def open_network(folder: str | Path, *, trust_code: bool = False) -> Network:
    """Read the ``--out`` folder of a finished warm start; of an ensemble its first network.

    Args:
        folder: it holds ``model/``, ``head.safetensors`` and ``head.json``; no workspace is needed.
        trust_code: whether a network built by code of the user may be built.

    Raises:
        NotFoundError: when there is no such folder, or no head in it.
        InvalidInputError: when the run has not finished, or its files do not belong together.
        SourceError: when a file is damaged.
        UntrustedError: when the network is built by code and that was not allowed.
    """
    root = existing_folder(str(folder))
    run = RunFolder(root)
    record, description, head = run.finished_record(), run.description(), read_head(run)
    if description is None or head is None:
        raise _no_model(root)
    run.check_backbone()
    options = SourceOptions(trust_code=trust_code, modality=description.modality, name=root.name)
    backbone = load(resolve(f"dir:{run.model}", options), trust_code=trust_code)
    if head.weight.shape[1] != backbone.dim:
        raise InvalidInputError(
            f"the head in {root} takes {head.weight.shape[1]} features and model/ gives {backbone.dim}: they "
            "are of different runs"
        )
    return Network(
        folder=root,
        backbone=backbone,
        head=head.linear(),
        classes=head.classes,
        kind=head.kind,
        temperature=description.temperature,
        identity=record.identity if record else {},
        accuracy=description.accuracy,
        seen=description.seen,
    )


def _no_model(root: Path) -> NotFoundError:
    if RunFolder(root.parent).has_model:
        return NotFoundError(f"{root} is a part of a finished model: give {root.parent}")
    return NotFoundError(f"{root} holds no finished model (no head.json): give the folder of a finished run")


def _normalised(weights: Sequence[float]) -> tuple[float, ...]:
    """Return the weights over their sum; whatever finite numbers they are, that is finite."""
    shares = [weight / max(weights) for weight in weights]
    return tuple(share / sum(shares) for share in shares)


def find_model(store: Store, text: str) -> Path:
    """Return the folder of the finished model that `text` names in the registry.

    Args:
        store: the registry.
        text: the id of a run or the beginning of it, or an expert that a warm start left.

    Raises:
        NotFoundError: when nothing or several are called so, or the expert has no head.
    """
    runs = [run for run in store.runs() if run.status == "done"]
    named = [run for run in runs if text in (run.id, run.id.removeprefix("run:"))]
    named = named or [run for run in runs if text.startswith("run:") and run.id.startswith(text)]
    if len(named) == 1:
        return Path(named[0].path)
    if named:
        raise NotFoundError(f"{text!r} names {len(named)} runs: {', '.join(run.id for run in named[:5])}")
    try:
        expert = store.find_expert(text)
    except NotFoundError as error:
        if " names " in str(error):
            raise
        children = [e.name for e in store.experts() if "warm-start" in e.tags]
        raise NotFoundError(
            f"{text!r} is neither a folder nor a run or a child in the registry."
            f"{did_you_mean(text, children) or ' See: expertise-graph runs'}"
        ) from error
    return _folder_of(expert, runs)


def _folder_of(expert: Expert, runs: list[Run]) -> Path:
    made = [Path(run.path) for run in runs if run.child == expert.id]
    beside = [Path(expert.locator).parent] if expert.source == "dir" else []
    for folder in (*reversed(made), *beside):
        if RunFolder(folder).has_model:
            return folder
    raise NotFoundError(
        f"{expert.short} has no head to classify with: start from it with expertise-graph warm-start, "
        "and use the folder that leaves"
    )
