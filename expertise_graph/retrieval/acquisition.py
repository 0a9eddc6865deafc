"""Which experts to run: landmarks that cover the graph, then by expected improvement; when to stop."""

from __future__ import annotations

import math
import time

import numpy as np
from numpy.typing import NDArray

from expertise_graph import models
from expertise_graph.core import Expert, normal_cdf, normal_pdf
from expertise_graph.retrieval.posterior import Posterior
from expertise_graph.retrieval.search import ExpertSearch

Array = NDArray[np.float64]

# Most landmarks. Of 11 runs on our zoo 4, 6, 8 or 11 as landmarks gave regret@1 .093, .034, .044, .050:
# about half of a budget is best. The bound keeps half of a large budget for experts that promise something.
LANDMARKS = 16

# A tenfold larger expert counts as about a tenth nearer: cheap landmarks are preferred where they cover as
# much. Larger values keep large experts out even where nothing else is like them.
_SIZE_DISCOUNT = 0.1

# The search stops where an expert that was not run is the best with less than this probability. Smaller
# values spend runs that hardly ever change the answer, larger ones miss the best now and then.
_LEAST_CHANCE = 0.02
# Draws behind that probability: its standard error is .004.
_DRAWS = 1000

# Least cost of a run when improvement counts by the second. Features in the cache cost nothing, and would
# otherwise win however little they promise.
_LEAST_SECONDS = 0.05


def run_landmarks(search: ExpertSearch) -> None:
    """Run cheap experts that cover the graph; half of the budget is kept for promising ones.

    With all four runs of a budget spent on landmarks the second best of five experts stayed unseen (LOG.md).
    """
    may_run = {*search.not_run(), *search.were_run()}
    indices = [i for i in search.pool.embedded() if i in may_run]
    if not indices:
        return
    vectors = search.pool.vectors[indices]
    cover = choose_landmarks([search.pool.experts[i] for i in indices], vectors @ vectors.T, LANDMARKS)
    for index in (indices[i] for i in cover):
        if not _landmarks_wanted(search):
            return
        if search.pool.experts[index].id not in search.evidence and search.affordable(index):
            search.run(index)


def _landmarks_wanted(search: ExpertSearch) -> bool:
    query = search.query
    if query.seconds is not None:
        return time.perf_counter() - search.started <= query.seconds / 2
    return len(search.evidence) < ((query.budget or 0) + 1) // 2


def choose_landmarks(experts: list[Expert], similarity: NDArray[np.floating], k: int) -> list[int]:
    """Return the indices of up to k experts, farthest-point in the graph, cheaper ones preferred.

    The first is the medoid; each next one is far from those chosen, its distance discounted by
    the logarithm of its size.

    Args:
        experts: N candidates.
        similarity: (N, N) cosine of their embeddings.
        k: how many, at least one.
    """
    cheapness = np.array([1.0 / (1.0 + _SIZE_DISCOUNT * math.log10(1.0 + e.params / 1e6)) for e in experts])
    chosen = [int(np.argmax(similarity.sum(axis=1) * cheapness))]
    while len(chosen) < min(k, len(experts)):
        distance = (1.0 - similarity[:, chosen].max(axis=1)).clip(min=0.0) * cheapness
        distance[chosen] = -1.0
        chosen.append(int(np.argmax(distance)))
    return chosen


def next_expert(search: ExpertSearch, posterior: Posterior) -> int | None:
    """Return the affordable expert with the best expected improvement, or None to stop.

    With a budget in seconds, improvement counts by the second; with one in experts, by the run. The
    search stops early when it is unlikely that an expert that was not run is the best.
    """
    indices = [i for i in search.not_run() if search.affordable(i)]
    if not indices:
        return None
    here = {search.pool.experts[i].id: i for i in indices}
    queued = next((here[model] for model in search.queue if model in here), None)
    if queued is not None:
        return queued
    if search.evidence and chance_of_change(search, posterior) < _LEAST_CHANCE:
        search.stopped = "no expert that was not run is likely to be the best"
        return None
    gain = expected_improvement(posterior, len(search.pool.experts))
    if search.query.seconds is not None:
        gain = gain / np.array([max(search.cost(i), _LEAST_SECONDS) for i in range(len(gain))])
    return max(indices, key=lambda i: float(gain[i]))


def downloads_together(search: ExpertSearch, posterior: Posterior, first: int) -> list[int]:
    """Return the known models to download at a time: the first, and those of the next best improvement.

    At most half of what may still be fetched, so that what the first ones show decides about the others.
    """
    left = search.query.fetch - len(search.fetched)
    gain = expected_improvement(posterior, len(search.pool.experts))
    others = [i for i in search.not_run() if i != first and not search.pool.experts[i].runnable]
    chosen, room = [first], search.allowed_bytes - search.pool.experts[first].bytes
    for index in sorted(others, key=lambda i: -float(gain[i])):
        size = search.pool.experts[index].bytes
        if len(chosen) < min(models.AT_A_TIME, (left + 1) // 2) and size <= room and search.affordable(index):
            chosen.append(index)
            room -= size
    return chosen


def chance_of_change(search: ExpertSearch, posterior: Posterior) -> float:
    """Return the probability that the best expert that can be had is one that may still be run."""
    draws, left = posterior.draws(_DRAWS, search.query.seed), search.not_run()
    here = [i for i, e in enumerate(search.pool.experts) if e.runnable and e.id not in search.excluded]
    barred = np.setdiff1d(np.arange(draws.shape[1]), [*here, *left])
    draws[:, barred] = -np.inf
    return float(np.isin(draws.argmax(axis=1), left).mean())


def expected_improvement(posterior: Posterior, n: int) -> Array:
    """Return how much each of n candidates is expected to exceed the best seen by, in standard units.

    References:
        Jones, Schonlau, Welch 1998, equation 15.
    """
    mean = posterior.prediction.mean[:n]
    deviation = np.sqrt(np.diag(posterior.prediction.covariance)[:n])
    best = posterior.best_seen if math.isfinite(posterior.best_seen) else float(mean.max())
    z = (mean - best) / deviation
    return np.asarray(deviation * (z * normal_cdf(z) + normal_pdf(z)))
