"""What is to be merged, opened and checked before anything is computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from expertise_graph.core import InvalidInputError
from expertise_graph.data import LabelledData
from expertise_graph.merging.compatibility import check_compatible, parent_of
from expertise_graph.merging.methods import normalised
from expertise_graph.merging.models import Model, open_model
from expertise_graph.merging.settings import MergeSettings
from expertise_graph.store import Store


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be merged on which data, where to, and how."""

    models: tuple[Model, ...]
    parent: str | None
    data: LabelledData
    out: Path
    settings: MergeSettings
    seed: int
    trust_code: bool = False

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
        text = json.dumps([self.identity, str(self.out)], sort_keys=True)
        return f"run:{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def method(self) -> str:
        """The method as edges and cards name it."""
        return f"merge:{self.settings.method}"


def make_plan(
    store: Store,
    children: Sequence[str],
    data: LabelledData,
    *,
    out: Path,
    settings: MergeSettings,
    trust_code: bool = False,
) -> Plan:
    """Open the models and check that they fit each other, the data and the settings; see `merge`."""
    models = tuple(open_model(store, text, trust_code=trust_code) for text in children)
    check_compatible(models, force=settings.force)
    if settings.weights is not None:
        normalised(settings.weights, len(models))
    if data.modality != models[0].expert.modality:
        raise InvalidInputError(
            f"{data.name} holds {data.modality} and the models take {models[0].expert.modality}"
        )
    given = store.find_expert(settings.parent).id if settings.parent else None
    parent = given or parent_of(models, force=settings.force)
    seeds = [seed for model in models for task, seed in model.seen if task == data.task.id]
    seed = settings.seed if settings.seed is not None else (seeds or [0])[0]
    if not settings.force:
        check_unseen(models, data, seed)
    return Plan(
        models=models,
        parent=parent,
        data=data,
        out=out.absolute(),
        settings=settings,
        seed=seed,
        trust_code=trust_code,
    )


def check_unseen(models: Sequence[Model], data: LabelledData, seed: int) -> None:
    """Refuse to measure models on test items that they were trained on.

    Without a declared test split the items held out depend on the seed.

    Raises:
        InvalidInputError: naming the model and its seed.
    """
    if {"train", "test"} <= set(data.splits):
        return
    for model in models:
        for task, other in model.seen:
            if task == data.task.id and other != seed:
                raise InvalidInputError(
                    f"{model.name} was trained on {data.name} with --seed {other}, which holds out other "
                    f"items than --seed {seed}: train the children with one seed, or declare a test split"
                )
