"""Which expert to run next, and when to stop."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from expertise_graph.retrieval.posterior import Belief
from expertise_graph.retrieval.search import Search

Array = NDArray[np.float64]

_SMALL = 0.02
_DRAWS = 1000
_LEAST_SECONDS = 0.05


def next_place(search: Search, belief: Belief) -> int | None:
    """Return the affordable expert with the best expected improvement, or None to stop.

    With a budget in seconds, improvement counts by the second; with one in experts, by the run. The
    search stops early when it is unlikely that an expert that was not run is the best.
    """
    places = [i for i in search.open_places() if search.affordable(i)]
    if not places:
        return None
    if search.evidence and chance_of_change(search, belief) < _SMALL:
        search.stopped = "no expert that was not run is likely to be the best"
        return None
    gain = expected_improvement(belief, len(search.experts))
    if search.query.seconds is not None:
        gain = gain / np.array([max(search.cost(i), _LEAST_SECONDS) for i in range(len(gain))])
    return max(places, key=lambda i: float(gain[i]))


def chance_of_change(search: Search, belief: Belief) -> float:
    """Return the probability that the best expert with weights is one that may still be run."""
    draws = belief.draws(_DRAWS, search.query.seed)
    banned = [i for i, e in enumerate(search.experts) if e.id in search.excluded or not e.runnable]
    draws[:, banned] = -np.inf
    return float(np.isin(draws.argmax(axis=1), search.open_places()).mean())


def expected_improvement(belief: Belief, n: int) -> Array:
    """Return how much each of n candidates is expected to exceed the best seen by, in standard units.

    References:
        Jones, Schonlau, Welch 1998, equation 15.
    """
    mean = belief.prediction.mean[:n]
    deviation = np.sqrt(np.diag(belief.prediction.covariance)[:n])
    best = belief.best_seen if math.isfinite(belief.best_seen) else float(mean.max())
    z = (mean - best) / deviation
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.asarray(deviation * (z * _normal_cdf(z) + density))


def _normal_cdf(z: Array) -> Array:
    return np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in z])
