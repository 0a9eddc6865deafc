"""The simple methods that ours must beat, with the same things hidden."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expertise_graph.retrieval.history import History, standardised_columns
from expertise_graph.retrieval.ranking_metrics import weighted_tau
from expertise_graph.retrieval.reliability import UNRUN

Array = NDArray[np.float64]

PARAMETERS, MEAN, RANK = "parameters", "history mean", "history mean rank"
ESTIMATOR = "best single estimator"
_FEWEST = 3


def simple_methods(known: History, parameters: Array, column: int) -> dict[str, Array]:
    """Return what the methods to beat predict of every expert, by method.

    A method without anything to go by is left out. An expert of which it knows nothing is given
    the middle of the others.

    Args:
        known: with everything hidden that a prediction may not see, the task's results among it.
        parameters: (E,) number of parameters, NaN where unknown.
        column: of the task.
    """
    scores = {name: array[:, column] for name, array in known.scores.items()}
    found = {name: _with_middle(here) for name, here in scores.items() if not np.isnan(here).all()}
    values, _, _ = standardised_columns(known.outcomes)
    if not np.isnan(values).all():
        found[MEAN] = _row_mean(values)
        found[RANK] = _row_mean(_ranks(values))
    if not np.isnan(parameters).all():
        found[PARAMETERS] = _with_middle(parameters)
    name = _best_estimator(known, column)
    if name is not None:
        found[ESTIMATOR] = _with_middle(known.scores[name][:, column])
    return found


def _with_middle(values: Array) -> Array:
    return np.where(np.isnan(values), float(np.nanmedian(values)), values)


def _row_mean(values: Array) -> Array:
    known = ~np.isnan(values)
    return np.asarray(np.where(known, values, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1))


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


def _best_estimator(known: History, column: int) -> str | None:
    """Return the estimator with scores on this task that ranked the other tasks best.

    Only what was computed from an expert's features counts: affinity and nearness of the source
    data are parts of ours.
    """
    merit = {
        name: float(np.mean([0.0, *_taus(scores, known.outcomes, skip=column)]))
        for name, scores in known.scores.items()
        if name not in UNRUN and not np.isnan(scores[:, column]).all()
    }
    return max(sorted(merit), key=merit.__getitem__) if merit else None


def _taus(scores: Array, results: Array, *, skip: int) -> list[float]:
    found = []
    for t in range(results.shape[1]):
        both = ~np.isnan(scores[:, t]) & ~np.isnan(results[:, t])
        if t != skip and both.sum() >= _FEWEST:
            found.append(weighted_tau(scores[both, t], results[both, t]))
    return found
