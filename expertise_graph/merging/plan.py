"""What is to be merged: models opened and checked for compatibility before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from expertise_graph.core import IntArray, InvalidInputError, NotFoundError, setting, sha256_of_json
from expertise_graph.data import LabelledData, Splits, plural_of
from expertise_graph.features import Context
from expertise_graph.merging.loaded_model import LoadedModel, open_model
from expertise_graph.merging.methods import normalised
from expertise_graph.merging.settings import MergeSettings
from expertise_graph.merging.states import check_alike
from expertise_graph.registry import learnt_from
from expertise_graph.training import training_splits


@dataclass(frozen=True, kw_only=True)
class MergePlan:
    """What is to be merged on which data, where to, and how.

    Attributes:
        seed: of the splits.
        splits: of the data, without validation and test items that a model has learnt from.
        left_out: how many items that were.
    """

    models: tuple[LoadedModel, ...]
    parent: str | None
    data: LabelledData
    out: Path
    settings: MergeSettings
    seed: int
    splits: Splits
    left_out: int = 0

    @property
    def identity(self) -> dict[str, object]:
        """What makes a merge the same merge."""
        return {
            "models": [m.expert.id for m in self.models],
            "data": self.data.sha256,
            "parent": self.parent,
            "config": {**self.settings.as_dict(), "seed": self.seed},
        }

    @property
    def run_id(self) -> str:
        """The same plan has the same id."""
        return f"run:{sha256_of_json([self.identity, str(self.out)])[:16]}"

    @property
    def method(self) -> str:
        """The method as edges and cards name it."""
        return f"merge:{self.settings.method}"


def make_plan(
    context: Context, children: Sequence[str], data: LabelledData, *, out: Path, settings: MergeSettings
) -> MergePlan:
    """Open the models and check that they fit each other, the data and the settings; see `merge`."""
    models = tuple(open_model(context, text) for text in children)
    check_compatible(models, force=settings.force)
    if settings.weights is not None:
        normalised(settings.weights, len(models))
    if data.modality != models[0].expert.modality:
        raise InvalidInputError(
            f"{data.name} holds {plural_of(data.modality)}, but the models take "
            f"{plural_of(models[0].expert.modality)}: give data of {plural_of(models[0].expert.modality)}"
        )
    given = context.store.find_expert(settings.parent).id if settings.parent else None
    parent = given or parent_of(models, force=settings.force)
    seeds = [seed for model in models for task, seed in model.seen if task == data.task.id]
    seed = settings.seed if settings.seed is not None else (seeds or [0])[0]
    if not settings.force:
        check_unseen(models, data, seed)
    drawn = training_splits(data, seed)
    splits = unseen_splits(context, models, data, drawn, force=settings.force)
    return MergePlan(
        models=models,
        parent=parent,
        data=data,
        out=out.absolute(),
        settings=settings,
        seed=seed,
        splits=splits,
        left_out=sum(len(a) - len(b) for a, b in zip(_held(drawn), _held(splits), strict=True)),
    )


def unseen_splits(
    context: Context, models: Sequence[LoadedModel], data: LabelledData, splits: Splits, *, force: bool
) -> Splits:
    """Return splits of `data` without held-out items that one of the models has learnt from.

    Those of the data that a model was trained on are its own; of other data, such as the same with some
    items more or less, what was drawn to measure on may be what it was trained on.

    Args:
        context: the registry, where folders of earlier versions say nothing.
        models: to be merged.
        data: to merge on.
        splits: as they were drawn.
        force: keep a split that would be empty as it is, instead of raising.

    Raises:
        InvalidInputError: when nothing is left to choose by or to measure on.
    """
    if not data.digests:
        return splits
    for model in models:
        learnt = model.learnt.among(data.digests)
        learnt |= learnt_from(context.store, [model.expert.id], data.digests)
        own = any(task == data.task.id for task, _ in model.seen)
        # Its own validation items it has been validated with: that is what they are for.
        for name in ("test",) if own else ("validation", "test"):
            rows = getattr(splits, name)
            kept = rows[~learnt[rows]]
            if len(kept):
                splits = replace(splits, **{name: kept})
            elif not force:
                raise InvalidInputError(
                    f"{model.name} was trained on or validated with every {name} item of {data.name}: give "
                    "the data of the models as they were, or declare splits of other items"
                )
    return splits


def _held(splits: Splits) -> tuple[IntArray, IntArray]:
    return splits.validation, splits.test


def check_unseen(models: Sequence[LoadedModel], data: LabelledData, seed: int) -> None:
    """Refuse to choose or measure models by items that they were trained on.

    Validation and test items that are not declared depend on the seed.

    Raises:
        InvalidInputError: naming the model and its seed.
    """
    if {"train", "validation", "test"} <= set(data.splits):
        return
    for model in models:
        for task, other in model.seen:
            if task == data.task.id and other != seed:
                raise InvalidInputError(
                    f"{model.name} was trained on {data.name} with {setting('seed', other)}, which holds out "
                    f"other items than {setting('seed', seed)}: train the children with one seed, or declare "
                    "validation and test splits"
                )


def check_compatible(models: Sequence[LoadedModel], *, force: bool = False) -> None:
    """Refuse models that cannot be merged, whatever their parents.

    Raises:
        InvalidInputError: for fewer than two models, one model twice, other modalities or
            architectures, other tensors (the first is named) and, unless `force`, another
            preprocessing.
    """
    if len(models) < 2:
        raise InvalidInputError(f"{len(models)} model was given: a merge needs at least two children")
    first = models[0].expert
    for place, model in enumerate(models[1:], 1):
        expert = model.expert
        twin = next((m for m in models[:place] if m.expert.weights_sha == expert.weights_sha), None)
        if twin is not None:
            raise InvalidInputError(f"{twin.name} and {model.name} are the same weights: give each once")
        for what in ("modality", "architecture"):
            one, other = getattr(first, what), getattr(expert, what)
            if one != other:
                raise InvalidInputError(
                    f"{models[0].name} and {model.name} cannot be merged: {what} {one} and {other}"
                )
        if first.preprocessing_sha != expert.preprocessing_sha and not force:
            raise InvalidInputError(
                f"{models[0].name} and {model.name} preprocess their inputs differently: merge models of "
                f"one parent, or set {setting('force')} to take the first one's preprocessing"
            )
    check_alike([m.weights.all for m in models], [m.name for m in models])


def parent_of(models: Sequence[LoadedModel], *, force: bool = False) -> str | None:
    """Return the id of what all models descend from: a parent of each, or one of them itself.

    Args:
        models: at least one.
        force: return None where there is no such parent, instead of raising.

    Raises:
        InvalidInputError: when there is none, naming the parents there are.
    """
    lines = [(*model.parents, model.expert.id) for model in models]
    common = [p for p in lines[0] if all(p in line for line in lines[1:])]
    if common or force:
        return common[0] if common else None
    shown = "; ".join(f"{m.name} comes from {' and '.join(m.parents) or 'nothing known'}" for m in models)
    raise InvalidInputError(
        f"the models have no parent in common ({shown}): weights of different parents do not average; "
        f"set {setting('force')} to merge them all the same"
    )


def open_parent(context: Context, models: Sequence[LoadedModel], parent: str | None) -> LoadedModel:
    """Return the parent with its weights, which some methods start from.

    Raises:
        NotFoundError: when it is not known, or not registered.
        InvalidInputError: when its tensors are not those of the children.
    """
    if parent is None:
        raise NotFoundError(
            f"the method adds to a parent, and the models share none: name one as {setting('parent')}"
        )
    opened = next((m for m in models if m.expert.id == parent), None)
    if opened is None:
        try:
            opened = open_model(context, parent)
        except NotFoundError as error:
            raise NotFoundError(
                f"the parent {parent} is not registered here: register it, or name another as "
                f"{setting('parent')}"
            ) from error
    check_alike([models[0].weights.all, opened.weights.all], [models[0].name, opened.name])
    return opened
