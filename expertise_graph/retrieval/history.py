"""What is known of experts on other tasks, as arrays: results, scores, similarities, traits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from expertise_graph.retrieval.covariates import Trait

Array = NDArray[np.float64]

_EDGE = 0.005


@dataclass(frozen=True, kw_only=True)
class History:
    """Results and scores of E experts on T tasks; NaN where there is none.

    Attributes:
        experts: E ids.
        tasks: T ids.
        outcomes: (E, T), higher is better, on a scale where differences add up (see `on_open_scale`).
        scores: (E, T) by estimator, higher is better; the unit of a task does not matter.
        likeness: (T, T) by source, similarity of tasks in [0, 1], ones on the diagonal, NaN unknown.
        traits: the experts' covariates.
        graph: (E, E) cosine of the experts' embeddings, zero where one has none, or None.
        fractional: (T,) whether outcomes are log-odds of fractions; None if all are.
    """

    experts: tuple[str, ...]
    tasks: tuple[str, ...]
    outcomes: Array
    scores: Mapping[str, Array] = field(default_factory=dict)
    likeness: Mapping[str, Array] = field(default_factory=dict)
    traits: tuple[Trait, ...] = ()
    graph: Array | None = None
    fractional: NDArray[np.bool_] | None = None

    @property
    def accuracies(self) -> Array:
        """(E, T) log-odds of the outcomes that are fractions; NaN for the others."""
        if self.fractional is None:
            return self.outcomes
        return np.where(self.fractional, self.outcomes, np.nan)

    def without(self, task: int) -> History:
        """Return the same with the results of one task hidden."""
        outcomes = self.outcomes.copy()
        outcomes[:, task] = np.nan
        return dataclasses.replace(self, outcomes=outcomes)

    def without_experts(self, rows: NDArray[np.bool_]) -> History:
        """Return the same with all results of some experts hidden; what describes them stays."""
        outcomes = self.outcomes.copy()
        outcomes[rows] = np.nan
        return dataclasses.replace(self, outcomes=outcomes)


def on_open_scale(values: Array) -> Array:
    """Return the log-odds of fractions, and other values as they are.

    Equal steps count equally then: from .98 to .99 is as far as from .5 to .67. Fractions nearer
    to 0 or 1 than half a percent are moved there, for want of a number of test items.
    """
    if not are_fractions(values):
        return values
    inside = np.clip(values, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside / (1 - inside)))


def are_fractions(values: Array) -> bool:
    """Tell whether all known values are in [0, 1]."""
    known = values[~np.isnan(values)]
    return bool(len(known) and known.min() >= 0 and known.max() <= 1)


def without_outliers(values: Array) -> Array:
    """Return each column with what is beyond 20 deviations from the median moved there.

    The deviation is the median absolute one, so that an absurd score does not squeeze the rest; a few
    outstanding experts are what is looked for, and stay.
    """
    known = ~np.isnan(values)
    centre = np.array([np.median(c[k]) if k.any() else 0.0 for c, k in zip(values.T, known.T, strict=True)])
    far = np.where(known, np.abs(values - centre), np.nan)
    spread = np.array([np.median(c[k]) if k.any() else 0.0 for c, k in zip(far.T, known.T, strict=True)])
    reach = 20.0 * 1.4826 * spread
    return np.where(reach > 0, np.clip(values, centre - reach, centre + reach), values)


def standardised_columns(values: Array) -> tuple[Array, Array, Array]:
    """Return each task's values minus their mean over their deviation, the means, the deviations.

    Args:
        values: (E, T) with NaN.

    Returns:
        (E, T), (T,) and (T,). A task whose values are equal, or a single one, gives zeros and deviation 1.
    """
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0.0).sum(axis=0) / count
    centred = np.where(known, values - mean, 0.0)
    deviation = np.sqrt(np.square(centred).sum(axis=0) / count)
    deviation = np.where(deviation > 1e-9, deviation, 1.0)
    return np.where(known, centred / deviation, np.nan), mean, deviation
