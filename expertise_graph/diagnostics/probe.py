"""The cross-validated probe that advice about labels, accuracy and more data rests on; the methods below it.

It is a ridge classifier: fast in closed form for many classes, and steadier than logistic regression
where labels are wrong (LOG.md has the comparison).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Z_95, FloatArray, IntArray, InvalidInputError, softmax, wilson
from expertise_graph.diagnostics.findings import Accuracy, Baselines
from expertise_graph.transferability import decompose, ridge_predict

# The usual compromise: four fifths of the items to learn from, five fits.
FOLDS = 5

# Items below which five folds hold one or two items each, and every figure is chance.
LEAST = 8

# Up to MANY items all dimensions are kept: the first 256 axes cost .024 of accuracy (mobilenet-v2, 660 items)
# and .027 (raw glosses). Above, sixty fits in 2,048 dimensions would take minutes.
MANY, WIDTH = 1000, 512

# The softmax of ridge scores, which lie around the shares of the classes, is nearly flat; so factors up to 64
# are tried, each a quarter above the one before. Beyond, probabilities are 0 and 1 anyway.
_SHARPNESS = np.geomspace(0.5, 64.0, 22)

NAMES = {
    "majority": "always the most frequent class",
    "centroid": "nearest class mean, raw input",
    "raw": "ridge, raw input",
}

Array = NDArray[np.float64]


def too_small(labels: IntArray) -> str:
    """Return why a probe cannot be cross-validated on these labels (n,), or an empty text."""
    _, counts = np.unique(labels, return_counts=True)
    if len(counts) < 2:
        return "there is one class only" if len(counts) else "there are no items"
    if len(labels) < LEAST:
        return f"{len(labels)} items are too few, {LEAST} are the least"
    if (counts >= 2).sum() < 2:
        return "fewer than two classes have two items"
    return ""


def folds_of(labels: IntArray, groups: Sequence[int], *, seed: int, count: int = FOLDS) -> IntArray:
    """Deal items out to folds, class by class, and keep each group of duplicates in one fold.

    Args:
        labels: (n,) int.
        groups: n numbers; items of the same number stay together.
        seed: of the order.
        count: how many folds; fewer where there are not as many groups.

    Returns:
        (n,) int, the fold of each item.
    """
    _, first, member = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(first))
    order = order[np.argsort(labels[first][order], kind="stable")]
    fold = np.empty(len(first), dtype=np.int64)
    fold[order] = np.arange(len(first)) % min(count, len(first))
    return fold[member]


def reduced(features: FloatArray, most: int = WIDTH) -> FloatArray:
    """Return features (n, d) of over a thousand items along their first principal axes (n, at most 512).

    For speed: sixty fits in 2,048 dimensions would take minutes. Fewer items keep all dimensions, as they are
    fast and lose more. The axes are those of all items; labels take no part.
    """
    if len(features) <= MANY or features.shape[1] <= most:
        return features
    return decompose(features).centred.coordinates(most).cpu().numpy()


def scores(
    features: FloatArray, labels: IntArray, fold: IntArray, *, usable: NDArray[np.bool_] | None = None
) -> Array:
    """Return class scores (n, c) of a ridge classifier that has not seen the fold of the item.

    Args:
        features: (n, d) float.
        labels: (n,) int below c.
        fold: (n,) int.
        usable: (n,) bool, items to learn from; all when left out.

    Returns:
        Scores around the share of each class; a class without items to learn from scores zero.
    """
    result = np.zeros((len(labels), int(labels.max()) + 1))
    usable = np.ones(len(labels), dtype=bool) if usable is None else usable
    for f in range(int(fold.max()) + 1):
        train, held = (fold != f) & usable, fold == f
        result[held] = predict(features[train], labels[train], features[held], classes=result.shape[1])
    return result


def predict(features: FloatArray, labels: IntArray, others: FloatArray, *, classes: int) -> Array:
    """Return scores (p, classes) for `others` (p, d) of a ridge classifier; see `scores`."""
    result = np.zeros((len(others), classes))
    present, counts = np.unique(labels, return_counts=True)
    if not len(others) or not len(present):
        return result
    share = counts / len(labels)
    if len(present) == 1 or len(labels) < 2:
        result[:, present] = share
        return result
    try:
        result[:, present] = ridge_predict(features, labels, others).cpu().numpy() + share
    except InvalidInputError:
        result[:, present] = share
    return result


def probabilities(scored: Array, labels: IntArray, *, usable: NDArray[np.bool_] | None = None) -> Array:
    """Turn scores (n, c) into probabilities by the one factor that makes the labels likeliest.

    References:
        Guo et al., arXiv:1706.04599, temperature scaling.
    """
    kept = np.ones(len(labels), dtype=bool) if usable is None else usable
    best, lowest = softmax(scored), np.inf
    for sharpness in _SHARPNESS:
        likely = softmax(scored * sharpness)
        loss = -np.log(likely[kept, labels[kept]] + 1e-12).mean()
        if loss < lowest:
            best, lowest = likely, float(loss)
    return best


def nearest_centroid(features: FloatArray, labels: IntArray, fold: IntArray) -> IntArray:
    """Return the class (n,) whose mean, without the fold of the item, is nearest to it."""
    guess = np.zeros(len(labels), dtype=np.int64)
    rows = features.astype(np.float64)
    for f in range(int(fold.max()) + 1):
        train, held = fold != f, fold == f
        present, index = np.unique(labels[train], return_inverse=True)
        means = np.zeros((len(present), rows.shape[1]))
        np.add.at(means, index, rows[train])
        means /= np.bincount(index)[:, None]
        distance = (means**2).sum(axis=1) - 2 * rows[held] @ means.T
        guess[held] = present[distance.argmin(axis=1)]
    return guess


def commonest(labels: IntArray, fold: IntArray) -> IntArray:
    """Return the class (n,) that is most frequent outside of the fold of the item."""
    guess = np.zeros(len(labels), dtype=np.int64)
    for f in range(int(fold.max()) + 1):
        guess[fold == f] = np.bincount(labels[fold != f]).argmax()
    return guess


def measure_baselines(
    raw: FloatArray, labels: IntArray, fold: IntArray, *, expert: FloatArray | None = None, name: str = ""
) -> Baselines:
    """Measure methods of rising effort, cross-validated.

    Args:
        raw: (n, d) float, `Modality.raw_features`.
        labels: (n,) int.
        fold: (n,) int, the same for all methods.
        expert: (n, e) float, features of a frozen expert, if there is one.
        name: of the expert.
    """
    guesses = {
        "majority": commonest(labels, fold),
        "centroid": nearest_centroid(raw, labels, fold),
        "raw": scores(reduced(raw), labels, fold).argmax(axis=1),
    }
    names = dict(NAMES)
    if expert is not None:
        guesses["expert"] = scores(expert, labels, fold).argmax(axis=1)
        names["expert"] = f"ridge, features of {name}"
    right = {method: (guess == labels).astype(float) for method, guess in guesses.items()}
    gain, low, high = _gain(right)
    return Baselines(
        methods={method: _accuracy(names[method], hits) for method, hits in right.items()},
        items=len(labels),
        folds=int(fold.max()) + 1,
        gain=gain,
        gain_low=low,
        gain_high=high,
    )


def _accuracy(method: str, right: FloatArray) -> Accuracy:
    """Return the share of right answers (n,) with its Wilson interval."""
    low, high = wilson(int(right.sum()), len(right))
    return Accuracy(method=method, value=float(right.mean()), low=low, high=high)


def _gain(right: Mapping[str, FloatArray]) -> tuple[float | None, float | None, float | None]:
    """Return accuracy of the expert minus that on raw input, and its 95 % interval over the items."""
    if "expert" not in right:
        return None, None, None
    difference = right["expert"] - right["raw"]
    gain, half = float(difference.mean()), Z_95 * float(difference.std()) / math.sqrt(len(difference))
    return gain, float(np.clip(gain - half, -1, 1)), float(np.clip(gain + half, -1, 1))
