"""Scales: results of different tasks in comparable units, and back from those to accuracies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Z_80, t_quantile

if TYPE_CHECKING:
    from expertise_graph.retrieval.history import History

Array = NDArray[np.float64]

# Imaginary average results of an expert while levels are fitted: enough to settle where tasks share no
# expert; one instead of a tenth leaves a third of the gain where experts were tried by quality (LOG.md).
_LEVEL_RIDGE = 0.1
# Change at which levels have settled, in deviations, and rounds that it takes at most in sparse tables.
_LEVEL_SETTLED, _LEVEL_ROUNDS = 1e-9, 500

ASSUMED_ITEMS = 200
"""Items behind an imported accuracy that does not say how many there were.

An accuracy of .8 then has a deviation of .03: fewer would hardly let it count, more would trust it like a
measurement of ours.
"""

# Fractions nearer to 0 or 1 than half an item of so many are moved there before their log-odds are taken. The
# number of test items is often unknown; without a bound one lucky 1.0 would be infinitely good.
_EDGE_ITEMS = 99

# Values further from the median than so many robust deviations are moved there. At 4 outstanding experts were
# clipped, which are what a query looks for (full scan with LogME: weighted tau .583 clipped, .653 not); 20
# takes absurd values only.
_OUTLIER_DEVIATIONS = 20.0
# From a median absolute deviation to the standard deviation of a normal distribution.
_MAD_TO_DEVIATION = 1.4826

# Imaginary fine-tunes with the usual gain that the mean gain over a probe is shrunk by. With one, a single
# task moved the next one too far (glosses predicted .456, measured .750; LOG.md).
_IMAGINARY_RUNS = 3
# Deviation of what a fine-tune adds to a probe, in log-odds, where no shipped fine-tunes tell.
TASK_DEVIATION = 0.8
# Share of its square that all fine-tunes on a task have in common: .48 on 27 tasks of images, .38 on nine of
# texts (benchmarks/zoo). So many experts on one task count at most like two tasks.
_SHARED = 0.5
# A result counts as a whole one where it was measured on many items. Below this weight, an accuracy of .8 on
# ten items, it is more luck than result: alone it tells neither a level nor what fine-tuning adds.
_LEAST_WEIGHT = 0.5
# Deviation of the results on a task, in log-odds, until other tasks tell. A larger one predicts experts
# further apart; how it was chosen is not on record.
_USUAL_SPREAD = 0.9
# Imaginary experts at the usual spread that the slope from standard units to log-odds is shrunk by: two
# experts that were run cannot tell the spread of a task, ten nearly can.
_IMAGINARY_EXPERTS = 2.0
# Results that a task needs to count for the usual level and spread: of fewer they are mostly noise.
_FEWEST = 4
# The slope is at least this: with equal probes all experts would else be predicted exactly alike.
_LEAST_SLOPE = 0.05


def on_open_scale(values: Array, items: Array | None = None) -> Array:
    """Return the log-odds of fractions, and other values as they are.

    Equal steps count equally then: from .98 to .99 is as far as from .5 to .67.

    Args:
        values: any shape, with NaN.
        items: how many each was measured on, where that is known; NaN where there is no value.
    """
    if not are_fractions(values):
        return values
    edge = 0.5 / (np.minimum(_EDGE_ITEMS if items is None else items, _EDGE_ITEMS) + 1)
    inside = np.clip(values, edge, 1 - edge)
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


def joint_levels(values: Array) -> Array:
    """Return standardised results (E, T) less the level of each task, levels and experts fitted together.

    People try what they believe in, so the mean of those that were measured on a task is no level: on a task
    that good experts were tried on, each of them would look average. Qualities q_e and levels a_t solve
    ``z_et = a_t + q_e`` by least squares in turn; of complete tables the levels are zero.

    Args:
        values: (E, T) standardised by task, with NaN.
    """
    known = ~np.isnan(values)
    row, column = np.nonzero(known)
    given = values[row, column]
    count, of_expert = np.maximum(known.sum(axis=0), 1), known.sum(axis=1)
    level = np.zeros(values.shape[1])
    for _ in range(_LEVEL_ROUNDS):
        before = level
        quality = np.bincount(row, given - level[column], len(values)) / (of_expert + _LEVEL_RIDGE)
        quality -= quality[of_expert > 0].mean() if len(given) else 0.0
        level = np.bincount(column, given - quality[row], values.shape[1]) / count
        if np.abs(level - before).max(initial=0.0) < _LEVEL_SETTLED:
            break
    return values - level


def log_odds(accuracy: float, n: int) -> float:
    """Return the log-odds of an accuracy on n items, with half an item on either side."""
    hits = accuracy * n
    return math.log((hits + 0.5) / (n - hits + 0.5))


def accuracy_of(odds: Array) -> Array:
    """Return accuracies (fractions) of log-odds."""
    return np.asarray(1.0 / (1.0 + np.exp(-odds)))


def luck(odds: Array, items: Array | float) -> Array:
    """Return the binomial variance, 1 / (n p (1 - p)), of log-odds of accuracies measured on n items."""
    return np.asarray(2.0 * (1.0 + np.cosh(odds)) / items)


def weight_of(variance: Array) -> Array:
    """Return how much results with this variance count, 1 for one that is exact."""
    return np.asarray(TASK_DEVIATION**2 / (TASK_DEVIATION**2 + variance))


@dataclass(frozen=True, kw_only=True)
class Shift:
    """By how many log-odds fine-tuning exceeds the accuracy of a probe.

    Attributes:
        mean: expected on the task that is asked about.
        deviation: of a fine-tune on it from the mean.
        runs: how many measured in this registry tell.
        shipped: how many that come with the package tell.
    """

    mean: float = 0.0
    deviation: float = 0.0
    runs: int = 0
    shipped: int = 0


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Log-odds of accuracy are ``level + slope * value``, with a deviation `doubt` common to all experts.

    Attributes:
        shift: what fine-tuning adds to the accuracy of a probe, included in the level; where nothing tells,
            accuracies are those of a probe.
        known: whether the level of this task is known at all.
    """

    level: float
    slope: float
    doubt: float
    shift: Shift
    known: bool = True


