"""LogME: log maximum evidence of a Bayesian linear model of the labels given frozen features."""

from __future__ import annotations

import math
from typing import Any

import torch

from expertise_graph.transferability._checks import as_features, as_targets

LOGME_VERSION = "1"
_MAX_ITERATIONS = 300
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
    x = as_features(features)
    y = as_targets(labels, len(x), x.device)
    spectrum, projected = _project(x, y)
    residual = (y.square().sum(0) - projected.sum(0)).clamp_min(0.0)
    alpha, beta = _fixed_point(spectrum, projected, residual, n=len(x))
    return float(_evidence(spectrum, projected, residual, alpha, beta, n=len(x)).mean() / len(x))


def _project(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return squared singular values (k,) and squared projections (k, c) of targets on them."""
    wide = x.shape[0] <= x.shape[1]
    values, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    keep = values > values[-1].clamp_min(0.0) * max(x.shape) * torch.finfo(torch.float64).eps
    values, vectors = values[keep], vectors[:, keep]
    if wide:
        return values, (vectors.T @ y).square()
    return values, (vectors.T @ (x.T @ y)).square() / values[:, None]


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
    floor = 1e-12 * n
    for _ in range(_MAX_ITERATIONS):
        gamma, weights, error = _moments(s, z, residual, alpha, beta)
        new_alpha = (gamma / weights.clamp_min(1e-12)).clamp(1e-9, 1e12)
        new_beta = ((n - gamma) / error.clamp_min(floor)).clamp(1e-9, 1e12)
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
