"""The settings of a merge, checked once, and its result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from expertise_graph.core import InvalidInputError, did_you_mean, setting

METHODS = ("mean", "greedy-soup", "task-arithmetic", "ties", "fisher")
SCALES: Mapping[str, tuple[float, ...]] = {
    "task-arithmetic": tuple(round(0.1 * i, 1) for i in range(1, 11)),
    "ties": (0.3, 0.5, 0.8, 1.0, 1.3, 1.6, 2.0),
}
"""Scales that are tried on the validation split, around those of arXiv:2212.04089 and 2306.01708."""

_WEIGHTED = ("mean", "task-arithmetic", "fisher")


@dataclass(frozen=True, kw_only=True)
class MergeSettings:
    """The settings of one merge.

    Attributes:
        method: one of `METHODS`.
        scale: of task-arithmetic and ties; None to choose one of `SCALES` on validation.
        density: of ties, the fraction of each task vector that is kept; None for 0.2.
        weights: of mean, task-arithmetic and fisher, one for each child; None for equal ones.
        statistics: of batch normalisation: "keep" averages them, "recompute" takes those of the
            training items; None keeps them where all children have the same and else recomputes.
        seed: of the split of the data; None for that of the children's runs on it, else 0.
        parent: id or name of the parent, where the lineage names none.
        force: merge models of different parents all the same.
    """

    method: str = "mean"
    scale: float | None = None
    density: float | None = None
    weights: tuple[float, ...] | None = None
    statistics: str | None = None
    seed: int | None = None
    parent: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            hint = did_you_mean(self.method, METHODS)
            raise InvalidInputError(f"no method {self.method!r}; there are: {', '.join(METHODS)}.{hint}")
        if self.statistics not in (None, "keep", "recompute"):
            raise InvalidInputError(f"statistics is {self.statistics!r}: give keep, recompute or None")
        if self.seed is not None and self.seed < 0:
            raise InvalidInputError(f"seed is {self.seed}: give a whole number of at least 0")
        for name, allowed in (("scale", tuple(SCALES)), ("density", ("ties",)), ("weights", _WEIGHTED)):
            if getattr(self, name) is not None and self.method not in allowed:
                raise InvalidInputError(
                    f"{setting(name)} has no effect on {self.method}: it belongs to {', '.join(allowed)}"
                )
        if self.scale is not None and not math.isfinite(self.scale):
            raise InvalidInputError(f"scale is {self.scale}: give a finite number")
        if self.density is not None and not 0 < self.density <= 1:
            raise InvalidInputError(f"density is {self.density:g}: give a fraction above 0 and at most 1")

    @property
    def scales(self) -> tuple[float, ...]:
        """The scales to try; one that means nothing for methods without."""
        return (self.scale,) if self.scale is not None else SCALES.get(self.method, (1.0,))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class ChildResult:
    """What one of the merged models reaches by itself.

    Attributes:
        head: "own", or "probe" where one was fitted on the training split.
        validation_accuracy: score on the validation split, 1 the best.
        accuracy: the same on the test split.
        kept: whether it is part of the merge.
    """

    expert: str
    name: str
    head: str
    validation_accuracy: float
    accuracy: float
    kept: bool = True


@dataclass(frozen=True, kw_only=True)
class MergeResult:
    """What a merge reached beside its children.

    Attributes:
        expert: id of the merged expert; None when greedy-soup kept one child only.
        parent: id of what all come from; None for models of different parents.
        metric: what accuracies are: accuracy, average_precision or r2.
        scale: the one used, None where the method has none.
        head: "merged" from the children's, or "probe" fitted on the training split.
        statistics: "kept", "recomputed", or "none" where there is no batch normalisation.
        statistics_accuracy: validation accuracy with kept and recomputed statistics, as far as measured.
        best_child: the one with the highest validation accuracy.
        path: the folder written, None when none was.
        notes: what to know about the numbers.
    """

    run: str
    expert: str | None
    parent: str | None
    method: str
    scale: float | None
    density: float | None
    weights: tuple[float, ...] | None
    children: tuple[ChildResult, ...]
    head: str
    statistics: str
    statistics_accuracy: Mapping[str, float]
    validation_accuracy: float
    accuracy: float
    n_test: int
    seed: int
    license: str
    seconds: float
    path: str | None
    task: str
    metric: str = "accuracy"
    notes: tuple[str, ...] = ()

    @property
    def best_child(self) -> ChildResult:
        """The child with the highest validation accuracy, the first of equal ones."""
        return max(self.children, key=lambda child: child.validation_accuracy)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        best = self.best_child
        return {**asdict(self), "best_child": best.expert, "best_child_accuracy": best.accuracy}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MergeResult:
        """Return the result that `as_dict` gave."""
        derived = ("best_child", "best_child_accuracy")
        kept = {name: value for name, value in values.items() if name not in derived}
        children = tuple(ChildResult(**child) for child in values["children"])
        weights = None if values["weights"] is None else tuple(values["weights"])
        return cls(**{**kept, "children": children, "weights": weights, "notes": tuple(values["notes"])})
