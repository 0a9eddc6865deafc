"""Similarity of representations: pure functions on arrays.

Rows of two feature matrices are responses to the same n inputs; the widths may differ. All
measures here are blind to rotation, isotropic scaling and translation of the features.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import LENGTHS, FloatArray, InvalidInputError

SKETCH_METHOD = "cka-sketch"
SKETCH_VERSION = "1"
SKETCH_DIM = LENGTHS[SKETCH_METHOD]
SKETCH_SEED = 0
DUPLICATE_CKA = 0.999
_ROUNDING = 1e-14


def check_features(features: FloatArray) -> NDArray[np.float64]:
    """Return `features` as float64 (n, d) after checking shape and finiteness.

    Args:
        features: (n, d) array, n >= 4, d >= 1.

    Raises:
        InvalidInputError: for another rank, fewer than four rows, NaN or infinity.
    """
    array = np.asarray(features, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] < 4 or array.shape[1] < 1:
        raise InvalidInputError(f"features must be (n, d) with n >= 4 and d >= 1, got shape {array.shape}")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).any(axis=1).sum())
        raise InvalidInputError(f"features hold NaN or infinity in {bad} of {array.shape[0]} rows")
    return array


def centred_gram(features: FloatArray) -> NDArray[np.float64]:
    """Return the unit-norm U-centred linear Gram matrix of the features.

    Its inner product with that of other features is their debiased CKA. Constant features have
    no structure to compare: their Gram is all zeros, and so is their similarity to anything.

    Args:
        features: (n, d) float, n >= 4.

    Returns:
        (n, n) float64, symmetric, zero diagonal, rows summing to zero, Frobenius norm one.

    Raises:
        InvalidInputError: see `check_features`.

    References:
        U-centring: Szekely and Rizzo 2014, arXiv 1310.2926, equation 2.5.
        Debiased CKA: Kornblith et al. 2019, arXiv 1905.00414; unbiased HSIC: Song et al. 2012.
    """
    rows = _centred(features)
    return unit_norm(u_centre(rows @ rows.T), noise=1e-12 * len(rows))


def _centred(features: FloatArray) -> NDArray[np.float64]:
    """Return checked features minus their column means, the largest entry scaled to one."""
    rows = check_features(features)
    size = np.abs(rows).max()
    if size == 0:
        return rows
    # Twice: huge values must not overflow in the mean, nor a small variation vanish in the square.
    rows = rows / size
    rows = rows - rows.mean(axis=0)
    largest = np.abs(rows).max()
    return rows / largest if largest > _ROUNDING else np.zeros_like(rows)


def u_centre(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the U-centred copy of a symmetric (n, n) matrix: diagonal removed, row sums zero."""
    n = gram.shape[0]
    inner = gram.copy()
    np.fill_diagonal(inner, 0.0)
    rows = inner.sum(axis=1) / (n - 2)
    inner += inner.sum() / ((n - 1) * (n - 2)) - rows[:, None] - rows[None, :]
    np.fill_diagonal(inner, 0.0)
    return inner


def unit_norm(matrix: NDArray[np.float64], *, noise: float = 0.0) -> NDArray[np.float64]:
    """Return `matrix` over its Frobenius norm, or zeros where the norm is at most `noise`."""
    norm = float(np.linalg.norm(matrix))
    return matrix / norm if norm > noise else np.zeros_like(matrix)


def debiased_cka(a: FloatArray, b: FloatArray) -> float:
    """Return debiased linear CKA of two feature matrices of the same inputs.

    Args:
        a: (n, d) float.
        b: (n, e) float.

    Returns:
        A number in [-1, 1]; its mean is zero for unrelated features, whatever their widths.

    Raises:
        InvalidInputError: when the numbers of rows differ, and see `check_features`.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 8))
        >>> round(debiased_cka(x, 3 * x + 1), 6)
        1.0
    """
    _check_rows(a, b)
    return float(np.vdot(centred_gram(a), centred_gram(b)))


def biased_cka(a: FloatArray, b: FloatArray) -> float:
    """Return linear CKA with the biased HSIC; inflated where width reaches the number of rows.

    Args:
        a: (n, d) float.
        b: (n, e) float.

    Returns:
        A number in [0, 1].

    Raises:
        InvalidInputError: as `debiased_cka`.

    References:
        Kornblith et al. 2019, arXiv 1905.00414, equation 4.
    """
    _check_rows(a, b)
    x, y = _centred(a), _centred(b)
    cross = float(np.linalg.norm(x.T @ y) ** 2)
    scale = float(np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    return cross / scale if scale > 0 else 0.0


def _check_rows(a: FloatArray, b: FloatArray) -> None:
    if len(a) != len(b):
        raise InvalidInputError(f"features of the same inputs are needed, got {len(a)} and {len(b)} rows")


def normalise(vectors: FloatArray, *, dtype: Any = np.float32) -> NDArray[Any]:
    """Return rows over their Euclidean norm, (n, m): the only place where vectors are normalised.

    Raises:
        InvalidInputError: for another rank, NaN, infinity or a zero row.
    """
    # In float64: squares of float32 overflow beyond 1e19 and vanish below 1e-23.
    array = np.asarray(vectors, dtype=np.float64)
    if array.ndim != 2:
        raise InvalidInputError(f"vectors must be (n, m), got shape {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidInputError("vectors hold NaN or infinity")
    norms = np.linalg.norm(array, axis=1, keepdims=True)
    if (norms == 0).any():
        raise InvalidInputError("a zero vector has no direction and cannot be indexed")
    return np.ascontiguousarray(array / norms, dtype=dtype)


def sketch(gram: FloatArray, *, dim: int = SKETCH_DIM, seed: int = SKETCH_SEED) -> NDArray[np.float32]:
    """Return the (dim,) count sketch of the upper triangle of a symmetric zero-diagonal matrix.

    Inner products are preserved in expectation; the cosine of two sketches estimates that of two
    matrices of cosine r with standard error about (1 - r^2) / sqrt(dim). The hash is a fixed
    function of position and seed, so a sketch never depends on other experts or library versions.

    References:
        Charikar, Chen, Farach-Colton 2002; Weinberger et al. 2009, arXiv 0902.2206.
    """
    n = gram.shape[0]
    upper = gram[np.triu_indices(n, 1)]
    buckets, signs = _hashes(len(upper), dim, seed)
    # An off-diagonal entry stands for two of the matrix, hence the root of two.
    sums = np.bincount(buckets, weights=signs * upper * np.sqrt(2.0), minlength=dim)
    return sums.astype(np.float32)


@lru_cache(maxsize=4)
def _hashes(n: int, dim: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return a bucket in [0, dim) and a sign for each of n positions."""
    start = np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    bits = _splitmix64(np.arange(n, dtype=np.uint64) + start)
    buckets = ((bits >> np.uint64(1)) % np.uint64(dim)).astype(np.int64)
    return buckets, np.where(bits & np.uint64(1), 1.0, -1.0)


def _splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the splitmix64 finaliser (Steele et al. 2014) of each element, modulo 2^64."""
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
