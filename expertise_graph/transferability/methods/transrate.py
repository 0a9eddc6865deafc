"""TransRate: how many more nats the features take to code as a whole than class by class."""

from __future__ import annotations

from typing import Any

import torch

from expertise_graph.core import InvalidInputError
from expertise_graph.transferability._checks import MOST_ELEMENTS
from expertise_graph.transferability._classes import Classes
from expertise_graph.transferability.decomposition import decompose


def transrate(features: Any, labels: Any, *, eps: float = 0.1) -> float:
    """Return the coding rate of the centred features minus that within classes.

    Features are scaled to total variance one, so that `eps` is a share of it. Determinants are
    taken of the smaller of covariance and Gram matrix, those of classes of one size together.
    The paper's distortion of 1e-4 measures noise where classes have fewer items than the
    features have dimensions: there the score falls as the classes come apart. At 0.1 it rises.

    Args:
        features: (n, d) float, numpy or torch (of any device).
        labels: (n,) integers.
        eps: distortion that the code allows, as a share of the variance.

    Returns:
        Nats, at least 0; 0 for one class or constant features. Grows with the width of noise.

    Raises:
        InvalidInputError: for shapes that do not fit, float labels, NaN or infinity, eps <= 0.

    References:
        Huang et al. 2022, arXiv 2106.09362: R(Z) - sum_c n_c/n R(Z_c) with
        R(Z) = log det(I + Z^T Z / (n eps)) / 2.
    """
    if not eps > 0:
        raise InvalidInputError(f"eps must be positive, got {eps}")
    space = decompose(features)
    classes = space.classes(labels)
    spectrum = space.centred
    whole = torch.log1p(spectrum.values / (len(space) * eps)).sum() / 2
    z = spectrum.coordinates() / eps**0.5
    return float((whole - _rate_within(z, classes)).clamp_min(0.0))


def _rate_within(z: torch.Tensor, classes: Classes) -> torch.Tensor:
    """Return the coding rate (nats) averaged over classes, each by its share of the items."""
    by_class = z[classes.index.argsort(stable=True)]
    starts = classes.counts.cumsum(0).long() - classes.counts.long()
    total = z.new_zeros(())
    for size in classes.counts.unique().long().tolist():
        offsets = torch.arange(size, device=z.device)
        side = min(size, z.shape[1])
        step = max(1, MOST_ELEMENTS // max(1, side**2, size * z.shape[1]))
        for some in starts[classes.counts == size].split(step):
            total = total + size * _log_determinants(by_class[some[:, None] + offsets]).sum()
    return total / (2 * len(z))


def _log_determinants(blocks: torch.Tensor) -> torch.Tensor:
    """Return log det(I + B^T B / m) of each of the blocks (g, m, k) in its smaller dimension."""
    _, m, k = blocks.shape
    grams = blocks @ blocks.mT if m <= k else blocks.mT @ blocks
    eye = torch.eye(min(m, k), dtype=blocks.dtype, device=blocks.device)
    factors = torch.linalg.cholesky(eye + grams / m)
    determinants: torch.Tensor = 2 * factors.diagonal(dim1=1, dim2=2).log().sum(1)
    return determinants
