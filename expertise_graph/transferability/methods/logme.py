"""LogME: log maximum evidence of a Bayesian linear model of the labels given frozen features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from expertise_graph.transferability._classes import as_targets
from expertise_graph.transferability.decomposition import decompose

# Separable classes take 10 to 70 steps; targets that the features fit exactly, or not at all, creep towards
# infinity, where the evidence hardly changes any more, and end here.
_MAX_ITERATIONS = 1000
# Change of log(alpha) + log(beta) at which a target counts as converged. The evidence is flat there: its
# error is about the square of this.
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
        You et al. 2021, arXiv 2102.11005, equations 2-5 and algorithm 1: the greatest value over
        alpha and beta of n/2 log(beta / 2 pi) + d/2 log alpha - beta/2 |F m - y|^2
        - alpha/2 |m|^2 - log det(A) / 2, with A = alpha I + beta F^T F and m = beta A^-1 F^T y, by
        alpha = gamma / |m|^2, beta = (n - gamma) / |F m - y|^2, gamma = tr(beta F^T F A^-1).

    Example:
        >>> x = torch.tensor([[0.0], [0.1], [1.0], [1.1]])
        >>> logme(x, torch.tensor([0, 0, 1, 1])) > logme(x, torch.tensor([0, 1, 0, 1]))
        True
    """
    space = decompose(features)
    n = len(space)
    targets = as_targets(labels, n, space.device)
    spectrum = space.raw
    # In the unit of each target, so that bounds on alpha and beta fit any.
    square = targets.squares / n
    square = torch.where(square > 0, square, torch.ones_like(square))
    projected = spectrum.project(targets) / square[:, None]
    total = targets.squares / square
    residual = total - projected.sum(1)
    # Less than rounding is nothing: as noise it would make the fixed point run in a circle.
    residual = torch.where(residual > 1e-12 * total, residual, torch.zeros_like(residual))
    # The evidence does not depend on the scale of features; the bounds on alpha need one.
    problem = _Problem(n, spectrum.values / spectrum.values[:1], projected, residual)
    evidence = _evidence(problem, *_fixed_point(problem))
    return float((evidence / n - square.log() / 2).mean())


@dataclass(frozen=True, eq=False)
class _Problem:
    """Squared singular values s (k,), and of each of c targets its squared projections and the rest.

    Precisions `alpha` of the weights and `beta` of the noise are (c,), one of each a target.
    """

    n: int
    s: torch.Tensor
    projected: torch.Tensor
    residual: torch.Tensor

    def of(self, some: torch.Tensor) -> _Problem:
        """Return the problem of some of the targets."""
        return _Problem(self.n, self.s, self.projected[some], self.residual[some])

    @cached_property
    def sums(self) -> torch.Tensor:
        """(k, 2): products with it are sums weighted by s, and plain ones."""
        return torch.stack([self.s, torch.ones_like(self.s)], dim=1)

    def moments(self, alpha: torch.Tensor, beta: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return gamma, n - gamma, the squared norm of the mean weights, and the squared error, each (c,)."""
        shrunk = torch.outer(beta, self.s).add_(alpha[:, None]).reciprocal_()
        gamma, rest = (shrunk @ self.sums).unbind(1)
        weights, error = (shrunk.square_().mul_(self.projected) @ self.sums).unbind(1)
        # n - gamma, without cancellation where the features can fit the targets exactly.
        free = self.n - len(self.s) + alpha * rest
        return beta * gamma, free, beta.square() * weights, self.residual + alpha.square() * error


def _fixed_point(problem: _Problem) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the evidence-maximising precisions alpha and beta, each (c,)."""
    found = torch.ones(2, len(problem.residual), dtype=problem.residual.dtype, device=problem.residual.device)
    least = found.new_tensor([[1e-12], [1e-30]])
    moving, left, now = torch.arange(found.shape[1], device=found.device), problem, found
    # Hundreds of steps on a few numbers: the time goes into the number of operations, so both run in one.
    for _ in range(_MAX_ITERATIONS):
        gamma, free, weights, error = left.moments(*now)
        then, divisor = now, torch.maximum(torch.stack([weights, error]), least)
        now = (torch.stack([gamma, free]) / divisor).clamp_(1e-9, 1e12)
        still = (now / then).log_().abs_().sum(0) >= _TOLERANCE
        if not still.all():
            found[:, moving] = now
            moving, left, now = moving[still], left.of(still), now[:, still]
            if not len(moving):
                break
    found[:, moving] = now
    alpha, beta = found
    return alpha, beta


def _evidence(problem: _Problem, alpha: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    """Return the log evidence (c,); directions without variance cancel, so k terms remain."""
    n, k = problem.n, len(problem.s)
    _, _, weights, error = problem.moments(alpha, beta)
    log_determinant = torch.outer(beta, problem.s).add_(alpha[:, None]).log_().sum(1)
    fit = n * beta.log() + k * alpha.log() - n * math.log(2 * math.pi)
    return 0.5 * (fit - beta * error - alpha * weights - log_determinant)
