"""How good a ranking is: metrics of predicted against measured results, and what chance would give.

Predictions and truths are (n,) arrays over the same experts on one task; higher is better. Tied
predictions have no order: metrics of the first k are the mean of their most and least favourable one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
import sklearn
from numpy.typing import NDArray

from expertise_graph.core import FloatArray, InvalidInputError
from expertise_graph.core import pearson as stats_pearson

if TYPE_CHECKING:
    from expertise_graph.retrieval.backtest_plan import HeldOutTask

Array = NDArray[np.float64]
Metrics = Mapping[str, Mapping[str, float]]

OURS, SET, RANDOM, ORACLE = "ours", "ours, complementary set", "random", "oracle"
RESERVED = frozenset({OURS, SET, RANDOM, ORACLE})
"""Names of methods that an estimator of the same name does not take."""

_REGRETS, _GAINS = (1, 3, 5), (1, 5)


def pearson(predicted: FloatArray, truth: FloatArray) -> float:
    """Return Pearson's correlation, 0 where either side is constant; 0 at random.

    Raises:
        InvalidInputError: for fewer than two experts, shapes that differ, or values not finite.
    """
    return stats_pearson(*_checked(predicted, truth)) or 0.0


def weighted_tau(predicted: FloatArray, truth: FloatArray) -> float:
    """Return the additive hyperbolic weighted Kendall tau, 0 where either side is constant; 0 at random.

    A pair counts by the sum of 1 / (1 + rank) of its members; the value is the mean of ranking by
    prediction and by truth, ties ranked by the other side.

    Raises:
        InvalidInputError: see `pearson`.

    References:
        Vigna 2015, arXiv 1404.3325.
    """
    x, y = _checked(predicted, truth)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(scipy.stats.weightedtau(x, y).statistic)


def regret(predicted: FloatArray, truth: FloatArray, *, k: int) -> float:
    """Return how far the best of the first k picks stays behind the best, as a fraction of the best.

    Raises:
        InvalidInputError: see `pearson`; also when the best truth is not positive, and for k < 1.
    """
    best = _best(truth)
    return (best - best_of_first(predicted, truth, k=k)) / best


def regret_at_random(truth: FloatArray, *, k: int) -> float:
    """Return the expected regret of k picks drawn without replacement."""
    best = _best(truth)
    return (best - _expected_best(truth, k)) / best


def gain(predicted: FloatArray, truth: FloatArray, *, k: int, baseline: float) -> float:
    """Return the best of the first k picks minus what starting from the baseline gives."""
    return best_of_first(predicted, truth, k=k) - baseline


def gain_at_random(truth: FloatArray, *, k: int, baseline: float) -> float:
    """Return the expected gain of k picks drawn without replacement."""
    return _expected_best(truth, k) - baseline


def best_of_first(predicted: FloatArray, truth: FloatArray, *, k: int) -> float:
    """Return the best truth among the k highest predictions; ties count half way.

    Raises:
        InvalidInputError: see `pearson`, and for k < 1.
    """
    x, y = _checked(predicted, truth)
    if k < 1:
        raise InvalidInputError(f"k is {k}: give at least 1")
    lucky, unlucky = np.lexsort((-y, -x))[:k], np.lexsort((y, -x))[:k]
    return float((y[lucky].max() + y[unlucky].max()) / 2.0)


def _expected_best(truth: FloatArray, k: int) -> float:
    """Return the mean over all k-subsets of their largest element."""
    y = np.sort(np.asarray(truth, dtype=np.float64))
    k = min(k, len(y))
    shares = [math.comb(i, k - 1) / math.comb(len(y), k) for i in range(len(y))]
    return float(np.dot(y, shares))


def ndcg(predicted: FloatArray, truth: FloatArray) -> float:
    """Return the normalised discounted cumulative gain; gains are truths scaled to [0, 1].

    Tied predictions share the mean of their discounts. Constant truths give 1.

    Raises:
        InvalidInputError: see `pearson`.

    References:
        Jarvelin and Kekalainen 2002; ties: McSherry and Najork 2008.
    """
    x, y = _checked(predicted, truth)
    if np.ptp(y) == 0:
        return 1.0
    return float(sklearn.metrics.ndcg_score([y - y.min()], [x]))


def ndcg_at_random(truth: FloatArray) -> float:
    """Return the expected NDCG of a random order."""
    return ndcg(np.zeros(len(truth)), truth)


def coverage(low: FloatArray, high: FloatArray, truth: FloatArray) -> float:
    """Return the share of truths inside their intervals, ends included."""
    y = np.asarray(truth, dtype=np.float64)
    return float(((np.asarray(low) <= y) & (y <= np.asarray(high))).mean())


def bootstrap_interval(
    differences: FloatArray, *, seed: int, level: float = 0.95, draws: int = 10_000
) -> tuple[float, float]:
    """Return the percentile interval of the mean of paired differences, tasks drawn with replacement.

    Args:
        differences: (t,) one a task, ours minus the other method's.
        seed: of the draws.
        level: share of the bootstrap means inside.
        draws: how many.

    References:
        Efron 1979.
    """
    values = np.asarray(differences, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (draws, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _checked(predicted: Any, truth: Any) -> tuple[Array, Array]:
    x, y = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2:
        raise InvalidInputError(f"two (n,) arrays with n >= 2 are needed, got shapes {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InvalidInputError("predictions and truths must be finite; leave out experts without a result")
    return x, y


def _best(truth: Any) -> float:
    best = float(np.max(truth))
    if best <= 0:
        raise InvalidInputError(f"relative metrics need a positive best result, got {best}")
    return best


def metrics_of(task: HeldOutTask) -> dict[str, dict[str, float]]:
    """Return the metrics of each method on one task.

    Those relative to the best result are left out where that is not positive, as of negated losses.
    """
    found = {OURS: _ranking_metrics(task, task.predicted[OURS], task.listing)}
    found[OURS]["coverage"] = coverage(task.low, task.high, task.standing)
    if task.first and task.baseline is not None:
        place = np.zeros(len(task.truth))
        place[list(task.first)] = np.arange(len(task.first), 0, -1)
        found[SET] = {f"gain@{k}": gain(place, task.truth, k=k, baseline=task.baseline) for k in _GAINS}
    for name, values in task.predicted.items():
        found.setdefault(name, _ranking_metrics(task, values, values))
    return found | {RANDOM: _at_random(task)}


def _ranking_metrics(task: HeldOutTask, predicted: Array, listing: Array) -> dict[str, float]:
    """Return the metrics of predicted results, and of what they are sorted by."""
    truth = task.truth
    found = {"pearson": pearson(predicted, truth), "tau_w": weighted_tau(listing, truth)}
    found["ndcg"] = ndcg(listing, truth)
    if truth.max() > 0:
        regrets = {f"regret@{k}": regret(listing, truth, k=k) for k in _REGRETS}
        found |= {"rel@1": 1.0 - regrets["regret@1"]} | regrets
    if task.baseline is not None:
        found |= {f"gain@{k}": gain(listing, truth, k=k, baseline=task.baseline) for k in _GAINS}
    return found


def _at_random(task: HeldOutTask) -> dict[str, float]:
    truth = task.truth
    found = {"pearson": 0.0, "tau_w": 0.0, "ndcg": ndcg_at_random(truth)}
    if truth.max() > 0:
        regrets = {f"regret@{k}": regret_at_random(truth, k=k) for k in _REGRETS}
        found |= {"rel@1": 1.0 - regrets["regret@1"]} | regrets
    if task.baseline is not None:
        found |= {f"gain@{k}": gain_at_random(truth, k=k, baseline=task.baseline) for k in _GAINS}
    return found


def mean_table(per_task: Sequence[Metrics]) -> dict[str, dict[str, float]]:
    """Return metric by method, each the plain mean over the tasks that have it."""
    table: dict[str, dict[str, float]] = {}
    for method in dict.fromkeys(name for found in per_task for name in found):
        metrics = dict.fromkeys(m for found in per_task for m in found.get(method, {}))
        table[method] = {
            m: float(np.mean([f[method][m] for f in per_task if m in f.get(method, {})])) for m in metrics
        }
    return table


def differences(per_task: Sequence[Metrics], seed: int) -> dict[str, dict[str, tuple[float, float]]]:
    """Return for each other method by how much ours is above it, a 95 % interval by metric.

    Only tasks on which both have the metric count.
    """
    methods = dict.fromkeys(name for found in per_task for name in found)
    found = {m: _above(per_task, m, seed) for m in methods if m not in (OURS, SET, ORACLE)}
    return {method: by_metric for method, by_metric in found.items() if by_metric}


def _above(per_task: Sequence[Metrics], method: str, seed: int) -> dict[str, tuple[float, float]]:
    found = {}
    for metric in dict.fromkeys(m for by in per_task for m in by[OURS]):
        pairs = [by[OURS][metric] - by[method][metric] for by in per_task if metric in by.get(method, {})]
        if pairs:
            found[metric] = bootstrap_interval(np.array(pairs), seed=seed)
    return found
