"""LogME: log maximum evidence of a Bayesian linear model of the labels given frozen features."""

from __future__ import annotations

import math
from typing import Any

import torch

from expertise_graph.transferability._checks import as_targets
from expertise_graph.transferability.decomposition import decompose

LOGME_VERSION = "1"
_MAX_ITERATIONS = 1000
_TOLERANCE = 1e-7


def logme(features: Any, labels: Any) -> float:
    """Return the log evidence per sample of labels given features, averaged over classes.

    All classes share one eigendecomposition of the smaller Gram matrix, and their fixed points
    run at once. Where n < d the evidence sums over the rank k of the features, not over d, so
    that width alone gains nothing.

    Args:
        features: (n, d) float, numpy or torch (of any device).
        labels: (n,) integers for classification, or (n,) or (n, c) floats for regression.

    Returns:
        Nats per sample; higher is better. Order is meaningful within one task only.

    Raises:
        InvalidInputError: for shapes that do not fit, fewer than two rows, NaN or infinity.

    References:
        You et al. 2021, arXiv 2102.11005, equations 2-5 and algorithm 1.

    Example:
        >>> x = torch.tensor([[0.0], [0.1], [1.0], [1.1]])
        >>> logme(x, torch.tensor([0, 0, 1, 1])) > logme(x, torch.tensor([0, 1, 0, 1]))
        True
    """
    space = decompose(features)
    n = len(space)
    y, unit = _in_own_unit(as_targets(labels, n, space.features.device))
    projected = space.raw.project(y)
    # The evidence does not depend on the scale of features; the bounds on alpha need one.
    spectrum = space.raw.values / space.raw.values[:1]
    total = y.square().sum(0)
    residual = total - projected.sum(0)
    # Less than rounding is nothing: as noise it would make the fixed point run in a circle.
    residual = torch.where(residual > 1e-12 * total, residual, torch.zeros_like(residual))
    alpha, beta = _fixed_point(spectrum, projected, residual, n=n)
    evidence = _evidence(spectrum, projected, residual, alpha, beta, n=n)
    return float((evidence / n - unit.log()).mean())


def _in_own_unit(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return targets over their root mean square, and that (c,), so that bounds fit any unit."""
    unit = y.square().mean(0).sqrt()
    unit = torch.where(unit > 0, unit, torch.ones_like(unit))
    return y / unit, unit


def _moments(
    s: torch.Tensor, z: torch.Tensor, residual: torch.Tensor, alpha: torch.Tensor, beta: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return gamma, the squared norm of the mean weights, and the squared error, each (c,)."""
    denominator = alpha + beta * s[:, None]
    gamma = (beta * s[:, None] / denominator).sum(0)
    weights = (beta.square() * s[:, None] * z / denominator.square()).sum(0)
    error = residual + ((alpha / denominator).square() * z).sum(0)
    return gamma, weights, error


def _fixed_point(
    s: torch.Tensor, z: torch.Tensor, residual: torch.Tensor, *, n: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the evidence-maximising precisions alpha of weights and beta of noise, each (c,)."""
    alpha = torch.ones_like(residual)
    beta = torch.ones_like(residual)
    for _ in range(_MAX_ITERATIONS):
        gamma, weights, error = _moments(s, z, residual, alpha, beta)
        new_alpha = (gamma / weights.clamp_min(1e-12)).clamp(1e-9, 1e12)
        # n - gamma, without cancellation where the features can fit the targets exactly.
        free = n - len(s) + (alpha / (alpha + beta * s[:, None])).sum(0)
        new_beta = (free / error.clamp_min(1e-30)).clamp(1e-9, 1e12)
        moved = (new_alpha / alpha).log().abs().max() + (new_beta / beta).log().abs().max()
        alpha, beta = new_alpha, new_beta
        if moved < _TOLERANCE:
            break
    return alpha, beta


def _evidence(
    s: torch.Tensor,
    z: torch.Tensor,
    residual: torch.Tensor,
    alpha: torch.Tensor,
    beta: torch.Tensor,
    *,
    n: int,
) -> torch.Tensor:
    """Return the log evidence (c,); directions without variance cancel, so k terms remain."""
    _, weights, error = _moments(s, z, residual, alpha, beta)
    log_determinant = torch.log(alpha + beta * s[:, None]).sum(0)
    fit = n * beta.log() + len(s) * alpha.log() - n * math.log(2 * math.pi)
    return 0.5 * (fit - beta * error - alpha * weights - log_determinant)
