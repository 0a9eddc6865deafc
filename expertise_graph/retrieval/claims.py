"""How much results count that only the author of an expert claims: less than measured ones, and less good.

A claim is the standing that would be measured, plus what authors of all experts add (`BIAS`), plus what this
author adds to every claim, plus what happens on each task alone:

    claim_et = standing_et + bias + offset_e + noise_et

with the offset of variance BETWEEN^2 and the noise of variance WITHIN^2.

The offset is what bounds the worth of a card: however many claims it has, they share it. All three are learnt
where claim and measurement of the same thing are known, and the offset of an author there in particular.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Z_80
from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.scale import joint_levels, standardised_columns

Array = NDArray[np.float64]

# Before claims and measurements can be compared, in deviations of the results on a task. Cards of encoders
# repeat what leaderboards say to the last digit (the four results of granite-embedding-107m-multilingual that
# published tables have, too), which would be 0; those of classifiers are of whole networks trained on the
# data, some half a deviation above a probe (benchmarks/gains), often chosen by the items that they are told
# for, and nobody checks them. So half a deviation upwards, and an author may be twice that off.
BIAS, BETWEEN, WITHIN = 0.5, 1.0, 0.7
# How many authors, and claims, these count for against those that can be compared.
_IMAGINARY_AUTHORS, _IMAGINARY_CLAIMS = 4.0, 8.0
# That many authors are exact says nothing of the next one: an author may be this far off, whatever is learnt.
_LEAST_BETWEEN = 0.5
# Nobody is taken to understate: a bias is learnt between this and whatever is found.
_LEAST_BIAS = 0.0
# What an author claims on the whole is taken at its word up to so many deviations of what may be expected of
# it, the end of an 80 % interval. Beyond, the more is claimed, the likelier the author is wrong, and the less
# it counts.
_CREDIBLE = Z_80
# Standings further away than so many deviations are moved there, as those of measured results are.
_FARTHEST = 4.0
# Deviation of a task in log-odds that results are expected to have, and the results it counts for: of two
# equal results the deviation is zero, and any claim would be infinitely far away.
_USUAL_SPREAD, _IMAGINARY_RESULTS = 0.9, 2.0


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What is claimed of E experts on T tasks where nothing was measured.

    Attributes:
        values: (E, T) in standard units, the bias taken off; NaN where nothing is claimed, or something was
            measured.
        offset: (E,) variance that the claims of an expert share.
        within: variance that each has for itself.
    """

    values: Array
    offset: Array
    within: float

    def noise(self, row: int, seen: NDArray[np.bool_]) -> Array:
        """Return the covariance (k, k) of what is added to the claims of an expert among results (k,)."""
        shared = self.offset[row] * np.outer(seen, seen)
        return np.asarray(shared + self.within * np.diag(seen.astype(float)))


def claims_of(history: History, target: int) -> Claims | None:
    """Return what is claimed of the experts on tasks other than the target; None where nothing is.

    Levels and deviations of tasks are those of measured results, where two experts have some: what is claimed
    moves none of them. Of tasks that nobody has measured, claims are compared with each other.
    """
    if history.claims is None:
        return None
    claimed, measured = history.claims.copy(), history.outcomes.copy()
    claimed[:, target] = measured[:, target] = np.nan
    standing = _standing(measured, claimed)
    bias, between, within = _learnt(both := (claimed - measured) / _scales(measured)[1])
    own, offset = _of_authors(both - bias, between, within)
    values = np.where(np.isnan(measured), standing - bias - own[:, None], np.nan)
    if np.isnan(values).all():
        return None
    return Claims(values=values, offset=offset, within=within)


def _scales(values: Array) -> tuple[Array, Array]:
    """Return mean and deviation of each task (T,), the latter shrunk towards the usual one."""
    _, mean, deviation = standardised_columns(values)
    count = (~np.isnan(values)).sum(axis=0)
    usual = _IMAGINARY_RESULTS * _USUAL_SPREAD**2
    return mean, np.sqrt((count * deviation**2 + usual) / (count + _IMAGINARY_RESULTS))


def _standing(measured: Array, claimed: Array) -> Array:
    """Return the standing (E, T) that each claim has, on the scale of its task."""
    enough = (~np.isnan(measured)).sum(axis=0) >= 2
    mean, deviation = _scales(measured)
    found = (claimed - mean) / deviation - _levels(measured, enough)
    # A task with one measurement or none: what is measured and what is claimed are all there is to compare.
    alone = np.where(np.isnan(measured), claimed, measured)[:, ~enough]
    alone[:, (~np.isnan(alone)).sum(axis=0) < 2] = np.nan
    mean, deviation = _scales(alone)
    levelled = joint_levels((alone - mean) / deviation)
    found[:, ~enough] = np.where(np.isnan(claimed[:, ~enough]), np.nan, levelled)
    return np.asarray(np.clip(found, -_FARTHEST, _FARTHEST))


def _levels(measured: Array, enough: NDArray[np.bool_]) -> Array:
    """Return the level of each task (T,) among its measured results, see `joint_levels`."""
    values, _, _ = standardised_columns(measured)
    values[:, ~enough] = np.nan
    known = ~np.isnan(values)
    levels = np.where(known, values - joint_levels(values), 0.0).sum(axis=0)
    return np.asarray(levels / np.maximum(known.sum(axis=0), 1))


def _learnt(both: Array) -> tuple[float, float, float]:
    """Return the bias, and the variances between authors and within one, by claims that were measured, too.

    Args:
        both: (E, T) claim less measurement, NaN where not both are known.
    """
    count = (~np.isnan(both)).sum(axis=1)
    rows = np.flatnonzero(count)
    means = np.array([np.nanmean(both[row]) for row in rows])
    squares = np.nansum(np.square(both[rows] - means[:, None])) if len(rows) else 0.0
    free = float((count[rows] - 1).sum())
    within = (squares + _IMAGINARY_CLAIMS * WITHIN**2) / (free + _IMAGINARY_CLAIMS)
    authors = len(rows) + _IMAGINARY_AUTHORS
    bias = max((float(means.sum()) + _IMAGINARY_AUTHORS * BIAS) / authors, _LEAST_BIAS)
    spread = np.clip(np.square(means - bias) - within / np.maximum(count[rows], 1), 0.0, None)
    between = (float(spread.sum()) + _IMAGINARY_AUTHORS * BETWEEN**2) / authors
    return bias, max(between, _LEAST_BETWEEN**2), float(within)


def _of_authors(errors: Array, between: float, within: float) -> tuple[Array, Array]:
    """Return mean and variance (E,) of what each author adds, given the errors (E, T) that are known."""
    count = (~np.isnan(errors)).sum(axis=1)
    variance = 1.0 / (1.0 / between + count / within)
    return variance * np.nansum(errors, axis=1) / within, variance


def credible(claims: Claims, row: int, seen: NDArray[np.intp], cover: Array) -> float:
    """Return the variance to add to the offset of an author who claims more than can be believed; else 0.

    Args:
        claims: of all.
        row: of the expert.
        seen: (k,) the tasks of its claims.
        cover: (k, k) covariance of the standings that are expected there, noise of measurements included.
    """
    k = len(seen)
    mean = float(claims.values[row, seen].mean())
    expected = float((cover + claims.noise(row, np.ones(k, dtype=bool))).sum()) / k**2
    return max(0.0, (mean / _CREDIBLE) ** 2 - expected) if mean > 0 else 0.0
