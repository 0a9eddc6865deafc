"""How results on different tasks go together: one factor common to all tasks, and similarity of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from expertise_graph.retrieval.same_data import likeness_elsewhere, loading_by_data

Array = NDArray[np.float64]

# Experts that two tasks must have in common for their correlation to count, and the imaginary ones without
# any correlation that it is shrunk by: of four a correlation of .9 is nothing unusual.
_FEWEST = 4
# Correlation of tasks before any result, and the pairs of tasks that it counts for. .1 instead costs .12
# (images) and .87 (texts) deviations of merit where there is no history (LOG.md).
_COMMON = 0.3
_IMAGINARY_PAIRS = 4.0
# Ridge of the slopes on similarities of tasks: among few tasks no similarity counts by chance.
_SLOPE_RIDGE = 0.3
# Most of the variance of a task that similar tasks may explain; the rest is its own. .5 changes nothing
# that is above noise (benchmarks/settings).
_MOST_OWN = 0.8
# Least variance of what is left on a task: seeds, settings, luck. Without it perfectly correlated tasks
# would make single results certain.
_LEAST_NOISE = 0.1
# Bounds of a loading: none is certain, and none is without any relation to the others.
_LOADINGS = (0.02, 0.97)
# Standard errors of a correlation over its experts by which a task's loading must be negative to tell that a
# new one may be negative, too. Without a bound prompts of RoBERTa lose .02 of Spearman (LOG.md).
_NEGATIVE = 2.0
# Least square of the common loading that the iteration starts from.
_LEAST_COMMON = 0.01
# Change at which the iterations have settled: far below what is printed, so that they end alike everywhere.
_SETTLED = 1e-12
# Share of results in a table below which products are taken of those that are there only.
_SPARSE = 0.2


@dataclass(frozen=True, kw_only=True)
class Factors:
    """Covariance of an expert's standardised results on T tasks.

    ``loadings`` (T,) tell how much of a task is the expert's general quality, ``own`` (T, T) is the
    covariance of what the expert does better or worse on like tasks, ``noise`` (T,) the variance
    of what is left: seeds, settings, luck.
    """

    loadings: Array
    own: Array
    noise: Array

    @property
    def covariance(self) -> Array:
        """(T, T) of an expert's worth on the tasks, noise left out."""
        return np.asarray(np.outer(self.loadings, self.loadings) + self.own)


def correlations(values: Array) -> tuple[Array, Array]:
    """Return correlations of the columns over the experts both have, and the weight of each.

    Args:
        values: (E, T) with NaN.

    Returns:
        (T, T) correlations shrunk towards zero by 4 imaginary experts, and (T, T) weights in [0, 1),
        zero on the diagonal and for pairs with fewer than 4 experts in common.
    """
    known = ~np.isnan(values)
    row, column = np.nonzero(known)
    given = values[row, column]
    # Experts with a result on a task as 1, their results and their squares; large histories are nearly empty.
    sparse = len(given) < _SPARSE * known.size
    ones, x, square = (_matrix(each, row, column, values.shape, sparse=sparse) for each in _powers(given))
    n = _dense(ones.T @ ones)
    counted = np.maximum(n, 1.0)
    sums, squares = _dense(x.T @ ones), _dense(square.T @ ones)
    mean_x, mean_y = sums / counted, sums.T / counted
    covariance = _dense(x.T @ x) / counted - mean_x * mean_y
    variance_x = squares / counted - mean_x**2
    variance_y = squares.T / counted - mean_y**2
    scale = np.sqrt(np.clip(variance_x * variance_y, 1e-18, None))
    weight = np.where(n >= _FEWEST, n / (n + _FEWEST), 0.0)
    correlation = np.clip(covariance / scale, -1.0, 1.0) * weight
    np.fill_diagonal(correlation, 1.0)
    np.fill_diagonal(weight, 0.0)
    return correlation, weight


def _powers(values: Array) -> tuple[Array, Array, Array]:
    """Return the values to the power of 0, 1 and 2."""
    return np.ones_like(values), values, np.square(values)


def _matrix(
    values: Array,
    row: NDArray[np.intp],
    column: NDArray[np.intp],
    shape: tuple[int, ...],
    *,
    sparse: bool,
) -> Array | scipy.sparse.csr_array:
    """Return a matrix with the values at their places, zero elsewhere."""
    made = scipy.sparse.csr_array((values, (row, column)), shape=shape)
    return made if sparse else np.asarray(made.toarray())


def _dense(matrix: Array | scipy.sparse.csr_array) -> Array:
    return matrix if isinstance(matrix, np.ndarray) else np.asarray(matrix.toarray())


def one_factor(correlation: Array, weight: Array, *, rounds: int = 100) -> Array:
    """Return the loadings (T,) of one factor, fitted to the correlations off the diagonal.

    Each loading is shrunk towards the common one, so that few or noisy tasks count alike.

    References:
        Harman and Jones 1966 (minres).
    """
    pairs = weight.sum()
    common = (float((weight * correlation).sum()) + _IMAGINARY_PAIRS * _COMMON) / (pairs + _IMAGINARY_PAIRS)
    loadings = np.full(len(correlation), np.sqrt(max(common, _LEAST_COMMON)))
    pull = weight * correlation
    for _ in range(rounds if len(loadings) else 0):
        before, centre = loadings, float(loadings.mean())
        loadings = loadings.copy()
        for t in range(len(loadings)):
            loadings[t] = _loading(loadings, pull[t], weight[t], centre)
        loadings = loadings.clip(*_LOADINGS)
        if np.abs(loadings - before).max() < _SETTLED:
            break
    return loadings


