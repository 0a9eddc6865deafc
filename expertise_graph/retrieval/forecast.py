"""What history says about every expert on a task that none of it was measured on.

The standardised result of expert e on task t is ``f_e(t) + noise`` with
``cov(f_e(t), f_e(s)) = loading_t loading_s + own_ts``: general quality, and what the expert does better
or worse on like tasks; what is left is the fit of expert and task. For the target this gives each
expert a mean and a precision of its own; experts with similar covariates then share what is known about them,
and experts that surprised together on other tasks share the fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expertise_graph.retrieval.claims import Claims, claims_of, credible
from expertise_graph.retrieval.covariates import Covariate, weigh
from expertise_graph.retrieval.factors import Factors, fit_factors
from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.residuals import residual_covariance
from expertise_graph.retrieval.scale import joint_levels, standardised_columns

Array = NDArray[np.float64]

# Variance of a measured result around an expert's worth on a task: seeds and settings. .2 costs .11 and .06
# deviations of merit on two tables and gains .02 on three, .05 is not told apart (LOG.md).
NOISE = 0.1
# Above so many experts covariates are left out: their kernels take memory of the square of the number.
_LARGEST = 3000
# Most of what experts are worth that covariates may explain; without the rest, two experts with the same
# covariates would be the same. .7 is not told apart (benchmarks/settings).
_LARGEST_SHARE = 0.9
# The same as long as fewer than this many experts have results and nothing tells which covariates matter.
# .3 and .6 gain on TransferGraph and lose as much on our texts (LOG.md).
_UNTRIED_SHARE = 0.9
_ENOUGH = 5
# Numbers of the small problems that are solved at once: 32 MB of them.
_AT_ONCE = 4_000_000
# Deviation of how much better published models are on a task than their size lets expect. A published
# network of images was .6 deviations above the mean of 51 tiny ones on 27 tasks and 1.1 below the best of
# them, one of texts 2.4 and .5 above on nine (benchmarks/zoo): what a user has registered may be either.
_GAP_DEVIATION = 1.2


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Prior over E experts on one task, from history alone, in units of the task's standard deviation.

    Attributes:
        mean: (E,).
        gap: (E,) the part of it that is due to the size of published models, where no task compares them.
        alone: (E,) the mean from the expert's own results only.
        covariance: (E, E) of what the experts are worth; experts of similar covariates share it.
        noise: variance of a measured result around that: seeds, settings, luck.
        results: (E,) how many measured results of other tasks stand behind each.
        claimed: (E,) how many beside them only its author claims.
        covariates: the covariates that tell good experts from others, and how much each explains.
    """

    mean: Array
    gap: Array
    alone: Array
    covariance: Array
    noise: float
    results: NDArray[np.int64]
    claimed: NDArray[np.int64]
    covariates: Mapping[str, float]

    @property
    def variance(self) -> Array:
        """(E,) of the result that would be measured."""
        return np.diag(self.covariance) + self.noise


def forecast(history: History, target: int, residuals: Array | None = None) -> Forecast:
    """Return what the results on other tasks say about the target.

    Args:
        history: its results on the target are not looked at.
        target: column of the task.
        residuals: those of `residuals_of`, where they were worked out before.
    """
    values, claims = _standing(history, target), claims_of(history, target)
    factors = fit_factors(values, history.likeness, target, history.data)
    worth = float(factors.loadings[target] ** 2 + factors.own[target, target])
    mean, variance = _each(values, factors, target)
    population = np.zeros(len(values), dtype=np.int64) if history.population is None else history.population
    # Which covariates tell good experts from others is learnt from what was measured.
    prior, weights = _prior(history.covariates, mean, 1.0 / variance - 1.0 / worth, population)
    none = np.zeros(len(values), dtype=np.int64)
    if claims is not None:
        for row in np.flatnonzero((~np.isnan(claims.values)).any(axis=1)).tolist():
            seen, gain, standing = _with_claims(values, claims, factors, target, row)
            mean[row] = standing @ gain
            spent = float(factors.covariance[target, seen] @ gain)
            variance[row] = _possible(factors, target, factors.covariance[target, target] - spent)
    joined, shared = _join(mean, variance, worth, prior)
    # What other tasks say nothing about: mostly how well expert and task fit, which scores can tell.
    fit = max(float(factors.noise[target]) - NOISE, 0.0)
    covariance: Array = fit * (residual_covariance(values) if residuals is None else residuals)
    if shared.ndim == 1:
        covariance[np.diag_indices(len(values))] += shared
    else:
        covariance += shared
    gap: Array = np.zeros(len(values))
    if not _compared(values, population):
        gap = np.asarray(history.gap * population)
        covariance += _GAP_DEVIATION**2 * np.outer(population, population)
    return Forecast(
        mean=joined + gap,
        gap=gap,
        alone=mean,
        covariance=covariance,
        noise=NOISE,
        results=(~np.isnan(values)).sum(axis=1),
        claimed=none if claims is None else (~np.isnan(claims.values)).sum(axis=1),
        covariates=weights,
    )


