"""Whether models may be merged: one architecture, one parent, the same tensors."""

from __future__ import annotations

from collections.abc import Sequence

from expertise_graph.core import InvalidInputError, NotFoundError
from expertise_graph.merging.models import Model, open_model
from expertise_graph.merging.states import check_alike
from expertise_graph.store import Store


def check_compatible(models: Sequence[Model], *, force: bool = False) -> None:
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
                "one parent, or add --force to take the first one's preprocessing"
            )
    check_alike([m.weights.all for m in models], [m.name for m in models])


def parent_of(models: Sequence[Model], *, force: bool = False) -> str | None:
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
        "--force does it all the same"
    )


def open_parent(store: Store, models: Sequence[Model], parent: str | None, *, trust_code: bool) -> Model:
    """Return the parent with its weights, which some methods start from.

    Raises:
        NotFoundError: when it is not known, or not registered.
        InvalidInputError: when its tensors are not those of the children.
    """
    if parent is None:
        raise NotFoundError("the method adds to a parent, and the models have none in common: give --parent")
    opened = next((m for m in models if m.expert.id == parent), None)
    if opened is None:
        try:
            opened = open_model(store, parent, trust_code=trust_code)
        except NotFoundError as error:
            raise NotFoundError(
                f"the parent {parent} is not registered here: register it, or give --parent"
            ) from error
    check_alike([models[0].weights.all, opened.weights.all], [models[0].name, opened.name])
    return opened
