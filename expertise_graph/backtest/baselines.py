"""The simple methods that ours must beat, with the same things hidden."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expertise_graph.backtest.plan import Plan
from expertise_graph.evaluate import weighted_tau
from expertise_graph.retrieval.history import History, standardised_columns

Array = NDArray[np.float64]

PARAMETERS, MEAN, RANK = "parameters", "history mean", "history mean rank"
ESTIMATOR = "best single estimator"
_FEWEST = 3


def simple_methods(known: History, plan: Plan, column: int) -> dict[str, Array]:
    """Return what the methods to beat predict; one without anything to go by is left out."""
    found: dict[str, Array] = {}
    values, _, _ = standardised_columns(known.outcomes)
    if not np.isnan(values).all():
        found[MEAN] = _row_mean(values)
        found[RANK] = _row_mean(_ranks(values))
    if not np.isnan(plan.parameters).all():
        found[PARAMETERS] = np.where(
            np.isnan(plan.parameters), np.nanmedian(plan.parameters), plan.parameters
        )
    name = _best_estimator(known, plan.truth, column)
    if name is not None:
        scores = known.scores[name][:, column]
        found[ESTIMATOR] = np.where(np.isnan(scores), np.nanmin(scores), scores)
    return found


def _row_mean(values: Array) -> Array:
    known = ~np.isnan(values)
    return np.where(known, values, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)


def _ranks(values: Array) -> Array:
    """Return by column the share of experts that each one is better than, minus one half; ties share."""
    ranks = np.full_like(values, np.nan)
    for column in range(values.shape[1]):
        known = ~np.isnan(values[:, column])
        x = values[known, column]
        if len(x):
            below = (x[:, None] > x[None, :]).mean(axis=1) + 0.5 * (x[:, None] == x[None, :]).mean(axis=1)
            ranks[known, column] = below - 0.5
    return ranks


def _best_estimator(known: History, truth: Array, column: int) -> str | None:
    """Return the estimator on this task that ranked the other tasks best."""
    merit = {}
    for name, scores in known.scores.items():
        if np.isnan(scores[:, column]).all():
            continue
        merit[name] = np.mean([0.0, *_taus(scores, truth, skip=column)])
    return max(sorted(merit), key=lambda name: float(merit[name])) if merit else None


def _taus(scores: Array, truth: Array, *, skip: int) -> list[float]:
    found = []
    for t in range(truth.shape[1]):
        both = ~np.isnan(scores[:, t]) & ~np.isnan(truth[:, t])
        if t != skip and both.sum() >= _FEWEST:
            found.append(weighted_tau(scores[both, t], truth[both, t]))
    return found
