"""How much more data would help: the accuracy of the probe at three sizes, and a cautious look ahead."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import FloatArray, IntArray
from expertise_graph.data import stratified_sample
from expertise_graph.diagnostics.findings import LearningCurve
from expertise_graph.diagnostics.probe import predict

# Doublings, as the power law is fitted to the logarithm; three points show whether the curve flattens.
SHARES = (0.25, 0.5, 1.0)

# Each part of a small dataset is drawn so often, as one draw of few items is mostly luck; from MANY items on
# once, as the luck is small and the fits are slow.
DRAWS, MANY = 3, 600

# Items below which a quarter is ten at most, whose accuracy says nothing of a slope.
LEAST = 40

# Enough for the 10 and 90 % quantiles of five folds.
_RESAMPLES = 1000

Array = NDArray[np.float64]


def measure_learning_curve(
    features: FloatArray, labels: IntArray, fold: IntArray, *, seed: int, method: str
) -> LearningCurve:
    """Measure the probe on a quarter, half and all of the items outside of each fold.

    Args:
        features: (n, d) float.
        labels: (n,) int.
        fold: (n,) int.
        seed: of the draws.
        method: what the features are of, for the reader.
    """
    errors, sizes = _measure(features, labels, fold, seed=seed)
    curve = LearningCurve(
        method=method,
        sizes=tuple(sizes),
        accuracies=tuple((1.0 - errors.mean(axis=(0, 1))).tolist()),
        reason=_why_not(errors, labels, sizes),
    )
    if curve.reason:
        return curve
    low, middle, high = _doubled(errors.mean(axis=1), seed=seed)
    return dataclasses.replace(curve, doubled=middle, low=low, high=high)


def _measure(features: FloatArray, labels: IntArray, fold: IntArray, *, seed: int) -> tuple[Array, list[int]]:
    """Return errors (folds, draws, sizes) and the mean number of items of each size."""
    folds, classes = int(fold.max()) + 1, int(labels.max()) + 1
    draws = DRAWS if len(labels) < MANY else 1
    errors = np.zeros((folds, draws, len(SHARES)))
    sizes = np.zeros(len(SHARES))
    for f in range(folds):
        pool, held = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        for s, share in enumerate(SHARES):
            n = max(2, round(share * len(pool)))
            sizes[s] += n / folds
            # All items can be drawn in one way only.
            for draw in range(draws if share < 1 else 1):
                rows = pool[stratified_sample(labels[pool], n, seed=seed + draw)]
                guess = predict(features[rows], labels[rows], features[held], classes=classes).argmax(axis=1)
                errors[f, draw if share < 1 else slice(None), s] = (guess != labels[held]).mean()
    return errors, [round(n) for n in sizes]


def _why_not(errors: Array, labels: IntArray, sizes: list[int]) -> str:
    """Return why the curve cannot be carried on, or an empty text."""
    quarter, _, full = errors.mean(axis=(0, 1))
    if len(labels) < LEAST:
        return f"{len(labels)} items are too few to tell, {LEAST} are the least"
    if sizes[0] < 2 * len(np.unique(labels)):
        return (
            "a quarter of the items is under two a class, so the curve starts with classes that are missing"
        )
    if full == 0:
        return "there is no error left to reduce"
    by_fold = (errors[:, :, 0] - errors[:, :, -1]).mean(axis=1)
    doubt = by_fold.std(ddof=1) / np.sqrt(len(by_fold)) if len(by_fold) > 1 else np.inf
    if quarter - full < 2 * doubt or quarter <= full:
        return "the curve is flat within its noise: more of the same data may not help, or by little"
    return ""


def _doubled(errors: Array, *, seed: int) -> tuple[float, float, float]:
    """Return low, middle and high accuracy at twice the items, from errors (folds, sizes).

    The folds are resampled a thousand times. Each draw continues the curve by the power law error ~ n^-b,
    with b from all three sizes and from the last two. The middle is the median with the slower of the
    two, as curves flatten more often than they steepen; low the 10 % quantile with half of that, as if an
    error that no data removes came to the fore; high the 90 % quantile with the faster.

    References:
        Hestness et al., arXiv:1712.00409, error ~ n^-b; Viering and Loog, arXiv:2103.10948, section 5, on
        what such curves hide.
    """
    rng = np.random.default_rng(seed)
    drawn = errors[rng.integers(0, len(errors), (_RESAMPLES, len(errors)))].mean(axis=1)
    logs = np.log2(np.maximum(drawn, 1e-6))
    whole, last = (logs[:, 0] - logs[:, 2]) / 2, logs[:, 1] - logs[:, 2]
    slow = np.clip(np.minimum(whole, last), 0.0, 1.0)
    fast = np.clip(np.maximum(whole, last), 0.0, 1.0)
    # The level is the one measured: only what the doubling adds is drawn.
    now = 1.0 - errors[:, 2].mean()
    ends = ((slow / 2, 0.1), (slow, 0.5), (fast, 0.9))
    gains = [np.quantile(drawn[:, 2] * (1.0 - 2.0**-slope), share) for slope, share in ends]
    low, middle, high = (float(now + gain) for gain in gains)
    return low, middle, high
