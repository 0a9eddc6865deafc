"""Kernel-target alignment: how like the Gram matrix of the features is to that of the labels."""

from __future__ import annotations

from typing import Any

import torch

from expertise_graph.core import InvalidInputError
from expertise_graph.transferability.decomposition import decompose


def kernel_target_alignment(features: Any, labels: Any, *, debiased: bool = False) -> float:
    """Return the cosine of the centred Gram matrices of features and one-hot labels.

    No (n, n) matrix is formed. The plain form is inflated where d reaches n, so that wider
    noise scores higher; the debiased one is 0 on average for noise of any width.

    Args:
        features: (n, d) float, numpy or torch (of any device).
        labels: (n,) integers.
        debiased: U-centre the matrices (diagonals left out); needs n >= 4.

    Returns:
        From 0 to 1, or from about -1 to 1 when debiased; 0 for one class or constant features.

    Raises:
        InvalidInputError: for shapes that do not fit, float labels, NaN or infinity.

    References:
        Cortes, Mohri, Rostamizadeh 2012, arXiv 1203.0550: <K, L> / (|K| |L|) of centred K
        and L; U-centring: Song et al. 2012.

    Example:
        >>> kernel_target_alignment([[0.0], [0.0], [1.0], [1.0]], [0, 0, 1, 1])
        1.0
    """
    space = decompose(features)
    classes = space.classes(labels)
    if debiased and len(space) < 4:
        raise InvalidInputError(f"the debiased alignment needs four items at least, got {len(space)}")
    x, y = space.centred.rows, classes.one_hot - classes.counts / len(space)
    product = _product if debiased else _plain_product
    # The squared norms of Gram matrices from the smaller side.
    xx = product(x, x, space.centred.values.square().sum())
    yy = product(y, y, (y.T @ y).square().sum())
    if min(xx, yy) <= 1e-12:
        return 0.0
    return float(product(x, y, (x.T @ y).square().sum()) / (xx * yy).sqrt())


def _plain_product(x: torch.Tensor, y: torch.Tensor, trace: torch.Tensor) -> torch.Tensor:
    return trace


def _product(x: torch.Tensor, y: torch.Tensor, trace: torch.Tensor) -> torch.Tensor:
    """Return the inner product of U-centred Gram matrices; rows of centred Grams sum to zero."""
    n = len(x)
    a, b = x.square().sum(1), y.square().sum(1)
    return trace - a @ b + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 * (a @ b) / (n - 2)
