"""How good predictions are: pure functions on arrays."""

from __future__ import annotations

import numpy as np
import scipy
import sklearn
from numpy.typing import NDArray

from expertise_graph.core.types import FloatArray, IntArray

# Bins of the calibration error: the number of Guo et al., arXiv:1706.04599, section 4.
BINS = 15


def softmax(logits: FloatArray) -> NDArray[np.float64]:
    """Return probabilities (n, classes) whose rows add up to one."""
    return np.asarray(scipy.special.softmax(np.asarray(logits, dtype=np.float64), axis=1))


def log_softmax(logits: FloatArray) -> FloatArray:
    """Return the logarithms (n, classes) of `softmax`, also where it underflows."""
    result: FloatArray = scipy.special.log_softmax(np.asarray(logits, dtype=np.float64), axis=1)
    return result


def sigmoid(logits: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-x)) of each element."""
    result: FloatArray = scipy.special.expit(np.asarray(logits, dtype=np.float64))
    return result


def confusion_matrix(labels: IntArray, predicted: IntArray, classes: int) -> NDArray[np.int64]:
    """Return (classes, classes) counts: the row is the label, the column what was predicted."""
    matrix = sklearn.metrics.confusion_matrix(labels, predicted, labels=np.arange(classes))
    return np.asarray(matrix, dtype=np.int64)


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
    columns = sklearn.metrics.precision_recall_fscore_support(
        np.asarray(targets, dtype=bool), np.asarray(chosen, dtype=bool), average=None, zero_division=0
    )
    return np.stack(columns, axis=1).astype(np.float64)


def micro_f1(targets: IntArray, chosen: IntArray | NDArray[np.bool_]) -> float:
    """Return F1 over all pairs of an item and a label (n, classes)."""
    there, told = np.asarray(targets, dtype=bool), np.asarray(chosen, dtype=bool)
    return float(sklearn.metrics.f1_score(there, told, average="micro", zero_division=0))


def average_precision(scores: FloatArray, targets: IntArray) -> float:
    """Return the area under the precision-recall steps; equal scores make one step.

    Args:
        scores: (n,) float, higher for what is more likely there.
        targets: (n,) of 0 and 1, at least one 1.
    """
    return float(sklearn.metrics.average_precision_score(targets, scores))


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
    return float(sklearn.metrics.r2_score(values, predicted)) if np.ptp(values) > 0 else None


def mean_absolute_error(values: FloatArray, predicted: FloatArray) -> float:
    """Return the mean distance of value and prediction (n,)."""
    return float(sklearn.metrics.mean_absolute_error(values, predicted))


def root_mean_squared_error(values: FloatArray, predicted: FloatArray) -> float:
    """Return the root of the mean squared distance of value and prediction (n,)."""
    return float(sklearn.metrics.root_mean_squared_error(values, predicted))


def ratio(part: FloatArray | IntArray, whole: FloatArray | IntArray) -> FloatArray:
    """Return part / whole of each element, 0 where the whole is 0."""
    whole = np.asarray(whole, dtype=np.float64)
    result: FloatArray = np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
    return result
