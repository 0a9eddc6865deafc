"""Ridge classification in closed form: leave-one-out accuracy, and predictions on other inputs."""

from __future__ import annotations

from typing import Any

import torch

from expertise_graph.core import InvalidInputError
from expertise_graph.transferability._checks import as_features
from expertise_graph.transferability._classes import Classes
from expertise_graph.transferability.decomposition import Decomposition, decompose

# Penalties tried, where the squared singular values of n items add up to n: from an almost exact fit to
# heavy shrinkage. Twice as many change the accuracy on clear tasks by no item, on pure noise by few.
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
        Leave-one-out residuals of ridge, Allen 1974 (PRESS); Golub, Heath, Wahba 1979:
        (y_i - yhat_i) / (1 - H_ii) with H = 1/n + X (X^T X + l I)^-1 X^T of centred X.
    """
    space = decompose(features)
    return max(_leave_one_out(space, space.classes(labels)))


def ridge_predict(features: Any, labels: Any, others: Any) -> torch.Tensor:
    """Return class scores (p, c) for `others` (p, d) of a ridge classifier fitted on features.

    The penalty is the one with the best leave-one-out accuracy on (features, labels).

    Raises:
        InvalidInputError: as `ridge_accuracy`, or when `others` are of another width.
    """
    space = decompose(features)
    classes = space.classes(labels)
    new = as_features(others, least=1).to(space.features.device)
    width = space.width
    if new.shape[1] != width:
        raise InvalidInputError(f"features of width {width} cannot classify others of {new.shape[1]}")
    accuracies = _leave_one_out(space, classes)
    penalty = _PENALTIES[max(range(len(_PENALTIES)), key=accuracies.__getitem__)]
    targets = classes.one_hot - classes.counts / len(space)
    left, values = space.centred.left, space.centred.values
    dual = left @ ((left.T @ targets) / (values + penalty)[:, None])
    scores: torch.Tensor = ((new - space.mean) / space.scale) @ (space.centred.rows.T @ dual)
    return scores


def _leave_one_out(space: Decomposition, classes: Classes) -> list[float]:
    """Return the leave-one-out accuracy for each penalty, from one decomposition of the features."""
    left, values = space.centred.left, space.centred.values
    prior = classes.counts / len(space)
    centred = classes.one_hot - prior
    projected = classes.sums(left).T - left.sum(0)[:, None] * prior
    shrinks = torch.stack([values / (values + penalty) for penalty in _PENALTIES], dim=1)
    leverages = left.square() @ shrinks + 1.0 / len(space)
    accuracies = []
    for shrink, leverage in zip(shrinks.unbind(1), leverages.unbind(1), strict=True):
        fitted = left @ (shrink[:, None] * projected)
        left_out = centred - (centred - fitted) / (1.0 - leverage).clamp_min(1e-9)[:, None]
        guess = (left_out + prior).argmax(1)
        accuracies.append(float((guess == classes.index).double().mean()))
    return accuracies
