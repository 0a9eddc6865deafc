"""Ridge classification in closed form: leave-one-out accuracy, and predictions on other inputs."""

from __future__ import annotations

from typing import Any

import torch

from expertise_graph.errors import InvalidInputError
from expertise_graph.transferability._checks import as_features, as_targets

RIDGE_VERSION = "1"
_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


def ridge_accuracy(features: Any, labels: Any) -> float:
    """Return the leave-one-out accuracy of a ridge classifier, at its best of six penalties.

    Args:
        features: (n, d) float, numpy or torch; centred and scaled here.
        labels: (n,) integers.

    Returns:
        Fraction of one.

    Raises:
        InvalidInputError: for shapes that do not fit, float labels, NaN or infinity.

    References:
        Leave-one-out residuals of ridge: Allen 1974 (PRESS); Golub, Heath, Wahba 1979.
    """
    x, y = _prepare(features, labels)
    return max(_leave_one_out(x, y))


def ridge_predict(features: Any, labels: Any, others: Any) -> torch.Tensor:
    """Return class scores (p, c) for `others` (p, d) of a ridge classifier fitted on features.

    The penalty is the one with the best leave-one-out accuracy on (features, labels).

    Raises:
        InvalidInputError: as `ridge_accuracy`, or when `others` are of another width.
    """
    x, y = _prepare(features, labels)
    new = as_features(others, least=1).to(x.device)
    if new.shape[1] != x.shape[1]:
        raise InvalidInputError(f"features of width {x.shape[1]} cannot classify others of {new.shape[1]}")
    accuracies = _leave_one_out(x, y)
    penalty = _PENALTIES[max(range(len(_PENALTIES)), key=accuracies.__getitem__)]
    raw = as_features(features)
    mean, scale = raw.mean(0), _scale(raw)
    targets = y - y.mean(0)
    dual = torch.linalg.solve(x @ x.T + penalty * torch.eye(len(x), dtype=x.dtype, device=x.device), targets)
    scores: torch.Tensor = ((new - mean) / scale) @ (x.T @ dual)
    return scores


def _scale(x: torch.Tensor) -> torch.Tensor:
    """Return the one number that makes the mean squared row norm of centred features one."""
    return (x - x.mean(0)).square().sum(1).mean().sqrt().clamp_min(1e-12)


def _prepare(features: Any, labels: Any) -> tuple[torch.Tensor, torch.Tensor]:
    x = as_features(features)
    y = as_targets(labels, len(x), x.device)
    given = torch.as_tensor(labels)
    if given.is_floating_point() or given.ndim != 1:
        raise InvalidInputError(f"classification needs (n,) integers, got {given.dtype} {tuple(given.shape)}")
    return (x - x.mean(0)) / _scale(x), y


def _leave_one_out(x: torch.Tensor, y: torch.Tensor) -> list[float]:
    """Return the leave-one-out accuracy for each penalty, from one decomposition of x x^T."""
    values, vectors = torch.linalg.eigh(x @ x.T)
    values = values.clamp_min(0.0)
    centred = y - y.mean(0)
    truth = y.argmax(1)
    accuracies = []
    for penalty in _PENALTIES:
        shrink = values / (values + penalty)
        fitted = vectors @ (shrink[:, None] * (vectors.T @ centred))
        leverage = (vectors.square() * shrink).sum(1) + 1.0 / len(x)
        left_out = centred - (centred - fitted) / (1.0 - leverage).clamp_min(1e-9)[:, None]
        guess = (left_out + y.mean(0)).argmax(1)
        accuracies.append(float((guess == truth).double().mean()))
    return accuracies
