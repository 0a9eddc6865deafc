"""NLEEP: LEEP with the components of a Gaussian mixture of the features as source classes."""

from __future__ import annotations

import math
from typing import Any

import torch

from expertise_graph.transferability.decomposition import Decomposition, decompose
from expertise_graph.transferability.methods.leep import expected_prediction

# Share of the variance kept by the principal axes, and mixture components a class, as in the paper.
_ENERGY = 0.8
_PER_CLASS = 5
# Steps of k-means that start the mixture, most steps of EM, and the gain in mean log likelihood that ends it:
# the defaults of scikit-learn's GaussianMixture, whose k-means starts are cut short here.
_HARD_STEPS = 10
_SOFT_STEPS = 100
_TOLERANCE = 1e-3
# Added to each variance, as a share of the mean one, so that a component of one item keeps a density.
_FLOOR = 1e-6


def nleep(features: Any, labels: Any, *, seed: int = 0) -> float:
    """Return LEEP of the labels given the posterior of a Gaussian mixture.

    The mixture has five components for each class (n at most) on the fewest principal axes that
    hold 80 % of the variance. Its covariances are diagonal, since a component is left with few
    items; it starts at random items, moves by at most 10 steps of k-means and 100 of
    expectation-maximisation, and stops when the likelihood gains less than 0.001 nats per item.

    Args:
        features: (n, d) float, numpy or torch (of any device).
        labels: (n,) integers.
        seed: of the items that the components start at.

    Returns:
        Nats per item, at most 0. Fitted in sample: near 0 for few items in each class, whatever
        the features, and 0 for one item in each.

    Raises:
        InvalidInputError: for shapes that do not fit, float labels, NaN or infinity.

    References:
        Li et al. 2021, arXiv 2011.11200: the mean of log sum_z p(y|z) p(z|x), LEEP (arXiv
        2002.12462), with p(z|x) = w_z N(x; m_z, S_z) / sum_u w_u N(x; m_u, S_u) of the mixture.
    """
    space = decompose(features)
    classes = space.classes(labels)
    k = min(_PER_CLASS * len(classes), len(space))
    start = space.shuffled(seed)[:k]
    return expected_prediction(_posterior(_reduced(space), start), classes)


def _reduced(space: Decomposition) -> torch.Tensor:
    """Return the features along the fewest principal axes with 80 % of the variance, total one."""
    held = space.centred.values.cumsum(0) / len(space)
    return space.centred.coordinates(int((held < _ENERGY).sum()) + 1)


def _posterior(x: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Return the probabilities (n, k) of components that start at the items `start` (k,)."""
    floor = _FLOOR * float(x.square().mean()) if x.numel() and x.any() else 1.0
    posterior = _nearest(x, x[start])
    for _ in range(_HARD_STEPS):
        moved = _nearest(x, _centres(x, posterior, x[start]))
        if torch.equal(moved, posterior):
            break
        posterior = moved
    likelihood = -math.inf
    for _ in range(_SOFT_STEPS):
        joint = _log_joint(x, posterior, floor)
        total = joint.logsumexp(1, keepdim=True)
        posterior = (joint - total).exp()
        before, likelihood = likelihood, float(total.mean())
        if likelihood - before < _TOLERANCE:
            break
    return posterior


def _nearest(x: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Return one-hot (n, k) of the nearest centre, the first of equally near ones."""
    distances = centres.square().sum(1) - 2 * (x @ centres.T)
    index = distances.round(decimals=10).argmin(1)
    return torch.nn.functional.one_hot(index, len(centres)).to(x.dtype)


def _centres(x: torch.Tensor, posterior: torch.Tensor, fallback: torch.Tensor) -> torch.Tensor:
    """Return the weighted means (k, r); where a component has no item, its fallback."""
    mass = posterior.sum(0)[:, None]
    return torch.where(mass > 0, (posterior.T @ x) / mass.clamp_min(1e-300), fallback)


def _log_joint(x: torch.Tensor, posterior: torch.Tensor, floor: float) -> torch.Tensor:
    """Return the log density (n, k) of items and components fitted to the posterior."""
    mass = posterior.sum(0)
    share = mass / mass.sum()
    means = (posterior.T @ x) / mass.clamp_min(1e-300)[:, None]
    squares = (posterior.T @ x.square()) / mass.clamp_min(1e-300)[:, None]
    variances = (squares - means.square()).clamp_min(0.0) + floor
    precise = 1 / variances
    distances = x.square() @ precise.T - 2 * (x @ (means * precise).T) + (means.square() * precise).sum(1)
    norms = (2 * math.pi * variances).log().sum(1)
    return share.log() - (distances.clamp_min(0.0) + norms) / 2
