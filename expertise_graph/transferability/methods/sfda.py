"""SFDA: how surely regularised Fisher discriminants tell the classes after hard items are harder."""

from __future__ import annotations

import math
from typing import Any

import torch

from expertise_graph.core import InvalidInputError
from expertise_graph.transferability._classes import Classes
from expertise_graph.transferability.decomposition import decompose

# Keeps the covariance invertible where exp(-a * eigenvalue) underflows.
_LEAST_SHRINKAGE = 1e-10


def sfda(features: Any, labels: Any, *, a: float = 5.0) -> float:
    """Return the mean log probability of the labels in a self-challenging Fisher space.

    Linear discriminants are fitted with a within-class covariance shrunk by
    exp(-a * its largest eigenvalue) towards its mean eigenvalue. Each item is then mixed with
    the mean of the other classes' means, the more the less sure its own class is, and the
    discriminants are fitted again with the same shrinkage. The confidence is softened, and `a`
    is 5, as in the published code. In Fisher space or with the inverse covariance the
    probabilities are the same, so no eigenvectors are needed.

    Args:
        features: (n, d) float, numpy or torch (of any device).
        labels: (n,) integers.
        a: how fast shrinkage vanishes with variance; the score thereby depends on the unit of
            the features.

    Returns:
        Nats per item, at most 0; 0 for one class. Fitted in sample: grows with the width of noise,
        and where d reaches n and shrinkage is slight all features tell all items apart, so that
        the order of scores near 0 is that of noise.

    Raises:
        InvalidInputError: for shapes that do not fit, float labels, NaN or infinity, a <= 0.

    References:
        Shao et al. 2022, arXiv 2207.03036: mean of log p(y_i|x_i) after mixing, with p from
        x^T S^-1 m_c - m_c^T S^-1 m_c / 2 + log(n_c / n), S = (1 - l) S_w + l tr(S_w)/d I and
        l = exp(-a sigma(S_w)).
    """
    if not a > 0:
        raise InvalidInputError(f"a must be positive, got {a}")
    space = decompose(features)
    classes = space.classes(labels)
    x = space.centred.coordinates()
    if len(classes) == 1:
        return 0.0
    shrinkage = _shrinkage(x, classes, a=a, scale=float(space.scale))
    width = space.width
    first = _scores(x, classes, shrinkage=shrinkage, width=width)
    mixed = _challenge(x, classes, first.softmax(1))
    return _mean_log(_scores(mixed, classes, shrinkage=shrinkage, width=width), classes)


def _within(x: torch.Tensor, classes: Classes) -> torch.Tensor:
    """Return the covariance (k, k) of items around the means of their classes."""
    deviations = x - classes.means(x)[classes.index]
    return deviations.T @ deviations / len(x)


def _shrinkage(x: torch.Tensor, classes: Classes, *, a: float, scale: float) -> float:
    """Return the weight of the identity; the unit of `x` is `scale`."""
    within = _within(x, classes)
    largest = float(torch.linalg.matrix_norm(within, 2)) if x.shape[1] else 0.0
    return max(math.exp(-min(a * largest * scale * scale, 700.0)), _LEAST_SHRINKAGE)


def _mean_log(scores: torch.Tensor, classes: Classes) -> float:
    """Return the mean log probability of the labels, exact also where they are all but certain."""
    own = classes.index[:, None]
    others = scores.scatter(1, own, -torch.inf).logsumexp(1)
    # The log of a softmax would be zero below 1e-16.
    return 0.0 - float(
        torch.nn.functional.softplus(others - scores.gather(1, own)[:, 0], threshold=40).mean()
    )


def _scores(x: torch.Tensor, classes: Classes, *, shrinkage: float, width: int) -> torch.Tensor:
    """Return unnormalised log probabilities (n, c) of linear discriminants, fitted to the same items."""
    within, means = _within(x, classes), classes.means(x)
    spread = (x - x.mean(0)).square().sum() / len(x)
    # Without any spread within classes a trace of the whole keeps the matrix invertible.
    mean_eigenvalue = torch.maximum(within.trace(), _LEAST_SHRINKAGE * spread) / width
    eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    shrunk = (1 - shrinkage) * within + shrinkage * mean_eigenvalue * eye
    if not spread > 0:
        weights = torch.zeros_like(means)
    else:
        weights = torch.cholesky_solve(means.T, torch.linalg.cholesky(shrunk)).T
    prior = (classes.counts / len(x)).log()
    return x @ weights.T - (means * weights).sum(1) / 2 + prior


def _challenge(x: torch.Tensor, classes: Classes, probabilities: torch.Tensor) -> torch.Tensor:
    """Return items mixed with the mean of the other classes by how unsure their own class is."""
    means = classes.means(x)
    others = (means.sum(0) - means) / (len(classes) - 1)
    softened = probabilities.softmax(1)
    sure = softened.gather(1, classes.index[:, None])
    return sure * x + (1 - sure) * others[classes.index]
