"""GBC: how little the classes overlap as Gaussians, by their Bhattacharyya coefficients."""

from __future__ import annotations

from typing import Any

import torch

from expertise_graph.core import InvalidInputError
from expertise_graph.transferability._checks import MOST_ELEMENTS
from expertise_graph.transferability.decomposition import decompose

# Least variance of a class, as a share of the mean variance: a class of one item has none of its own, and
# would be infinitely far from all others.
_FLOOR = 1e-4


def gbc(features: Any, labels: Any, *, dimensions: int = 64) -> float:
    """Return minus the sum of Bhattacharyya coefficients over ordered pairs of classes.

    Classes are Gaussians with diagonal covariance along the principal axes. Variances are at
    least 1e-4 of the mean variance of an axis, also those of classes with one item.

    Args:
        features: (n, d) float, numpy or torch (of any device).
        labels: (n,) integers.
        dimensions: principal axes that are kept.

    Returns:
        From -c (c - 1), for classes that are all alike, to 0, for classes that are apart or only
        one. Grows with the width of noise up to `dimensions`.

    Raises:
        InvalidInputError: for shapes that do not fit, float labels, NaN or infinity, or
            dimensions < 1.

    References:
        Pandy et al. 2022, arXiv 2111.12780: -sum over c != e of exp(-D(c, e)), with D the
        sum over axes of (m_c - m_e)^2 / (8 v) + log(v / sqrt(v_c v_e)) / 2, v = (v_c + v_e) / 2.
    """
    if dimensions < 1:
        raise InvalidInputError(f"dimensions must be at least 1, got {dimensions}")
    space = decompose(features)
    classes = space.classes(labels)
    x = space.centred.coordinates(dimensions)
    means = classes.means(x)
    floor = _FLOOR * x.square().mean() if x.numel() else 0.0
    variances = classes.means((x - means[classes.index]).square()).clamp_min(floor)
    return 0.0 - _overlap(means, variances)


def _overlap(means: torch.Tensor, variances: torch.Tensor) -> float:
    """Return the sum of exp(-distance) over ordered pairs of different classes."""
    logs = variances.log().sum(1) / 2
    step = max(1, MOST_ELEMENTS // max(1, means.numel()))
    total = 0.0
    for some in torch.arange(len(means), device=means.device).split(step):
        variance = (variances[some, None] + variances) / 2
        apart = ((means[some, None] - means).square() / variance).sum(2) / 8
        spread = (variance.log().sum(2) - logs[some, None] - logs) / 2
        alike = torch.exp(-(apart + spread).clamp_min(0.0))
        # Left out rather than subtracted: next to one, small overlaps with others would be lost.
        alike[torch.arange(len(some), device=some.device), some] = 0.0
        total += float(alike.sum())
    return total
