"""Scales on which results and scores of different tasks can be compared: log-odds, standard units."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Fractions nearer to 0 or 1 than this are moved here before their log-odds are taken: half an item of a
# hundred. The number of test items is often unknown; without a bound one lucky 1.0 would be infinitely good.
_EDGE = 0.005

# Values further from the median than so many robust deviations are moved there. At 4 outstanding experts were
# clipped, which are what a query looks for (full scan with LogME: weighted tau .583 clipped, .653 not); 20
# takes absurd values only.
_OUTLIER_DEVIATIONS = 20.0
# From a median absolute deviation to the standard deviation of a normal distribution.
_MAD_TO_DEVIATION = 1.4826


def on_open_scale(values: Array) -> Array:
    """Return the log-odds of fractions, and other values as they are.

    Equal steps count equally then: from .98 to .99 is as far as from .5 to .67.
    """
    if not are_fractions(values):
        return values
    inside = np.clip(values, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside / (1 - inside)))


def are_fractions(values: Array) -> bool:
    """Tell whether all known values are in [0, 1]."""
    known = values[~np.isnan(values)]
    return bool(len(known) and known.min() >= 0 and known.max() <= 1)


def without_outliers(values: Array) -> Array:
    """Return each column with what is beyond 20 deviations from the median moved there.

    The deviation is the median absolute one, so that an absurd score does not squeeze the rest; a few
    outstanding experts are what is looked for, and stay.
    """
    known = ~np.isnan(values)
    centre = np.array([np.median(c[k]) if k.any() else 0.0 for c, k in zip(values.T, known.T, strict=True)])
    far = np.where(known, np.abs(values - centre), np.nan)
    spread = np.array([np.median(c[k]) if k.any() else 0.0 for c, k in zip(far.T, known.T, strict=True)])
    reach = _OUTLIER_DEVIATIONS * _MAD_TO_DEVIATION * spread
    return np.where(reach > 0, np.clip(values, centre - reach, centre + reach), values)


def standardised_columns(values: Array) -> tuple[Array, Array, Array]:
    """Return each task's values minus their mean over their deviation, the means, the deviations.

    Args:
        values: (E, T) with NaN.

    Returns:
        (E, T), (T,) and (T,). A task whose values are equal, or a single one, gives zeros and deviation 1.
    """
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0.0).sum(axis=0) / count
    centred = np.where(known, values - mean, 0.0)
    deviation = np.sqrt(np.square(centred).sum(axis=0) / count)
    deviation = np.where(deviation > 1e-9, deviation, 1.0)
    return np.where(known, centred / deviation, np.nan), mean, deviation


def log_odds(accuracy: float, n: int) -> float:
    """Return the log-odds of an accuracy on n items, with half an item on either side."""
    hits = accuracy * n
    return math.log((hits + 0.5) / (n - hits + 0.5))


def accuracy_of(odds: Array) -> Array:
    """Return accuracies (fractions) of log-odds."""
    return np.asarray(1.0 / (1.0 + np.exp(-odds)))
