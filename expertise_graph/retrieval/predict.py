"""The posterior over experts on one task: history, the graph, and the scores of those that were run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expertise_graph.retrieval.forecast import Forecast, forecast
from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.reliability import Evidence, weigh_scores

Array = NDArray[np.float64]

GRAPH_SHARE = 0.6


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Belief about E experts on one task, in units of the task's standard deviation.

    Attributes:
        mean: (E,).
        covariance: (E, E) of what the experts are worth.
        noise: variance of a measured result around that.
        forecast: what history alone said.
        evidence: what the scores say, and how far they are trusted.
    """

    mean: Array
    covariance: Array
    noise: float
    forecast: Forecast
    evidence: Evidence

    @property
    def deviation(self) -> Array:
        """(E,) of the result that would be measured."""
        return np.sqrt(np.diag(self.covariance) + self.noise)


def predict(history: History, target: int) -> Prediction:
    """Return what results on other tasks and scores on this one say of every expert.

    Args:
        history: its results on the target are not looked at, its scores there are.
        target: column of the task.
    """
    before = forecast(history, target)
    evidence = weigh_scores(history, target)
    prior = over_graph(before.covariance, history.graph)
    mean, covariance = condition(before.mean, prior, evidence)
    return Prediction(
        mean=mean, covariance=covariance, noise=before.noise, forecast=before, evidence=evidence
    )


def over_graph(covariance: Array, graph: Array | None) -> Array:
    """Return the covariance with the part that near experts share; variances stay."""
    if graph is None:
        return covariance
    scale = np.sqrt(np.diag(covariance))
    return np.asarray((1.0 - GRAPH_SHARE) * covariance + GRAPH_SHARE * graph * np.outer(scale, scale))


def condition(mean: Array, covariance: Array, evidence: Evidence) -> tuple[Array, Array]:
    """Return mean and covariance given the scores.

    The mean of a few scored experts need not be that of all: an unknown offset, common to the
    scores, has the variance that is left for it.

    References:
        Rasmussen and Williams 2006, equations 2.22-2.24.
    """
    seen = np.flatnonzero(~np.isnan(evidence.values))
    if not len(seen):
        return mean, covariance
    offset = 1.0 - len(seen) / len(mean)
    observed = evidence.values[seen] / evidence.reliability
    cover = covariance[np.ix_(seen, seen)] + offset + evidence.noise * np.eye(len(seen))
    gain = np.linalg.solve(cover, covariance[seen]).T
    after = covariance - gain @ covariance[seen]
    return mean + gain @ (observed - mean[seen]), (after + after.T) / 2.0
