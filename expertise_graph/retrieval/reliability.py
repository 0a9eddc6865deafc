"""How far scores can be trusted: their correlation with measured results on other tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from expertise_graph.retrieval.scale import on_open_scale, standardised_columns, without_outliers

if TYPE_CHECKING:
    from expertise_graph.retrieval.history import History

Array = NDArray[np.float64]

LOGME, RIDGE, ALIGNMENT = "logme", "ridge_accuracy", "kernel_target_alignment"
"""Scores that a query works out itself."""

AFFINITY, NEARNESS = "affinity", "nearness of the source data"
UNRUN = frozenset({AFFINITY, NEARNESS})
"""Scores that need no run of the expert on the task."""

# Correlation with results that is expected before any was seen. .6 and .85 for the three that a query
# computes are not told apart; affinity trusted like .2 costs .4 to .5 deviations of merit without history
# (LOG.md).
EXPECTED: Mapping[str, float] = {
    LOGME: 0.75,
    RIDGE: 0.75,
    ALIGNMENT: 0.75,
    AFFINITY: 0.05,
}
# The same for estimators that we have not measured: they count a little, and more once results agree.
_EXPECTED_OF_OTHERS = 0.3
_SPELLINGS = {name.replace("_", ""): name for name in EXPECTED}
# Tasks that the expected correlation counts for: after three tasks what was measured weighs as much.
_IMAGINARY_TASKS = 3.0
# A task with n experts that have both score and result counts as n / (n + 4), and so does the spread of n
# scores on the target against that on other tasks: of few experts both are mostly chance.
_IMAGINARY_EXPERTS = 4.0
# Experts that a correlation of scores and results takes.
_FEWEST = 4
# Bounds of a reliability: a score below the first is left out, none is trusted like a measured result.
_LEAST, _MOST = 0.02, 0.95


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What scores on the target say, as one noisy view of each scored expert's result.

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


def weigh_scores(history: History, target: int, kind: Callable[[str], bool] = lambda _: True) -> Observation:
    """Return the blend of the estimators on the target, weighted by how they did on other tasks.

    Args:
        history: its results on the target are not looked at.
        target: column of the task.
        kind: whether an estimator of this name is blended.
    """
    given = {name: array for name, array in sorted(history.scores.items()) if kind(name)}
    # Tasks without any score tell nothing of one.
    known = np.arange(history.outcomes.shape[1]) == target
    for array in given.values():
        known |= ~np.isnan(array).all(axis=0)
    scored = np.flatnonzero(known)
    target = int(np.searchsorted(scored, target))
    results = history.outcomes[:, scored].copy()
    results[:, target] = np.nan
    results = standardised_columns(results)[0]
    scores = {name: standardised_scores(name, array[:, scored], target) for name, array in given.items()}
    single = {
        name: _shrunk(_agreement(array, results), EXPECTED.get(_plain(name), _EXPECTED_OF_OTHERS))
        for name, array in scores.items()
    }
    here = {n: r for n, r in single.items() if (~np.isnan(scores[n][:, target])).any() and r > _LEAST}
    if not here:
        return Observation(values=np.full(len(results), np.nan), reliability=_LEAST, estimators=single)
    blend = _blend(scores, here)
    reliability = _shrunk(_agreement(blend, results), max(here.values()))
    return Observation(values=blend[:, target], reliability=reliability, estimators=single)


def standardised_scores(name: str, scores: Array, target: int) -> Array:
    """Return scores (E, T) in standard units of each task; accuracies by their log-odds.

    On the target few experts may have been scored: their deviation is shrunk towards what it
    is on other tasks, so that two equal experts are not taken for a good and a bad one.
    """
    values = without_outliers(on_open_scale(scores) if name.endswith("accuracy") else scores)
    standard, _, deviation = standardised_columns(values)
    count = (~np.isnan(values)).sum(axis=0)
    others = (count >= 2 * _FEWEST) & (np.arange(len(count)) != target)
    if others.any() and count[target]:
        seen, usual = deviation[target] if count[target] > 1 else 0.0, float(np.median(deviation[others]))
        weight = count[target] / (count[target] + _IMAGINARY_EXPERTS)
        both = np.sqrt(weight * seen**2 + (1.0 - weight) * usual**2)
        standard[:, target] *= deviation[target] / both
    return standard


def _plain(name: str) -> str:
    """Return the name of an estimator as ours are written: LogME and LOG_ME are logme."""
    folded = name.casefold().replace("-", "_")
    return _SPELLINGS.get(folded.replace("_", ""), folded)


def _agreement(scores: Array, results: Array) -> tuple[Array, Array]:
    """Return the correlation of scores with results on each task, and the weight of each in [0, 1).

    A task counts by the n experts that have both, as n / (n + 4); fewer than 4 do not.
    """
    found, weights = [], []
    for s, r in zip(scores.T, results.T, strict=True):
        both = ~np.isnan(s) & ~np.isnan(r)
        if both.sum() >= _FEWEST:
            found.append(_correlation(s[both], r[both]))
            weights.append(both.sum() / (both.sum() + _IMAGINARY_EXPERTS))
    return np.array(found), np.array(weights)


def _correlation(x: Array, y: Array) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / scale if scale > 0 else 0.0


def _shrunk(agreement: tuple[Array, Array], expected: float) -> float:
    """Return the weighted mean correlation, `expected` counting for three tasks."""
    found, weights = agreement
    total = float(found @ weights) + _IMAGINARY_TASKS * expected
    return float(np.clip(total / (float(weights.sum()) + _IMAGINARY_TASKS), _LEAST, _MOST))


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
