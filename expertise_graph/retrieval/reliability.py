"""How far scores can be trusted: their correlation with measured results on other tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expertise_graph.retrieval.factors import correlations
from expertise_graph.retrieval.history import History, standardised_columns, without_outliers

Array = NDArray[np.float64]

# Correlation with results that is expected before any was seen, and how many tasks that counts for.
EXPECTED: Mapping[str, float] = {"logme": 0.65, "ridge_accuracy": 0.65}
_EXPECTED_OF_OTHERS = 0.3
_IMAGINARY_TASKS = 3.0
_FEWEST = 4
_LEAST, _MOST = 0.02, 0.95


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What scores on the target say, as one noisy observation of each scored expert's worth.

    Attributes:
        values: (E,) in standard units of the scored experts, NaN for the others.
        reliability: correlation of such values with results.
        estimators: reliability of each estimator by itself.
    """

    values: Array
    reliability: float
    estimators: Mapping[str, float]

    @property
    def noise(self) -> float:
        """Variance of `values / reliability` around the result, in its standard units."""
        return (1.0 - self.reliability**2) / self.reliability**2


def weigh_scores(history: History, target: int) -> Evidence:
    """Return the blend of all estimators on the target, weighted by how they did on other tasks.

    Args:
        history: its results on the target are not looked at.
        target: column of the task.
    """
    hidden = history.without(target)
    results, _, _ = standardised_columns(hidden.outcomes)
    scores = {name: standardised_columns(without_outliers(array))[0] for name, array in hidden.scores.items()}
    single = {
        name: _shrunk(_agreement(array, results), EXPECTED.get(name, _EXPECTED_OF_OTHERS))
        for name, array in scores.items()
    }
    here = {n: r for n, r in single.items() if (~np.isnan(scores[n][:, target])).any() and r > _LEAST}
    if not here:
        return Evidence(values=np.full(len(results), np.nan), reliability=_LEAST, estimators=single)
    blend = standardised_columns(_blend(scores, here))[0]
    reliability = _shrunk(_agreement(blend, results), max(here.values()))
    return Evidence(values=blend[:, target], reliability=reliability, estimators=single)


def _agreement(scores: Array, results: Array) -> Array:
    """Return the correlation of scores with results on each task where 4 experts have both."""
    found = []
    for s, r in zip(scores.T, results.T, strict=True):
        both = ~np.isnan(s) & ~np.isnan(r)
        if both.sum() >= _FEWEST:
            found.append(float(correlations(np.stack([s[both], r[both]], axis=1))[0][0, 1]))
    return np.array(found)


def _shrunk(found: Array, expected: float) -> float:
    total = float(found.sum()) + _IMAGINARY_TASKS * expected
    return float(np.clip(total / (len(found) + _IMAGINARY_TASKS), _LEAST, _MOST))


def _blend(scores: Mapping[str, Array], reliability: Mapping[str, float]) -> Array:
    """Return the mean of standardised scores, each weighted as if its errors were its own."""
    total = np.zeros_like(next(iter(scores.values())))
    weight = np.zeros_like(total)
    for name, r in reliability.items():
        known = ~np.isnan(scores[name])
        w = r / (1.0 - r**2)
        total += np.where(known, w * np.nan_to_num(scores[name]), 0.0)
        weight += w * known
    return np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), np.nan)
