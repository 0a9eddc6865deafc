"""The linear probe: regularised regression on frozen features, logistic for classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from expertise_graph.core import IntArray
from expertise_graph.training.objective import Loss, Objective

STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""Candidate L2 strengths for the mean loss on standardised features, strongest first.

Half-decades from nearly constant predictions to nearly unregularised ones; a finer grid chooses by noise.
"""

SHORTENED = 0.1
"""Training starts from this times the probe's weights where the probe is confident on unchanging inputs.

Such items have a loss near 0 and teach nothing more. Noun glosses with MiniLM: .592 from the probe
itself, .707 from .3 of it, .721 from a tenth.
"""
CONFIDENT = 0.1
"""A probe is confident when its training loss is below this fraction of the loss of guessing.

Others have much to learn, and the way back from small weights is long. Sixty trainings on ten tasks:
.519 never shortened, .512 always, .520 below a tenth; a twentieth .520, a fifth .517.
"""


@dataclass(frozen=True, kw_only=True)
class LinearHead:
    """Weight (classes, d) and bias (classes,) of a linear classifier on raw features."""

    weight: torch.Tensor
    bias: torch.Tensor
    strength: float

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return (n, classes) for features (n, d)."""
        return functional.linear(features, self.weight, self.bias)


def initial_scale(loss: float, classes: int) -> float:
    """Return the factor of the probe's weights that training starts from, when inputs are not augmented.

    Args:
        loss: mean loss of the probe on the training items, in nats.
        classes: how many there are; guessing among them has the loss log(classes).
    """
    return SHORTENED if loss < CONFIDENT * math.log(classes) else 1.0


def fit_probe(
    features: torch.Tensor,
    objective: Objective,
    *,
    train: IntArray,
    validation: IntArray,
    counts: bool = False,
) -> LinearHead:
    """Fit a linear probe on `train`, with the L2 strength of the lowest loss on `validation`.

    Where validation items are among those to train on, the strength is chosen without them and the head is
    then fitted on all: chosen on items that it was fitted to, the weakest would always win, which cost
    4 points on six tuning tasks.

    Args:
        features: (n, d) float, by item.
        objective: loss and targets by item.
        train: indices of the items to fit on.
        validation: indices of the items to choose the strength on.
        counts: see `fit_linear_head`.
    """
    others = train[~np.isin(train, validation)]
    head = _fit(features, objective, others, validation, STRENGTHS, counts)
    if len(others) == len(train):
        return head
    return _fit(features, objective, train, train, (head.strength,), counts)


def _fit(
    features: torch.Tensor,
    objective: Objective,
    train: IntArray,
    validation: IntArray,
    strengths: Sequence[float],
    counts: bool,
) -> LinearHead:
    return fit_linear_head(
        features,
        objective.targets,
        train=torch.from_numpy(train),
        validation=torch.from_numpy(validation),
        outputs=objective.outputs,
        loss_of=objective.loss_of,
        chosen_by=objective.measure,
        strengths=strengths,
        counts=counts,
    )


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
    counts: bool = False,
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
        counts: whether features are counts of many rare parts, words for example: they are weighed by how
            rare they are instead of standardised.

    Returns:
        The head, for features that are not standardised.
    """
    x, y = features.double(), targets.double() if targets.is_floating_point() else targets
    mean = x[train].mean(dim=0)
    scale = _rarity(x[train]) if counts else _unit_deviation(x[train])
    z = (x - mean) * scale
    # The solution is a combination of the training items: where they are few, it is sought in their span.
    basis = _span(z[train]) if counts else None
    z = z if basis is None else z @ basis
    w = torch.zeros(outputs, z.shape[1] + 1, dtype=torch.float64)
    best, lowest, chosen = w, float("inf"), strengths[0]
    for strength in strengths:
        w = fit_regularised(z[train], y[train], strength=strength, loss_of=loss_of, start=w)
        loss = chosen_by(functional.linear(z[validation], w[:, :-1], w[:, -1]), y[validation]).item()
        if loss < lowest:
            best, lowest, chosen = w, loss, strength
    weight = (best[:, :-1] if basis is None else best[:, :-1] @ basis.T) * scale
    bias = best[:, -1] - weight @ mean
    return LinearHead(weight=weight.float(), bias=bias.float(), strength=chosen)


def _unit_deviation(x: torch.Tensor) -> torch.Tensor:
    """Return factors (d,) that standardise features (n, d), zero for constant ones."""
    deviation = x.std(dim=0, correction=0)
    return torch.where(deviation > 1e-8, 1.0 / deviation.clamp(min=1e-8), 0.0)


def _rarity(x: torch.Tensor) -> torch.Tensor:
    """Return factors (d,) of counts (n, d): inverse document frequencies, in a unit fit for `STRENGTHS`.

    The mean squared length of an item is then n, so that 1 / strength is the C of scikit-learn for items of
    length one. Hashed words of three tasks of texts, 80 to 159 items: .49, .42, .59; TF-IDF and logistic
    regression of scikit-learn .48, .42, .58.
    """
    n = len(x)
    idf = torch.log((1 + n) / (1 + (x != 0).sum(dim=0).double())) + 1
    length = ((x - x.mean(dim=0)) * idf).square().sum(dim=1).mean().clamp(min=1e-12)
    return idf * torch.sqrt(n / length)


def _span(z: torch.Tensor) -> torch.Tensor | None:
    """Return an orthonormal basis (d, r) of what rows (n, d) span, None where they are not fewer than d."""
    if len(z) >= z.shape[1]:
        return None
    values, vectors = torch.linalg.eigh(z @ z.T)
    kept = values > values[-1].clamp(min=1e-12) * len(z) * torch.finfo(torch.float64).eps
    basis: torch.Tensor = z.T @ (vectors[:, kept] / values[kept].sqrt())
    return basis


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
