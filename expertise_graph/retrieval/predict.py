"""The posterior over experts on one task from history, the graph and scores; which few to try together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import chi2_quantile
from expertise_graph.retrieval.forecast import Forecast, forecast
from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.reliability import UNRUN, Observation, weigh_scores

Array = NDArray[np.float64]

# Share of what history leaves open that near experts have in common. 0, .3 and .6 differ by noise on
# images; 0 is better on nine text tasks without history (weighted tau .490 to .562) and worse in regret on
# images (LOG.md, benchmarks/settings).
GRAPH_SHARE = 0.3
# Scores that surprise more than this share of tasks do make history doubtful. On published tables nothing
# changes without (LOG.md); a history of nine tasks that are all of the other kind than this one is turned
# by four scores with it only.
CREDIBLE = 0.95
# An expert that comes before the first in at least this share of draws counts as tied with it. Half would be
# equal experts only; a smaller share would tie almost everything where little has been run.
TIE = 0.3
# Experts at the head of an answer that are chosen for each other: what a person tries before giving up.
_HEAD = 5
# Standard errors by which the best of these must be better in draws that did not choose them.
_SURE = 2.0
# Draws of the results: the mean of the best of a set is known to a twentieth of a deviation.
_DRAWS = 512


@dataclass(frozen=True, kw_only=True)
class ExpertPrediction:
    """Posterior over E experts on one task, in units of the task's standard deviation.

    Attributes:
        mean: (E,).
        covariance: (E, E) of what the experts are worth.
        noise: variance of a measured result around that.
        forecast: what history alone says.
        unrun: the scores that need no run of the expert: affinity, nearness of its source data.
        after_unrun: (E,) the mean after those.
        scores: the scores of the experts that were run.
        weights: (E, k) by how much each of the k run experts' observation moves each mean.
        surprise: (k,) observation minus what was expected of it.
    """

    mean: Array
    covariance: Array
    noise: float
    forecast: Forecast
    unrun: Observation
    after_unrun: Array
    scores: Observation
    weights: Array
    surprise: Array

    @property
    def deviation(self) -> Array:
        """(E,) of the result that would be measured."""
        return np.sqrt(np.diag(self.covariance) + self.noise)


def predict(history: History, target: int, residuals: Array | None = None) -> ExpertPrediction:
    """Return what results on other tasks and scores on this one say of every expert.

    Args:
        history: its results on the target are not looked at, its scores there are.
        target: column of the task.
        residuals: (E, E) which experts surprise together, where that was worked out before.
    """
    before = forecast(history, target, residuals)
    prior = over_graph(before.covariance, history.graph)
    unrun = weigh_scores(history, target, lambda name: name in UNRUN)
    first = condition(before.mean, prior, unrun)
    scores = weigh_scores(history, target, lambda name: name not in UNRUN)
    second = condition(first.mean, first.covariance, scores)
    return ExpertPrediction(
        mean=second.mean,
        covariance=second.covariance,
        noise=before.noise,
        forecast=before,
        unrun=unrun,
        after_unrun=first.mean,
        scores=scores,
        weights=second.weights,
        surprise=second.surprise,
    )


def over_graph(covariance: Array, graph: Array | None) -> Array:
    """Return the covariance with the part that near experts share; variances stay."""
    if graph is None:
        return covariance
    scale = np.sqrt(np.diag(covariance))
    shared = graph_correlation(graph)
    shared *= (GRAPH_SHARE * scale)[:, None]
    shared *= scale
    shared += (1.0 - GRAPH_SHARE) * covariance
    return shared


def graph_correlation(cosine: Array) -> Array:
    """Return the correlation of experts by the cosine of their embeddings: its fourth power.

    Most networks are alike to some degree and tell little of each other: of a cosine of .5 that leaves .06,
    of .95 .8.
    """
    near = np.maximum(cosine, 0.0)
    near *= near
    near *= near
    return near


@dataclass(frozen=True)
class Conditioned:
    """Mean and covariance after observations, and how those moved the mean."""

    mean: Array
    covariance: Array
    weights: Array
    surprise: Array


def condition(mean: Array, covariance: Array, evidence: Observation) -> Conditioned:
    """Return the posterior given the scores.

    The mean of a few scored experts need not be that of all: an unknown offset, common to the
    scores, has the variance that is left for it. Where the scores as a whole are less probable than
    what happens once in twenty tasks, history was too sure of itself, and the covariance is widened.
    """
    seen = np.flatnonzero(~np.isnan(evidence.values))
    if not len(seen):
        return Conditioned(mean, covariance, np.zeros((len(mean), 0)), np.zeros(0))
    values = evidence.values[seen] / evidence.reliability
    around = 1.0 - len(seen) / len(mean) + evidence.noise * np.eye(len(seen))
    factor = doubt(values - mean[seen], covariance[np.ix_(seen, seen)] + around)
    covariance = covariance * factor if factor > 1.0 else covariance
    return observe(mean, covariance, seen, values, covariance[np.ix_(seen, seen)] + around)


def doubt(surprise: Array, cover: Array) -> float:
    """Return the factor by which to widen a covariance, 1 where the surprise is credible.

    Args:
        surprise: (k,) observation minus what was expected of it.
        cover: (k, k) covariance that it should have.

    The squared surprise has a chi-square distribution where history is right.
    """
    k = len(surprise)
    distance = float(surprise @ np.linalg.solve(cover, surprise)) / k
    return max(1.0, distance / (chi2_quantile(CREDIBLE, k) / k))


def observe(
    mean: Array, covariance: Array, seen: NDArray[np.intp], values: Array, cover: Array
) -> Conditioned:
    """Return a Gaussian posterior after noisy observations of some of its (N,) components.

    Args:
        mean: (N,).
        covariance: (N, N).
        seen: (k,) places of what was observed.
        values: (k,) observed.
        cover: (k, k) covariance of the observations, their noise included.

    References:
        Rasmussen and Williams 2006, equations 2.22-2.24.
    """
    weights: Array = np.asarray(np.linalg.solve(cover, covariance[seen]).T, dtype=np.float64)
    surprise = values - mean[seen]
    after = covariance - weights @ covariance[seen]
    return Conditioned(mean + weights @ surprise, (after + after.T) / 2.0, weights, surprise)


def gaussian_draws(mean: Array, covariance: Array, count: int, rng: np.random.Generator) -> Array:
    """Return draws (count, N) of a Gaussian; what rounding made negative in its covariance counts as zero."""
    roots, vectors = np.linalg.eigh(covariance)
    noise = rng.standard_normal((count, len(mean)))
    return np.asarray(mean + noise @ (vectors * np.sqrt(roots.clip(min=0.0))).T)


def complementary(mean: Array, draws: Array, k: int, *, first: int | None = None) -> list[int]:
    """Return up to k experts, each chosen to raise the expected best of the set the most.

    Args:
        mean: (E,) predicted; the first choice among equals.
        draws: (draws, E) of the results, in the unit that counts.
        k: how many.
        first: the expert that is in the set anyway; by default that of the highest expected result.

    References:
        Greedy maximisation of a submodular function: Nemhauser, Wolsey, Fisher 1978.
    """
    chosen = [] if first is None else [first]
    best = np.full(len(draws), -np.inf) if first is None else draws[:, first]
    while len(chosen) < min(k, draws.shape[1]):
        reached = np.maximum(best[:, None], draws).mean(axis=0)
        reached[chosen] = -np.inf
        ties = np.flatnonzero(reached >= reached.max() - 1e-12)
        chosen.append(int(ties[np.argmax(mean[ties])]))
        best = np.maximum(best, draws[:, chosen[-1]])
    return chosen


def tied(draws: Array, first: int) -> NDArray[np.bool_]:
    """Tell of each expert (E,) whether it is tied with one of them, in draws (draws, E) of the results."""
    return np.asarray((draws >= draws[:, [first]]).mean(axis=0) >= TIE)


def listing(mean: Array, draws: Array) -> Array:
    """Return by what an answer sorts its experts, (E,): the mean, raised for those who come first as a group.

    Like experts fail together. So the first five are the one with the highest mean and those of its equals
    that are most likely to be better where it fails, chosen in half of the draws, where their best is better
    than that of the five highest means in the other half. Among them the order is that of the mean.

    Args:
        mean: (E,) predicted.
        draws: (draws, E) of the results.
    """
    order = np.argsort(-mean, kind="stable")
    draws = _no_bolder_than_most(draws)
    equals = np.flatnonzero(tied(draws, order[0]))
    chosen, other = draws[: len(draws) // 2], draws[len(draws) // 2 :]
    place = int(np.flatnonzero(equals == order[0])[0])
    head = equals[complementary(mean[equals], chosen[:, equals], _HEAD, first=place)]
    head = np.concatenate([head, order[~np.isin(order, head)][: _HEAD - len(head)]])
    gained = other[:, head].max(axis=1) - other[:, order[:_HEAD]].max(axis=1)
    if gained.mean() <= _SURE * gained.std() / np.sqrt(len(gained)):
        return mean
    raised = mean.copy()
    raised[head] += np.delete(mean, head).max(initial=-np.inf) - mean[head].min() + 1.0
    return raised


def _no_bolder_than_most(draws: Array) -> Array:
    """Return draws (draws, E) in which no expert varies more than the median one.

    An expert of which little is known is often the best of many in draws and rarely in fact: chosen by
    that, the first five were worse than the five highest means on two of eighteen published tables with
    gaps or scores, and on none without (LOG.md).
    """
    # What is common to all in a draw tells none from another.
    draws = draws - draws.mean(axis=1, keepdims=True)
    centre, deviation = draws.mean(axis=0), draws.std(axis=0)
    bound = np.minimum(np.median(deviation) / np.maximum(deviation, 1e-12), 1.0)
    return np.asarray(centre + (draws - centre) * bound)


def outcome_draws(mean: Array, covariance: Array, noise: float, seed: int) -> Array:
    """Return draws (draws, E) of the results on a task, in its standard units, luck included.

    Args:
        mean: (E,) predicted.
        covariance: (E, E) of the experts' worth.
        noise: variance of a measured result around that.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    worth = gaussian_draws(mean, covariance, _DRAWS, rng)
    return np.asarray(worth + np.sqrt(noise) * rng.standard_normal(worth.shape))
