"""A finished model as a model repository on the Hub, with a card that says what it is and what it reaches."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expertise_graph.core import (
    Expert,
    InvalidInputError,
    NotFoundError,
    Progress,
    setting,
    silent,
    write_text,
)
from expertise_graph.models import (
    FinishedCard,
    HubRepository,
    ModelDescription,
    RunFolder,
    RunRecord,
    hub_token,
    is_adapter,
    missing,
    pipeline_tag,
)
from expertise_graph.sharing.licences import licence_of_child
from expertise_graph.sharing.privacy import PUBLIC_SOURCES, Cleaner, refuse_secrets
from expertise_graph.store import Store

_STEPS = 3
# Beside the files of the model: the classifier, and what its outputs are called.
_HEAD = ("head.safetensors", "head.json")
_OF_HUB = {".gitattributes", "README.md"}
# Of a run that drew its weights at random: the expert gave the architecture only.
_FROM_SCRATCH = "from-scratch"
# Libraries write where they had read a model from; nothing is computed by it.
_NOTED_PATH = "_name_or_path"
_SUFFIXES = (".json", ".safetensors", ".txt", ".model", ".md")


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """What was published.

    Attributes:
        repository: where to.
        revision: the commit.
        license: of the model.
        base_model: repository of what it was made from, if that is on the Hub.
        metric: name of what was measured.
        value: of it on the test split.
        dataset: name of the data.
        files: names of the files.
    """

    repository: str
    revision: str
    license: str
    base_model: str | None
    metric: str | None
    value: float | None
    dataset: str
    files: tuple[str, ...]


def publish(
    store: Store | None,
    folder: Path,
    name: str,
    *,
    public: bool = True,
    license: str | None = None,
    progress: Progress = silent,
) -> PublishedModel:
    """Commit the model of a finished run to a model repository, which is made if it is not there.

    Neither checkpoints nor states of optimisers go there, nor hashes or predictions of the data.

    Args:
        store: the registry, which knows licences; None where there is none.
        folder: of the run.
        name: ``ORG/NAME``.
        public: whether a repository that is made is public.
        license: of the model; None for that of what it was made from.
        progress: called after each step.

    Raises:
        InvalidInputError: when the run has not finished, its licence is not known or not allowed, a file
            holds a path, or the repository holds something else.
        OfflineError, SourceError: when the Hub does not answer, or does not let this account write.
    """
    run = RunFolder(folder)
    record, description = _finished(run)
    parents = list(_parents(store, run, record, description))
    licence = licence_of_child([(p.name, p.license) for p in parents], license)
    base = next((_repository(p) for p in parents if _repository(p)), None)
    progress("publishing", 0, _STEPS)
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary)
        files = list(_copied(run, target))
        dataset = _dataset(store, description)
        card = _card(name, record, description, licence=licence, base=base, parents=parents, dataset=dataset)
        write_text(target / "README.md", card.text)
        token = hub_token()
        cleaner = Cleaner(folder, "", anonymous=False, secrets=[token] if token else [])
        refuse_secrets((target / file for file in (*files, "README.md")), cleaner.secrets)
        progress("publishing", 1, _STEPS)
        revision = _commit(HubRepository(name, "model"), target, [*files, "README.md"], public=public)
    progress("publishing", _STEPS, _STEPS)
    return PublishedModel(
        repository=name,
        revision=revision,
        license=licence,
        base_model=base,
        metric=description.metric,
        value=description.accuracy,
        dataset=dataset,
        files=tuple(sorted([*files, "README.md"])),
    )


def _finished(run: RunFolder) -> tuple[RunRecord, ModelDescription]:
    record, description = run.finished_record(), run.description()
    if record is None or description is None:
        raise NotFoundError(f"{run.path} holds no finished model: give a run, or what a warm start left")
    run.check_complete()
    if description.trusted_code:
        raise InvalidInputError(
            f"{run.path} is built by code of your own, which is not in it: nobody else could load it"
        )
    if run.ensemble() is not None:
        raise InvalidInputError(
            f"{run.path} holds several networks that answer together: publish one of members/, or the model "
            "of a run with one"
        )
    if is_adapter(run.model):
        raise InvalidInputError(
            f"{run.path} is an adapter, whose base stays where it is: fold it first, with: "
            f"expertise-graph fold {run.path} {setting('out', 'FOLDER')}"
        )
    return record, description


def _parents(
    store: Store | None, run: RunFolder, record: RunRecord, description: ModelDescription
) -> Iterator[Expert]:
    """Yield the experts that a model was made from, as far as the registry knows them."""
    if store is None or description.strategy == _FROM_SCRATCH:
        return
    children = store.experts(where={"locator": [str(run.model), str(run.model.resolve())]})
    ids = {edge.source for child in children for edge in store.edges("lineage", target=child.id)}
    ids |= {str(record.identity.get("expert") or description.expert or "")}
    for id_ in sorted(ids - {""}):
        if (known := store.known_expert(id_)) is not None:
            yield known
    # Of a model whose parents are gone its own licence tells, which was that of the parents.
    yield from () if any(map(store.known_expert, ids)) else children


def _repository(expert: Expert) -> str | None:
    """Return the repository on the Hub that an expert is from."""
    return {"hf": expert.locator, "timm": f"timm/{expert.locator}"}.get(expert.source)


def _copied(run: RunFolder, target: Path) -> Iterator[str]:
    """Copy what makes the model: the backbone to the root, where libraries look for it, and the head."""
    sources = [(p, p.relative_to(run.model).as_posix()) for p in sorted(run.model.rglob("*"))]
    for path, name in [*sources, *((run.path / head, head) for head in _HEAD)]:
        if path.is_symlink() or not path.is_file() or path.suffix not in _SUFFIXES or name == "README.md":
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json" and (content := _object(path)) is not None and _NOTED_PATH in content:
            del content[_NOTED_PATH]
            write_text(target / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        else:
            shutil.copyfile(path, target / name)
        yield name


def _object(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _dataset(store: Store | None, description: ModelDescription) -> str:
    """Return the name of the data that a model was trained on."""
    known = [t for t in store.tasks() if t.id == description.task] if store else []
    return known[0].name if known else str(description.task or "data")


def _card(
    name: str,
    record: RunRecord,
    description: ModelDescription,
    *,
    licence: str,
    base: str | None,
    parents: list[Expert],
    dataset: str,
) -> FinishedCard:
    result: Mapping[str, Any] = record.result or {}
    metric = (description.metric or "score").replace("_", " ")
    rows = {
        f"{metric} on the test split": f"{description.accuracy:.4f} ({result.get('n_test')} items)"
        if description.accuracy is not None
        else None,
        "made from": ", ".join(f"`{p.id}`" if p.source in PUBLIC_SOURCES else p.name for p in parents)
        or None,
        "items trained on": result.get("n_train"),
        "outputs": len(description.classes),
        "strategy": description.strategy,
        "seed": result.get("seed"),
        "epochs": result.get("epochs"),
    }
    return FinishedCard(
        title=name.partition("/")[2],
        license=licence,
        base_model=base,
        relation="finetune" if base else None,
        datasets=[dataset],
        pipeline=pipeline_tag(str(description.modality), description.kind),
        metric=description.metric,
        score=description.accuracy,
        rows=rows,
        prose=[
            "The test split took no part in the training. `head.safetensors` is the linear classifier on the",
            "features, `head.json` names its outputs. To rank it for your data, and to start from it:",
            "",
            f"```\nexpertise-graph register hf:{name}\n```",
        ],
    )


def _commit(repository: HubRepository, folder: Path, files: list[str], *, public: bool) -> str:
    state = repository.state()
    if state is None:
        repository.create(public=public)
        state = repository.state()
    if state is None:
        raise NotFoundError(missing(repository.name))
    others = sorted({*state.files} - _OF_HUB)
    if others and not {*_HEAD} <= {*state.files}:
        raise InvalidInputError(
            f"{repository.name} holds other files ({', '.join(others[:3])}): give the name of a new one"
        )
    commit = repository.commit(
        folder,
        files=files,
        delete=[name for name in others if name not in files],
        parent=state.commit,
        message="Model with its classifier and card",
    )
    if commit is None:
        raise InvalidInputError(f"{repository.name} has changed meanwhile: run the same command again")
    return commit