def residuals_of(history: History, target: int) -> Array:
    """Return which experts surprised together on the other tasks, (E, E)."""
    return residual_covariance(_standing(history, target))


def _standing(history: History, target: int) -> Array:
    """Return the results (E, T) on the other tasks, standardised, their levels fitted with the experts.

    A task with a single result is left out: it tells no expert from another, and would be taken for the mean.
    """
    values, _, _ = standardised_columns(history.without(target).outcomes)
    values[:, (~np.isnan(values)).sum(axis=0) < 2] = np.nan
    return joint_levels(values)


def _each(values: Array, factors: Factors, target: int) -> tuple[Array, Array]:
    """Return mean and variance (E,) of each expert on the target from its own results alone."""
    cover = factors.covariance
    known = ~np.isnan(values)
    mean, variance = np.zeros(len(values)), np.full(len(values), cover[target, target])
    _, first, group = np.unique(np.packbits(known, axis=1), axis=0, return_index=True, return_inverse=True)
    patterns, group = known[first], group.reshape(-1)
    # Experts with results on the same tasks share one small problem; those of one size are solved together.
    sizes, solved = patterns.sum(axis=1), np.zeros(patterns.shape)
    told = np.zeros(len(patterns))
    for size in np.unique(sizes[sizes > 0]):
        at = np.flatnonzero(sizes == size)
        for part in np.array_split(at, -(-len(at) * size**2 // _AT_ONCE)):
            seen = np.nonzero(patterns[part])[1].reshape(len(part), size)
            gain = _gain(cover, factors.noise, seen, target)
            solved[part[:, None], seen] = gain
            told[part] = np.einsum("ps,ps->p", cover[target, seen], gain)
    row, column = np.nonzero(known)
    mean += np.bincount(row, values[row, column] * solved[group[row], column], len(values))
    variance -= told[group]
    return mean, np.clip(variance, 1e-6, cover[target, target] * (1.0 - 1e-9))


def _possible(factors: Factors, target: int, variance: float) -> float:
    """Return a variance between that of certainty and that of an expert without results."""
    return min(max(variance, 1e-6), float(factors.covariance[target, target]) * (1.0 - 1e-9))


def _with_claims(
    values: Array, claims: Claims, factors: Factors, target: int, row: int
) -> tuple[NDArray[np.intp], Array, Array]:
    """Return the tasks (k,) of an expert's results, measured or claimed, their gain, and the standings."""
    claimed = ~np.isnan(claims.values[row])
    seen = np.flatnonzero(~np.isnan(values[row]) | claimed)
    standing = np.where(claimed, claims.values[row], values[row])[seen]
    cover = factors.covariance[np.ix_(seen, seen)] + np.diag(factors.noise[seen])
    own = claimed[seen]
    doubt = credible(claims, row, seen[own], cover[np.ix_(own, own)])
    noise = claims.noise(row, own) + doubt * np.outer(own, own)
    return seen, np.linalg.solve(cover + noise, factors.covariance[seen, target]), standing


def shares(history: History, target: int, row: int) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return by how much each result of one expert moves its own forecast, (T,); their sum is `alone`.

    Args:
        history: its results on the target are not looked at.
        target: column of the task.
        row: of the expert.

    Returns:
        The moves, the standings that they are of, and which of them only its author claims.
    """
    values, claims = _standing(history, target), claims_of(history, target)
    factors = fit_factors(values, history.likeness, target, history.data)
    found, standing = np.zeros(values.shape[1]), values[row].copy()
    claimed = np.zeros(values.shape[1], dtype=bool)
    if claims is not None and (~np.isnan(claims.values[row])).any():
        claimed = ~np.isnan(claims.values[row])
        seen, gain, given = _with_claims(values, claims, factors, target, row)
        found[seen], standing[seen] = given * gain, given
    elif len(seen := np.flatnonzero(~np.isnan(values[row]))):
        found[seen] = values[row, seen] * _gain(factors.covariance, factors.noise, seen[None, :], target)[0]
    return found, standing, claimed


def _gain(cover: Array, noise: Array, seen: NDArray[np.intp], target: int) -> Array:
    """Return by how much results on the tasks seen, k by each of P patterns (P, k), move the mean."""
    measured = cover[seen[:, :, None], seen[:, None, :]]
    places = np.arange(seen.shape[1])
    measured[:, places, places] += noise[seen]
    return np.asarray(np.linalg.solve(measured, cover[seen, target][:, :, None])[:, :, 0])


def _compared(values: Array, population: NDArray[np.int64]) -> bool:
    """Tell whether there is one population, or a task that experts of both were measured on."""
    known = ~np.isnan(values)
    both = known[population == 0].any(axis=0) & known[population == 1].any(axis=0)
    return len(np.unique(population)) < 2 or bool(both.any())


def _prior(
    covariates: Sequence[Covariate], mean: Array, precision: Array, population: NDArray[np.int64]
) -> tuple[Array | None, dict[str, float]]:
    """Return the prior correlation of the experts (E, E) or None, and what each covariate explains.

    What a covariate explains among published models says nothing of a zoo of other sizes and origins, so each
    population has its own answer, and experts of two share nothing.
    """
    n = len(mean)
    if not covariates or n > _LARGEST:
        return None, {}  # nothing is shared: each by itself, thousands of experts in no time
    known, prior, weights = precision > 1e-6, np.eye(n), dict[str, float]()
    for one in np.unique(population):
        inside = population == one
        among = [found for c in covariates if (found := c.among(inside)) is not None]
        kernel, share, told = _kernel(among, mean[inside], np.where(known, precision, 0.0)[inside])
        weights |= {name: max(value, weights.get(name, 0.0)) for name, value in told.items()}
        if kernel is not None:
            share = min(share, _LARGEST_SHARE)
            prior[np.ix_(inside, inside)] = (1.0 - share) * np.eye(inside.sum()) + share * kernel
    return prior, weights


def _kernel(
    covariates: Sequence[Covariate], mean: Array, precision: Array
) -> tuple[Array | None, float, dict[str, float]]:
    """Return what covariates let experts share (E, E), the share of it, and what each covariate explains."""
    if not covariates:
        return None, 0.0, {}
    if (precision > 0).sum() >= _ENOUGH:
        return weigh(covariates, mean, precision)
    # Too few results to tell which covariates matter: all count alike.
    return np.asarray(np.mean([covariate.kernel() for covariate in covariates], axis=0)), _UNTRIED_SHARE, {}


def _join(mean: Array, variance: Array, worth: float, prior: Array | None) -> tuple[Array, Array]:
    """Return mean and covariance once like experts share what is known; of those that share nothing (E,).

    What an expert's own results say is a noisy observation of its worth on the target.
    """
    precision = 1.0 / variance - 1.0 / worth
    pull = mean / variance
    if prior is None:
        # Nothing is shared: each by itself, thousands of experts in no time.
        alone = worth / (1.0 + worth * precision)
        return alone * pull, alone
    cover = worth * prior
    spread = np.linalg.solve(np.eye(len(mean)) + cover * precision, cover)
    return spread @ pull, (spread + spread.T) / 2.0
