"""How good a ranking is: metrics of predicted against measured results, and what chance would give.

Predictions and truths are (n,) arrays over the same experts on one task; higher is better. Tied
predictions have no order: metrics of the first k are the mean of their most and least favourable one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import FloatArray, InvalidInputError

Array = NDArray[np.float64]


def pearson(predicted: FloatArray, truth: FloatArray) -> float:
    """Return Pearson's correlation, 0 where either side is constant; 0 at random.

    Raises:
        InvalidInputError: for fewer than two experts, shapes that differ, or values not finite.
    """
    x, y = _checked(predicted, truth)
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / scale if scale > 0 else 0.0


def weighted_tau(predicted: FloatArray, truth: FloatArray) -> float:
    """Return the additive hyperbolic weighted Kendall tau, 0 where either side is constant; 0 at random.

    A pair counts by the sum of 1 / (1 + rank) of its members; the value is the mean of ranking by
    prediction and by truth, ties ranked by the other side, as `scipy.stats.weightedtau` does.

    Raises:
        InvalidInputError: see `pearson`.

    References:
        Vigna 2015, arXiv 1404.3325.
    """
    x, y = _checked(predicted, truth)
    return (_tau_ranked_by(x, y) + _tau_ranked_by(y, x)) / 2.0


def _tau_ranked_by(x: Array, y: Array) -> float:
    """Return the weighted tau with ranks by x, then y, both decreasing."""
    ranks = np.empty(len(x))
    ranks[np.lexsort((y, x))[::-1]] = np.arange(len(x))
    importance = 1.0 / (1.0 + ranks)
    weights = importance[:, None] + importance[None, :]
    dx, dy = np.sign(x[:, None] - x), np.sign(y[:, None] - y)
    scale = math.sqrt(float((weights * dx**2).sum()) * float((weights * dy**2).sum()))
    return float((weights * dx * dy).sum()) / scale if scale > 0 else 0.0


def relative_at_1(predicted: FloatArray, truth: FloatArray) -> float:
    """Return the truth of the first pick over the best; at random the mean over the best.

    Raises:
        InvalidInputError: see `pearson`; also when the best truth is not positive.
    """
    return 1.0 - regret(predicted, truth, k=1)


def regret(predicted: FloatArray, truth: FloatArray, *, k: int) -> float:
    """Return how far the best of the first k picks stays behind the best, as a fraction of the best.

    Raises:
        InvalidInputError: as `relative_at_1`, and for k < 1.
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
    gains = y - y.min()
    discounts = 1.0 / np.log2(np.arange(2, len(x) + 2))
    ideal = float(np.sort(gains)[::-1] @ discounts)
    if ideal == 0:
        return 1.0
    _, group = np.unique(-x, return_inverse=True)
    shared = np.bincount(group[np.argsort(-x, kind="stable")], weights=discounts) / np.bincount(group)
    return float(gains @ shared[group]) / ideal


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
