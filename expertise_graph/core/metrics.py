"""How good predictions are: pure functions on arrays."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core.types import FloatArray, IntArray

BINS = 15
Z_80 = 1.2815515655446004
Z_95 = 1.959963984540054
"""How many standard deviations a Gaussian interval of 80 and of 95 % reaches to either side."""


def softmax(logits: FloatArray) -> NDArray[np.float64]:
    """Return probabilities (n, classes) whose rows add up to one."""
    return np.asarray(np.exp(log_softmax(logits)), dtype=np.float64)


def log_softmax(logits: FloatArray) -> FloatArray:
    """Return the logarithms (n, classes) of `softmax`, also where it underflows."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    result: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def sigmoid(logits: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-x)) of each element."""
    result: FloatArray = 0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))
    return result


def confusion_matrix(labels: IntArray, predicted: IntArray, classes: int) -> NDArray[np.int64]:
    """Return (classes, classes) counts: the row is the label, the column what was predicted."""
    codes = np.asarray(labels) * classes + np.asarray(predicted)
    return np.bincount(codes, minlength=classes * classes).astype(np.int64).reshape(classes, classes)


def wilson(right: int, n: int, *, z: float = Z_95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, by default of 95 %.

    It lies within [0, 1] and holds for few items too.

    Args:
        right: how many of the n items were right.
        n: at least 1.
        z: quantile of the normal distribution.

    References:
        Wilson (1927), Journal of the American Statistical Association 22, 209-212.

    Example:
        >>> [round(end, 3) for end in wilson(9, 10)]
        [0.596, 0.982]
    """
    share = right / n
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def class_table(confusion: NDArray[np.int64]) -> FloatArray:
    """Return precision, recall, F1 and support of each class.

    Args:
        confusion: (classes, classes), as `confusion_matrix` gives.

    Returns:
        (classes, 4) float; a precision of nothing predicted and a recall of nothing there are 0.
    """
    hits = np.diag(confusion).astype(np.float64)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return np.stack(
        [ratio(hits, predicted), ratio(hits, support), ratio(2 * hits, predicted + support), support], axis=1
    )


def balanced_accuracy(confusion: NDArray[np.int64]) -> float:
    """Return the mean recall of the classes that have items."""
    support = confusion.sum(axis=1)
    return float((np.diag(confusion)[support > 0] / support[support > 0]).mean())


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Return the mean F1 of the classes that have items or were predicted."""
    seen = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
    return float(class_table(confusion)[seen, 2].mean())


def log_loss(logits: FloatArray, labels: IntArray) -> float:
    """Return the mean of minus the log-probability of the label, in nats."""
    picked = np.take_along_axis(log_softmax(logits), np.asarray(labels)[:, None], axis=1)
    return float(-picked.mean())


def calibration_error(
    confidence: FloatArray, right: FloatArray | NDArray[np.bool_], bins: int = BINS
) -> float:
    """Return the expected calibration error: confidence against accuracy over bins of equal width.

    Args:
        confidence: (n,) float in [0, 1], the probability of what was predicted.
        right: (n,) 0 or 1.
        bins: how many; the m-th holds ((m - 1) / bins, m / bins].

    References:
        Guo et al., arXiv:1706.04599, equation 3.
    """
    confidence = np.asarray(confidence, dtype=np.float64)
    places = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=np.asarray(right, dtype=np.float64) - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def most_confused(confusion: NDArray[np.int64], k: int) -> list[tuple[int, int, int]]:
    """Return up to k triples (label, predicted, count) of mistakes, the most frequent first."""
    mistakes = confusion.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:k]
    rows, columns = np.unravel_index(order, mistakes.shape)
    return [
        (int(r), int(c), int(mistakes[r, c])) for r, c in zip(rows, columns, strict=True) if mistakes[r, c]
    ]


def multi_table(targets: IntArray, chosen: IntArray | NDArray[np.bool_]) -> FloatArray:
    """Return precision, recall, F1 and support of each label where an item has several.

    Args:
        targets: (n, classes) of 0 and 1.
        chosen: (n, classes) of 0 and 1, what was predicted.

    Returns:
        (classes, 4) float.
    """
    there, told = np.asarray(targets, dtype=bool), np.asarray(chosen, dtype=bool)
    hits, predicted, support = (there & told).sum(axis=0), told.sum(axis=0), there.sum(axis=0)
    return np.stack(
        [ratio(hits, predicted), ratio(hits, support), ratio(2 * hits, predicted + support), support], axis=1
    )


def micro_f1(targets: IntArray, chosen: IntArray | NDArray[np.bool_]) -> float:
    """Return F1 over all pairs of an item and a label (n, classes)."""
    return float(multi_table(targets.reshape(-1, 1), chosen.reshape(-1, 1))[0, 2])


def average_precision(scores: FloatArray, targets: IntArray) -> float:
    """Return the area under the precision-recall steps; equal scores make one step.

    Args:
        scores: (n,) float, higher for what is more likely there.
        targets: (n,) of 0 and 1, at least one 1.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    ranked, there = np.asarray(scores)[order], np.asarray(targets)[order].astype(np.float64)
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits = np.cumsum(there)[ends]
    return float((np.diff(hits, prepend=0.0) * hits / (ends + 1)).sum() / there.sum())


def mean_average_precision(scores: FloatArray, targets: IntArray) -> float:
    """Return the mean of `average_precision` over the labels that some item has.

    Args:
        scores: (n, classes) float.
        targets: (n, classes) of 0 and 1.
    """
    there = np.flatnonzero(np.asarray(targets).sum(axis=0) > 0)
    return (
        float(np.mean([average_precision(scores[:, c], targets[:, c]) for c in there])) if len(there) else 0.0
    )


def r_squared(values: FloatArray, predicted: FloatArray) -> float | None:
    """Return 1 minus the squared error over the variance; None when all values are the same."""
    spread = float(((values - values.mean()) ** 2).sum())
    return 1.0 - float(((values - predicted) ** 2).sum()) / spread if spread > 0 else None


def mean_absolute_error(values: FloatArray, predicted: FloatArray) -> float:
    """Return the mean distance of value and prediction (n,)."""
    return float(np.abs(values - predicted).mean())


def root_mean_squared_error(values: FloatArray, predicted: FloatArray) -> float:
    """Return the root of the mean squared distance of value and prediction (n,)."""
    return math.sqrt(float(((values - predicted) ** 2).mean()))


def spearman(values: FloatArray, predicted: FloatArray) -> float | None:
    """Return the correlation of the ranks, ties sharing theirs; None when one side is constant."""
    ours, theirs = (ranks(side) - (len(side) - 1) / 2 for side in (values, predicted))
    scale = math.sqrt(float((ours**2).sum() * (theirs**2).sum()))
    return float((ours * theirs).sum()) / scale if scale > 0 else None


def ranks(values: FloatArray) -> FloatArray:
    """Return the place of each value (n,) from 0 on; equal values share the mean of theirs.

    Example:
        >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
        [1.5, 0.0, 1.5]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)


def ratio(part: FloatArray | IntArray, whole: FloatArray | IntArray) -> FloatArray:
    """Return part / whole of each element, 0 where the whole is 0."""
    whole = np.asarray(whole, dtype=np.float64)
    result: FloatArray = np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
    return result
