"""How much a task needs a network: simple methods and a frozen expert on the same folds."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from expertise_graph.core import Z_95, FloatArray, IntArray, wilson
from expertise_graph.diagnostics.findings import Accuracy, Need
from expertise_graph.diagnostics.probe import commonest, nearest_centroid, reduced, scores

NAMES = {
    "majority": "always the most frequent class",
    "centroid": "nearest class mean, raw input",
    "raw": "ridge, raw input",
}


def how_hard(
    raw: FloatArray, labels: IntArray, fold: IntArray, *, expert: FloatArray | None = None, name: str = ""
) -> Need:
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
    return Need(
        methods={method: accuracy(names[method], hits) for method, hits in right.items()},
        items=len(labels),
        folds=int(fold.max()) + 1,
        gain=gain,
        gain_low=low,
        gain_high=high,
    )


def accuracy(method: str, right: FloatArray) -> Accuracy:
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