def _loading(loadings: Array, pull: Array, weight: Array, centre: float) -> float:
    """Return a loading by weighted correlations (T,) with the other tasks, shrunk towards the common one."""
    towards = 2.0 * centre**3 + float(pull @ loadings)
    return towards / (2.0 * centre**2 + float(weight @ np.square(loadings)))


def _of_another(loadings: Array, correlation: Array, weight: Array, results: NDArray[np.int64]) -> float:
    """Return the loading that is expected of one more task.

    Where general quality is clearly bad for some tasks it may be so for this one: they count by their
    negative loadings, which the tasks themselves are not given, since with few experts signs are noise.

    Args:
        loadings: (T,).
        correlation: (T, T), see `correlations`.
        weight: (T, T), see `correlations`.
        results: (T,) how many experts have one on each task.
    """
    centre, known = float(loadings.mean()), weight.sum(axis=1) > 0
    pull = weight * correlation
    found = np.array([_loading(loadings, p, w, centre) for p, w in zip(pull, weight, strict=True)])
    negative = found < -_NEGATIVE / np.sqrt(np.maximum(results, 1))
    below = np.where(negative, found.clip(min=-_LOADINGS[1]) - loadings, 0.0)[known]
    return max(centre + float(below.mean()) if len(below) else centre, _LOADINGS[0])


def fit_factors(
    values: Array, likeness: Mapping[str, Array], target: int, data: Sequence[str] | None = None
) -> Factors:
    """Return the covariance of results over tasks, the target's included.

    The results of the target are not looked at. Its loading is the mean of the others', signs included, moved
    to those of the same data; how much the likeness of tasks counts is the slope of the correlations that the
    factor leaves over.

    Args:
        values: (E, T) standardised results with NaN.
        likeness: (T, T) by source, NaN where unknown.
        target: the column that will be predicted.
        data: (T,) name of the data of each task, empty where unknown (see `same_data`); None for all unknown.
    """
    others = np.arange(values.shape[1]) != target
    correlation, weight = correlations(values[:, others])
    loadings = one_factor(correlation, weight)
    counts = (~np.isnan(values[:, others])).sum(axis=0)
    own = np.zeros((values.shape[1],) * 2)
    left = correlation - np.outer(loadings, loadings)
    sources = list(likeness.values())
    if data is not None:
        inside = np.ix_(others, others)
        around, counted = np.zeros_like(own), np.zeros_like(own)
        around[inside], counted[inside] = left, weight
        sources += likeness_elsewhere(around, counted, data)
    slopes = _slopes([source[np.ix_(others, others)] for source in sources], left, weight)
    for slope, source in zip(slopes, sources, strict=True):
        own += slope * positive(np.nan_to_num(source))
    common = _of_another(loadings, correlation, weight, counts) if len(loadings) else np.sqrt(_COMMON)
    if data is not None and len(loadings):
        common = float(np.clip(loading_by_data(loadings, common, data, target), *_LOADINGS))
    full = np.full(values.shape[1], common)
    full[others] = loadings
    noise = np.clip(1.0 - full**2 - np.diag(own), _LEAST_NOISE, None)
    return Factors(loadings=full, own=own, noise=noise)


def _slopes(sources: Sequence[Array], left: Array, weight: Array, *, rounds: int = 50) -> list[float]:
    """Return by how much the correlation left over grows with each likeness: 0 or more, .8 in all at most.

    Ridge regression over the pairs of tasks, one coefficient at a time.
    """
    slopes = [0.0] * len(sources)
    if not sources:
        return slopes
    known = [weight * ~np.isnan(source) for source in sources]
    centred = [_centred(np.nan_to_num(s), w) for s, w in zip(sources, known, strict=True)]
    for _ in range(rounds):
        before = list(slopes)
        for k, (x, w) in enumerate(zip(centred, known, strict=True)):
            others = [s * o for i, (s, o) in enumerate(zip(slopes, centred, strict=True)) if i != k]
            rest = _centred(left - np.sum(others, axis=0), w) if others else _centred(left, w)
            slopes[k] = max(float((w * x * rest).sum()) / (float((w * x * x).sum()) + _SLOPE_RIDGE), 0.0)
        if np.abs(np.subtract(slopes, before)).max() < _SETTLED:
            break
    most = sum(slopes)
    return [slope * min(1.0, _MOST_OWN / most) for slope in slopes] if most > 0 else slopes


def _centred(matrix: Array, weight: Array) -> Array:
    """Return a matrix minus its weighted mean over the pairs that have a weight; zero elsewhere."""
    total = float(weight.sum())
    mean = float((weight * matrix).sum()) / total if total > 0 else 0.0
    return np.where(weight > 0, matrix - mean, 0.0)


def positive(matrix: Array) -> Array:
    """Return the nearest positive semi-definite matrix."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2.0)
    return np.asarray((vectors * values.clip(min=0.0)) @ vectors.T)
