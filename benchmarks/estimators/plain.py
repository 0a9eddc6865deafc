"""LogME written down class by class as You et al. 2021 (arXiv 2102.11005, algorithm 1) describe it, in numpy.

The evidence sums over the rank k of the features in place of d, as it must where n < d; for n > d and full
rank that is the paper's. The functions are given the singular value decomposition of all features: the
full one, with a square U, as the paper's algorithm is written down, or the thin one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TOLERANCE = 1e-5


def decomposed(f: Array, *, full: bool = False) -> tuple[Array, Array, Array]:
    """Return the singular value decomposition U, S, V^T; thin, or with a square U."""
    u, s, vt = np.linalg.svd(f, full_matrices=full)
    return u, s, vt


def by_the_paper(
    f: Array, svd: tuple[Array, Array, Array], labels: NDArray[np.int64], classes: list[int]
) -> list[float]:
    """Return the evidence of some classes; each step works out the weights and their errors on all items."""
    _, s, vt = svd
    return [_paper_class(f, (labels == c).astype(np.float64), s**2, vt) for c in classes]


def _paper_class(f: Array, y: Array, sigma: Array, vt: Array) -> float:
    n, alpha, beta = len(f), 1.0, 1.0
    projected = vt @ (f.T @ y)
    while True:
        gamma = (beta * sigma / (alpha + beta * sigma)).sum()
        m = vt.T @ (beta * projected / (alpha + beta * sigma))
        weights, error = float(m @ m), float(((f @ m - y) ** 2).sum())
        before = alpha, beta
        alpha, beta = gamma / weights, (n - gamma) / error
        if _still(before, (alpha, beta)):
            return _evidence(n, sigma, alpha, beta, weights, error)


def by_projections(
    f: Array, svd: tuple[Array, Array, Array], labels: NDArray[np.int64], classes: list[int]
) -> list[float]:
    """Return the evidence of some classes, with the shortcut that weights and errors follow from U^T y."""
    u, s, _ = svd
    return [_short_class(u, (labels == c).astype(np.float64), s**2) for c in classes]


def _short_class(u: Array, y: Array, sigma: Array) -> float:
    n, alpha, beta = len(y), 1.0, 1.0
    z = (u.T @ y) ** 2
    rest = y @ y - z.sum()
    while True:
        spread = alpha + beta * sigma
        gamma = (beta * sigma / spread).sum()
        weights = (beta**2 * sigma * z / spread**2).sum()
        error = rest + ((alpha / spread) ** 2 * z).sum()
        before = alpha, beta
        alpha, beta = gamma / weights, (n - gamma) / error
        if _still(before, (alpha, beta)):
            return _evidence(n, sigma, alpha, beta, weights, error)


def _still(before: tuple[float, float], after: tuple[float, float]) -> bool:
    return all(abs(math.log(a / b)) < TOLERANCE for a, b in zip(before, after, strict=True))


def _evidence(n: int, sigma: Array, alpha: float, beta: float, weights: float, error: float) -> float:
    fit = n * math.log(beta) + len(sigma) * math.log(alpha) - n * math.log(2 * math.pi)
    return float(fit - beta * error - alpha * weights - np.log(alpha + beta * sigma).sum()) / (2 * n)
