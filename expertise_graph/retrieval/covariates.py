"""How alike experts are by what is written about them: size, architecture, source data, lineage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Deviations of a number over which experts are alike: half a deviation apart they share .6 of the smooth
# half, one apart .14. Wider makes it a second straight line, narrower makes every expert its own.
_WIDTH = 0.5
# Positive numbers that span more than this factor count by their logarithm: parameter counts do, widths of
# features usually do not.
_WIDE_RANGE = 30.0
# Experts with results that it takes to tell what a covariate explains; leave-one-out of fewer is chance.
_FEWEST = 5
# Variance that is an expert's own, beside the kernel's of one, when a covariate is tried. Less lets single
# experts decide, more makes every covariate look useless.
_OWN = 0.5


@dataclass(frozen=True)
class Covariate:
    """One covariate of E experts: numbers (E,) in units of their deviation, or codes; NaN where unknown."""

    name: str
    values: Array
    ordered: bool

    def kernel(self) -> Array:
        """Return the covariance (E, E) of what depends on the covariate, zero where either side is unknown.

        Of a number, half is a straight line and half is smooth.
        """
        difference = self.values[:, None] - self.values[None, :]
        alike = (difference == 0).astype(float)
        if self.ordered:
            alike = np.exp(-0.5 * np.square(np.nan_to_num(difference, nan=np.inf) / _WIDTH))
        np.fill_diagonal(alike, 1.0)
        if not self.ordered:
            return np.asarray(alike)
        line = np.nan_to_num(self.values)
        return np.asarray(0.5 * alike + 0.5 * np.outer(line, line))

    def among(self, rows: NDArray[np.bool_]) -> Covariate | None:
        """Return the covariate of some of the experts, or None where it is known of none of them."""
        values = self.values[rows]
        return None if np.isnan(values).all() else replace(self, values=values)


def covariates_of(
    experts: Sequence[str], covariates: Mapping[str, Mapping[str, str | float]]
) -> tuple[Covariate, ...]:
    """Return the covariates that tell experts apart and that at least two experts share.

    Positive numbers that span more than a factor of thirty count by their logarithm.

    Args:
        experts: E ids, in the order wanted.
        covariates: name and value by expert.
    """
    names = sorted({name for expert in experts for name in covariates.get(expert, {})})
    found = (_covariate(name, [covariates.get(e, {}).get(name) for e in experts]) for name in names)
    return tuple(covariate for covariate in found if covariate is not None)


def _covariate(name: str, given: Sequence[str | float | None]) -> Covariate | None:
    known = [value for value in given if value is not None and value != ""]
    if all(isinstance(value, int | float) for value in known):
        return _number(name, [math.nan if v is None or v == "" else float(v) for v in given])
    codes = {value: float(i) for i, value in enumerate(sorted({str(v) for v in known}))}
    values = np.array([math.nan if v is None or v == "" else codes[str(v)] for v in given])
    return Covariate(name, values, ordered=False) if 1 < len(codes) < len(known) else None


def _number(name: str, given: Sequence[float]) -> Covariate | None:
    values = np.asarray(given, dtype=np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    known = values[~np.isnan(values)]
    if len(np.unique(known)) < 2:
        return None
    if known.min() > 0 and known.max() / known.min() > _WIDE_RANGE:
        values = np.log(values)
    return Covariate(name, (values - np.nanmean(values)) / np.nanstd(values), ordered=True)


def weigh(
    covariates: Sequence[Covariate], quality: Array, trust: Array
) -> tuple[Array | None, float, dict[str, float]]:
    """Return the covariates joined into one kernel, the share of quality that it explains, and the weights.

    A covariate counts by how well it alone predicts the quality of an expert from the others'
    (leave one out); one that predicts nothing is left out.

    Args:
        covariates: of E experts.
        quality: (E,) estimated from results.
        trust: (E,) precision of that, zero for experts without results.
    """
    joined = np.zeros((len(quality),) * 2)
    weights: dict[str, float] = {}
    for covariate in covariates:
        kernel = covariate.kernel()
        share = explained(kernel, quality, trust)
        if share > 0:
            weights[covariate.name] = share
            joined += share * kernel
    if not weights:
        return None, 0.0, {}
    joined /= sum(weights.values())
    return joined, explained(joined, quality, trust), weights


def explained(kernel: Array, quality: Array, trust: Array) -> float:
    """Return the share of the variance of quality that a kernel predicts, leave one out; at least 0."""
    seen = trust > 0
    if seen.sum() < _FEWEST:
        return 0.0
    y, k = quality[seen], kernel[np.ix_(seen, seen)]
    y = y - y.mean()
    inverse = np.linalg.inv(k + _OWN * np.eye(len(y)) + 1.0 / len(y))
    left_out = (inverse @ y) / np.diag(inverse)
    total = float(np.square(y).sum())
    return max(0.0, 1.0 - float(np.square(left_out).sum()) / total) if total > 0 else 0.0
