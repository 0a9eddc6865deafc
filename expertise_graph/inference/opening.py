"""Opening a finished model from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from expertise_graph.core import InvalidInputError, NotFoundError
from expertise_graph.inference.model import Ensemble, Model, Network
from expertise_graph.models import (
    RunFolder,
    SourceOptions,
    existing_folder,
    load,
    read_head,
    read_learnt_items,
    read_raw,
    resolve,
)


def open_model(folder: str | Path, *, trust_code: bool = False) -> Model:
    """Read the folder of a finished run, or of an `auto` that left an ensemble.

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
        columns=first.columns,
        learnt=first.learnt.and_also(*(member.learnt for member in others)),
        weights=_normalised(list(described.weights.values())),
    )


def open_network(folder: str | Path, *, trust_code: bool = False) -> Network:
    """Read the folder of a finished run; of an ensemble its first network.

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
    backbone = read_raw(run.model) or load(resolve(f"dir:{run.model}", options), trust_code=trust_code)
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
        columns=description.named_columns,
        learnt=read_learnt_items(run),
    )


def _no_model(root: Path) -> NotFoundError:
    if RunFolder(root.parent).has_model:
        return NotFoundError(f"{root} is a part of a finished model: give {root.parent}")
    return NotFoundError(f"{root} holds no finished model (no head.json): give the folder of a finished run")


def _normalised(weights: Sequence[float]) -> tuple[float, ...]:
    """Return the weights over their sum; whatever finite numbers they are, that is finite."""
    shares = [weight / max(weights) for weight in weights]
    return tuple(share / sum(shares) for share in shares)
