"""Statistics that several rooms need, from scipy: correlations, ranks, the normal distribution, intervals.

Sub-packages of scipy are loaded when they are first used, so importing this module is cheap.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from expertise_graph.core.types import FloatArray

# Quantiles of the normal distribution: an interval of 80 % and of 95 % is the mean +- so many deviations.
Z_80 = 1.2815515655446004
Z_95 = 1.959963984540054


def normal_cdf(z: FloatArray | float) -> NDArray[np.float64]:
    """Return the standard normal distribution function of each element."""
    return np.asarray(scipy.special.ndtr(z), dtype=np.float64)


def normal_pdf(z: FloatArray | float) -> NDArray[np.float64]:
    """Return the standard normal density of each element."""
    return np.asarray(np.exp(-0.5 * np.square(z)) / np.sqrt(2 * np.pi), dtype=np.float64)


def chi2_quantile(level: float, degrees: int) -> float:
    """Return the value that a chi-square variable stays below with probability `level`.

    Example:
        >>> round(chi2_quantile(0.95, 3), 3)
        7.815
    """
    return float(scipy.special.chdtri(degrees, 1.0 - level))


def t_quantile(level: float, degrees: int) -> float:
    """Return the value that a variable of Student's t distribution stays below with probability `level`.

    Example:
        >>> round(t_quantile(0.975, 9), 3)
        2.262
    """
    return float(scipy.special.stdtrit(degrees, level))


def ranks(values: FloatArray) -> NDArray[np.float64]:
    """Return the place of each value (n,) from 0 on; equal values share the mean of theirs.

    Example:
        >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
        [1.5, 0.0, 1.5]
    """
    return np.asarray(scipy.stats.rankdata(values) - 1.0, dtype=np.float64)


def pearson(x: FloatArray, y: FloatArray) -> float | None:
    """Return Pearson's correlation of two (n,) arrays; None when one side is constant.

    Example:
        >>> round(pearson(np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 5.0])), 3)
        0.982
    """
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(scipy.stats.pearsonr(x, y).statistic)


def spearman(x: FloatArray, y: FloatArray) -> float | None:
    """Return the correlation of the ranks of two (n,) arrays; None when one side is constant."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(scipy.stats.spearmanr(x, y).statistic)


def wilson(right: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion; it lies within [0, 1] and holds for few items too.

    Args:
        right: how many of the n items were right.
        n: at least 1.
        level: share of such intervals that hold the true proportion.

    References:
        Wilson (1927), Journal of the American Statistical Association 22, 209-212.

    Example:
        >>> [round(end, 3) for end in wilson(9, 10)]
        [0.596, 0.982]
    """
    interval = scipy.stats.binomtest(right, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)
