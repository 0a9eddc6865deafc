"""PARC: whether items of one class are nearer to each other than items of different classes."""

from __future__ import annotations

from typing import Any

import torch

from expertise_graph.core import InvalidInputError
from expertise_graph.transferability.decomposition import decompose


def parc(features: Any, labels: Any, *, dimensions: int = 32) -> float:
    """Return the rank correlation of the distances of features and of one-hot labels.

    Distances are one minus Pearson's correlation of two items, those of features along the
    first principal axes. The published code also scales each axis to unit variance; that makes
    all items equally far from each other where n <= 33, and is left out.

    Args:
        features: (n, d) float, numpy or torch (of any device); takes memory of n^2.
        labels: (n,) integers.
        dimensions: principal axes that are kept.

    Returns:
        Spearman's correlation, -1 to 1; 0 where all distances are alike: one class, one item in
        each class, constant features, d = 1 (one number has no correlation).

    Raises:
        InvalidInputError: for shapes that do not fit, float labels, NaN or infinity, or
            dimensions < 1.

    References:
        Bolya et al. 2021, arXiv 2111.06977: Spearman's correlation over pairs i < j of
        1 - pearson(x_i, x_j) and 1 - pearson(y_i, y_j).
    """
    if dimensions < 1:
        raise InvalidInputError(f"dimensions must be at least 1, got {dimensions}")
    space = decompose(features)
    classes = space.classes(labels)
    x = space.centred.coordinates(dimensions)
    first, second = torch.triu_indices(len(space), len(space), 1, device=x.device)
    ranks = _ranks(1 - _correlations(x)[first, second])
    # One-hot labels have two distances only: equal, or not.
    different = (classes.index[first] != classes.index[second]).to(torch.float64)
    return _correlation(ranks, different)


def _correlations(x: torch.Tensor) -> torch.Tensor:
    """Return Pearson's correlation of each pair of rows (n, n); 0 for rows without variation."""
    rows = x - x.mean(1, keepdim=True) if x.shape[1] else x
    norms = rows.norm(dim=1, keepdim=True)
    unit = rows / torch.where(norms > 1e-12, norms, torch.full_like(norms, torch.inf))
    return unit @ unit.T


def _ranks(values: torch.Tensor) -> torch.Tensor:
    """Return the ranks of values (m,), the mean rank where they are equal up to rounding."""
    _, which, counts = torch.unique(values.round(decimals=10), return_inverse=True, return_counts=True)
    ranks: torch.Tensor = (counts.cumsum(0) - (counts - 1) / 2)[which]
    return ranks.to(torch.float64)


def _correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = a.norm() * b.norm()
    return float(a @ b / norm) if norm > 0 else 0.0
