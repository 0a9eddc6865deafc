"""Models in memory with their tensors, head and parents: registered experts or folders of runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from expertise_graph.core import UNKNOWN, Expert, InvalidInputError, NotFoundError
from expertise_graph.features import Context
from expertise_graph.merging.states import Weights, weights_of
from expertise_graph.models import (
    Backbone,
    Head,
    LearntItems,
    RunFolder,
    SourceOptions,
    is_adapter,
    load,
    read_head,
    read_learnt_items,
    resolve,
)
from expertise_graph.registry import kind_of


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model in memory, adapters folded in, with what is known of where it comes from.

    Attributes:
        expert: its node, as registered or as its folder describes it.
        backbone: the network.
        weights: copies of the tensors of the network, in float32.
        head: its classifier, where a run left one.
        parents: ids of what it was made from.
        folder: of the run that made it.
        seen: (task id, seed) of the runs it was trained in.
        learnt: the items that it has learnt from, as far as its folder says.
        items: how many items it was trained on.
    """

    expert: Expert
    backbone: Backbone
    weights: Weights
    head: Head | None = None
    parents: tuple[str, ...] = ()
    folder: Path | None = None
    seen: tuple[tuple[str, int], ...] = ()
    learnt: LearntItems = field(default_factory=LearntItems)
    items: int | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return self.expert.short

    @property
    def is_adapter(self) -> bool:
        """Whether it is an adapter; `weights` and `backbone` have it folded in."""
        return self.expert.source == "adapter"

    def head_for(self, outputs: Sequence[str], kind: str) -> Head | None:
        """Return its head with these outputs in this order, or None where it has not exactly these."""
        if self.head is None or self.head.kind != kind or sorted(self.head.classes) != sorted(outputs):
            return None
        return self.head.ordered(outputs)


def open_model(context: Context, text: str) -> LoadedModel:
    """Return the model that `text` names: a registered expert, or the folder of a finished run.

    Raises:
        NotFoundError: when there is neither.
        InvalidInputError: for a quantised model, or one without weights.
        SourceError: when its weights cannot be loaded.
    """
    store, path = context.store, Path(text).expanduser()
    folder: Path | None
    if "\0" not in text and path.is_dir():
        expert, folder = _in_folder(path, context.trust_code), path.absolute()
        known = store.known_expert(expert.id)
        # The folder that was named is read, wherever the same weights were registered from.
        expert = dataclasses.replace(known, locator=expert.locator) if known else expert
    else:
        expert = store.find_runnable(text)
        folder = _left_by(expert)
    lineage = store.edges("lineage", expert.id)
    _check_whole(expert, kind_of(expert, lineage))
    model = _opened(expert, folder, trust_code=context.trust_code)
    runs = store.runs(child=expert.id, status="done")
    parents = [e.source for e in lineage if e.target == expert.id]
    items = [n for n in (run.result.get("n_train") for run in runs) if isinstance(n, int)]
    return dataclasses.replace(
        model,
        parents=tuple(dict.fromkeys([*parents, *model.parents])),
        seen=tuple(dict.fromkeys([*((run.task, run.seed) for run in runs), *model.seen])),
        items=model.items or next(iter(items), None),
    )


def open_folder(folder: Path, *, trust_code: bool = False) -> LoadedModel:
    """Return the model in the folder of a finished run, as far as the folder knows it.

    Raises:
        NotFoundError: when no finished run is there.
        InvalidInputError: for a quantised model.
        SourceError: when its weights cannot be loaded.
    """
    expert = _in_folder(folder, trust_code)
    _check_whole(expert, kind_of(expert, ()))
    return _opened(expert, folder.absolute(), trust_code=trust_code)


def open_expert(reference: str, *, trust_code: bool = False) -> LoadedModel:
    """Return the expert that ``scheme:locator`` names, without any registry.

    Raises:
        ExpertiseError: see the sources.
    """
    expert = resolve(reference, SourceOptions(trust_code=trust_code))
    _check_whole(expert, kind_of(expert, ()))
    return _opened(expert, None, trust_code=trust_code)


def _opened(expert: Expert, folder: Path | None, *, trust_code: bool) -> LoadedModel:
    run = RunFolder(folder) if folder else None
    description, record = (run.description(), run.record()) if run else (None, None)
    backbone = load(expert, trust_code=trust_code)
    sources = (description.expert if description else None, expert.base_model)
    return LoadedModel(
        expert=expert,
        backbone=backbone,
        weights=weights_of(backbone.module, expert.name),
        head=read_head(run) if run else None,
        parents=tuple(dict.fromkeys(p for p in sources if p and p != expert.id)),
        folder=folder,
        seen=record.trained_in if record else (),
        learnt=read_learnt_items(run) if run else LearntItems(),
        items=record.n_train if record else None,
    )


def _in_folder(path: Path, trust_code: bool) -> Expert:
    """Return the node of the model that a finished run left in a folder."""
    model = path.absolute() / "model"
    if not RunFolder(path).has_model and not model.is_dir():
        raise NotFoundError(
            f"{path} is not the folder of a finished run: register a checkpoint as dir:{path}"
        )
    scheme = "adapter" if is_adapter(model) else "dir"
    return resolve(f"{scheme}:{model}", SourceOptions(trust_code=trust_code))


def _left_by(expert: Expert) -> Path | None:
    """Return the folder of the run that left a registered expert, if it is still there."""
    model = Path(expert.locator)
    left = expert.source in ("dir", "adapter") and model.name == "model" and RunFolder(model.parent).has_model
    return model.parent if left else None


def _check_whole(expert: Expert, kind: str) -> None:
    if kind == "quantised":
        raise InvalidInputError(
            f"{expert.name} is quantised: its weights are rounded, which cannot be averaged; give "
            "full-precision models"
        )


def changed(model: LoadedModel, module: nn.Module, head: Head | None, *, items: int) -> LoadedModel:
    """Return a model with another network and head in place of its own."""
    return dataclasses.replace(
        model,
        backbone=dataclasses.replace(model.backbone, module=module),
        weights=weights_of(module, model.expert.name),
        head=head,
        items=items,
    )


def license_of(model: LoadedModel) -> str:
    """Return the licence of a model, "unknown" where nothing is stated."""
    return model.expert.license or UNKNOWN
