"""The linear probe: regularised regression on frozen features, logistic for classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""Candidate L2 strengths for the mean loss on standardised features, strongest first."""

SHORTENED, SURE = 0.1, 0.1

UNBALANCED = 1.5
LARGEST_RATIO = 10.0


@dataclass(frozen=True, kw_only=True)
class LinearHead:
    """Weight (classes, d) and bias (classes,) of a linear classifier on raw features."""

    weight: torch.Tensor
    bias: torch.Tensor
    strength: float

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return (n, classes) for features (n, d)."""
        return functional.linear(features, self.weight, self.bias)


def first_length(loss: float, classes: int) -> float:
    """Return how long the head that training begins with is beside a probe, where inputs stay the same.

    Items that the probe is sure of teach nothing at its own length, so it is shortened. A probe that is not
    sure has much to learn, and the way back from a short head is long. Measured in LOG.md.

    Args:
        loss: mean loss of the probe on the items to train on, in nats.
        classes: how many there are; it is sure below `SURE` of the loss of guessing among them.
    """
    return SHORTENED if loss < SURE * math.log(classes) else 1.0


def class_weights(labels: torch.Tensor, classes: int) -> torch.Tensor | None:
    """Return weights (classes,) inverse to the class frequencies, or None when they are balanced.

    Args:
        labels: (n,) int, the training labels.
        classes: how many classes there are.

    Returns:
        None when the largest class has at most 1.5 times the items of the smallest. Otherwise
        weights whose mean over the items is one; no class weighs more than ten times another,
        so that one odd item cannot steer the whole model. Classes without items weigh nothing.
    """
    counts = torch.bincount(labels, minlength=classes).double()
    present = counts[counts > 0]
    if present.max() <= UNBALANCED * present.min():
        return None
    weights = torch.where(counts > 0, 1.0 / counts.clamp(min=present.max() / LARGEST_RATIO), 0.0)
    return weights * (labels.numel() / (weights * counts).sum())


def fit_linear_head(
    features: torch.Tensor,
    targets: torch.Tensor,
    *,
    train: torch.Tensor,
    validation: torch.Tensor,
    outputs: int,
    loss_of: Loss = functional.cross_entropy,
    chosen_by: Loss = functional.cross_entropy,
    strengths: Sequence[float] = STRENGTHS,
) -> LinearHead:
    """Fit a head for each L2 strength on `train` and keep the one of the lowest validation loss.

    The loss decides, not the accuracy: of a dozen validation items accuracy takes a dozen values
    and nearly all strengths tie.

    Args:
        features: (n, d) float.
        targets: (n, ...) what `loss_of` takes.
        train: indices to fit on.
        validation: indices to choose the strength on.
        outputs: width of the head.
        loss_of: (outputs, targets) to the mean loss to minimise.
        chosen_by: the same of the loss on `validation`.
        strengths: the candidates, strongest first.

    Returns:
        The head, for features that are not standardised.
    """
    x, y = features.double(), targets.double() if targets.is_floating_point() else targets
    mean = x[train].mean(dim=0)
    deviation = x[train].std(dim=0, correction=0)
    scale = torch.where(deviation > 1e-8, 1.0 / deviation.clamp(min=1e-8), 0.0)
    z = (x - mean) * scale
    w = torch.zeros(outputs, z.shape[1] + 1, dtype=torch.float64)
    best, lowest, chosen = w, float("inf"), strengths[0]
    for strength in strengths:
        w = fit_regularised(z[train], y[train], strength=strength, loss_of=loss_of, start=w)
        loss = chosen_by(functional.linear(z[validation], w[:, :-1], w[:, -1]), y[validation]).item()
        if loss < lowest:
            best, lowest, chosen = w, loss, strength
    weight = best[:, :-1] * scale
    bias = best[:, -1] - weight @ mean
    return LinearHead(weight=weight.float(), bias=bias.float(), strength=chosen)


def fit_regularised(
    features: torch.Tensor,
    targets: torch.Tensor,
    *,
    strength: float,
    start: torch.Tensor,
    loss_of: Loss = functional.cross_entropy,
) -> torch.Tensor:
    """Minimise the mean loss + strength/2 * |W|^2 by L-BFGS; the bias is free.

    Args:
        features: (n, d) float64.
        targets: (n, ...) what `loss_of` takes.
        strength: of the L2 penalty, above 0.
        start: (outputs, d + 1) where to begin, the bias in the last column.
        loss_of: (outputs, targets) to a mean loss.

    Returns:
        (outputs, d + 1) float64, the bias in the last column.
    """
    w = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [w], max_iter=200, tolerance_grad=1e-6, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def objective() -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(functional.linear(features, w[:, :-1], w[:, -1]), targets)
        loss = loss + strength / 2 * w[:, :-1].square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    return w.detach()
