"""A Gaussian process over the experts: what the ones that were run say about the others.

The value of expert i is mu + beta a_i + f_i: a common level, the affinity of its embedding to
the task, and a function that is smooth over the graph (covariance: cosine of the embeddings).
Values are standardised evidence; `Calibration` turns them into accuracies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_LEVEL_VARIANCE = 1.0
_AFFINITY_MEAN, _AFFINITY_VARIANCE = 0.5, 0.25
_GRAPH_VARIANCE = 1.0
_NOISE_VARIANCE = 0.05


@dataclass(frozen=True)
class Posterior:
    """Mean (N,) and covariance (N, N) of the experts' values, in standard units."""

    mean: Array
    covariance: Array

    @property
    def deviation(self) -> Array:
        """Standard deviations (N,)."""
        return np.sqrt(np.clip(np.diag(self.covariance), 1e-12, None))


def posterior(similarity: Array, affinity: Array, observed: list[int], values: Array) -> Posterior:
    """Return the posterior of all N experts given noisy values of some.

    Args:
        similarity: (N, N) positive semi-definite, ones on the diagonal.
        affinity: (N,) of each expert to the task, in standard units.
        observed: places of the experts with evidence.
        values: (len(observed),) their evidence in standard units.

    References:
        Rasmussen and Williams 2006, equations 2.22-2.24 and 2.39.
    """
    prior_mean = _AFFINITY_MEAN * affinity
    prior = (
        _GRAPH_VARIANCE * similarity
        + _LEVEL_VARIANCE
        + _AFFINITY_VARIANCE * np.outer(affinity, affinity)
        + 1e-9 * np.eye(len(affinity))
    )
    if not observed:
        return Posterior(prior_mean, prior)
    seen = prior[np.ix_(observed, observed)] + _NOISE_VARIANCE * np.eye(len(observed))
    gain = np.linalg.solve(seen, prior[observed]).T
    mean = prior_mean + gain @ (values - prior_mean[observed])
    return Posterior(mean, prior - gain @ prior[observed])


def standardised(values: Array) -> Array:
    """Return values minus their mean over their deviation; equal values give zeros."""
    spread = float(values.std()) if len(values) else 0.0
    return (values - values.mean()) / spread if spread > 1e-12 else np.zeros_like(values)


def expected_improvement(state: Posterior, best: float) -> Array:
    """Return how much each expert is expected to exceed `best` by, in standard units (N,).

    References:
        Jones, Schonlau, Welch 1998, equation 15.
    """
    deviation = state.deviation
    z = (state.mean - best) / deviation
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.asarray(deviation * (z * _normal_cdf(z) + density))


def _normal_cdf(z: Array) -> Array:
    return np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in z])


@dataclass(frozen=True)
class Calibration:
    """Maps standard units to accuracy on the log-odds scale: a + b value, b >= 0.

    `spread` is the deviation of accuracies around the line, in log-odds.
    """

    level: float
    slope: float
    spread: float

    def accuracy(self, value: Array) -> Array:
        """Return accuracies (fractions) of values in standard units."""
        return 1.0 / (1.0 + np.exp(-(self.level + self.slope * value)))


def calibrate(values: Array, odds: Array, n: int) -> Calibration:
    """Fit the calibration on experts with both evidence and accuracy.

    Args:
        values: (k,) evidence in standard units, k >= 1.
        odds: (k,) log-odds of their accuracies.
        n: items behind each accuracy.
    """
    variance = float(np.square(values).sum())
    slope = max(float(values @ (odds - odds.mean())) / (variance + 0.5), 0.05)
    residual = odds - odds.mean() - slope * values
    # One binomial deviation at even odds is the least that n items can tell.
    spread = float(np.sqrt(residual.var() + 4.0 / n))
    return Calibration(float(odds.mean()), slope, spread)