def fine_tuning_shift(history: History, target: int, estimator: str, usual: Shift | None = None) -> Shift:
    """Return what the results on other tasks of the modality say about probe and fine-tuned accuracy.

    Fine-tunes differ in this by task, by expert, and by the luck of the items that they and their probes were
    measured on. The mean over tasks is shrunk towards the usual gain by three imaginary runs, and what is not
    known about it widens the intervals.

    Args:
        history: its results on the target are not looked at.
        target: column of the task.
        estimator: whose scores are the accuracies of the probe.
        usual: what is expected without any results; None where nothing tells.
    """
    prior = usual or Shift(deviation=TASK_DEVIATION)
    outcomes, probes = history.without(target).accuracies(target), probe_odds(history, estimator)
    gains = outcomes - probes
    noise = luck(outcomes, history.tested) + luck(probes, history.probed)
    means, weights = _by_task(gains, noise, prior.deviation**2)
    runs = int((~np.isnan(gains)).sum())
    if float(weights.sum()) < _LEAST_WEIGHT:
        if usual is None:
            return Shift()
        means, weights, runs = np.zeros(0), np.zeros(0), 0
    total = float(weights.sum()) + _IMAGINARY_RUNS
    mean = (float(means @ weights) + _IMAGINARY_RUNS * prior.mean) / total
    squares = float(np.square(means - mean) @ weights)
    squares += _IMAGINARY_RUNS * (prior.deviation**2 + (prior.mean - mean) ** 2)
    variance = squares / total * (1.0 + 1.0 / total)
    return Shift(mean=mean, deviation=math.sqrt(variance), runs=runs, shipped=prior.shipped)


def _by_task(gains: Array, noise: Array, whole: float) -> tuple[Array, Array]:
    """Return the mean gain on each task that has any, and its weight; one exact result has weight 1.

    Args:
        gains: (E, T), NaN where there is none.
        noise: (E, T) their variance by luck.
        whole: variance between fine-tunes.
    """
    precision = np.where(np.isnan(gains), 0.0, 1.0 / ((1.0 - _SHARED) * whole + noise))
    total = precision.sum(axis=0)
    seen = total > 0
    means = np.nansum(gains * precision, axis=0)[seen] / total[seen]
    return means, whole / (_SHARED * whole + 1.0 / total[seen])


def scale_of(history: History, target: int, values: Array, odds: Array, shift: Shift) -> Scale:
    """Return the scale of the target.

    Args:
        history: its results on other tasks tell how far results usually lie apart.
        target: column of the task.
        values: (k,) posterior means of the experts that were run, in standard units.
        odds: (k,) log-odds of their probe accuracies.
        shift: what fine-tuning adds.
    """
    level, spread_of_levels, usual = _usual(history, target)
    if not len(values):
        known = not math.isnan(level)
        return Scale(
            level=level if known else 0.0,
            slope=usual,
            doubt=spread_of_levels if known else 0.0,
            shift=Shift(),
            known=known,
        )
    centre = float(values.mean())
    along = float((values - centre) @ (odds - odds.mean())) + _IMAGINARY_EXPERTS * usual
    slope = max(along / (float(np.square(values - centre).sum()) + _IMAGINARY_EXPERTS), _LEAST_SLOPE)
    return Scale(
        level=float(odds.mean()) - slope * centre + shift.mean,
        slope=slope,
        doubt=shift.deviation,
        shift=shift,
    )


def usual_level(history: History, target: int) -> tuple[float, float]:
    """Return mean and deviation of the level, in log-odds, to expect of accuracies on a task; NaN if unknown.

    Args:
        history: its results on the target are not looked at.
        target: column of the task.
    """
    return _usual(history, target)[:2]


def _usual(history: History, target: int) -> tuple[float, float, float]:
    """Return mean and deviation of the level to expect, NaN where unknown, and the usual spread.

    Tasks of another modality or metric tell neither.
    """
    outcomes = history.without(target).accuracies(target)
    counting = weight_of(luck(outcomes, history.tested)) >= _LEAST_WEIGHT
    enough = np.flatnonzero(counting.sum(axis=0) >= _FEWEST)
    _, level, deviation = standardised_columns(outcomes[:, enough])
    usual = float(np.sqrt(np.square(deviation).mean())) if len(enough) else _USUAL_SPREAD
    if len(enough) < 2:
        return math.nan, math.nan, usual
    return float(level.mean()), float(level.std(ddof=1)) * _of_one_more(len(enough)), usual


def _of_one_more(n: int) -> float:
    """Return by what the deviation of n tasks is multiplied so that 80 % intervals hold one more.

    That one is as far from their mean as Student's t tells, here as a multiple of the Gaussian quantile.
    """
    return t_quantile(0.9, n - 1) / Z_80 * math.sqrt(1.0 + 1.0 / n)


def probe_odds(history: History, estimator: str) -> Array:
    """Return the log-odds (E, T) of the probe accuracies in the history; NaN where there is none."""
    scores = history.scores.get(estimator)
    return np.full_like(history.outcomes, np.nan) if scores is None else on_open_scale(scores)
