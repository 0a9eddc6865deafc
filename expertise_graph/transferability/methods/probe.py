"""Accuracy of a linear probe: multinomial logistic regression, cross-validated."""

from __future__ import annotations

from typing import Any

import torch

from expertise_graph.core import InvalidInputError
from expertise_graph.transferability._classes import Classes
from expertise_graph.transferability.decomposition import Decomposition, decompose

# Most steps of L-BFGS; few hundred reach a gradient of 1e-6 on standardised features.
_ITERATIONS = 500


def linear_probe_accuracy(
    features: Any, labels: Any, *, folds: int = 5, l2: float = 1.0, seed: int = 0
) -> float:
    """Return the accuracy of multinomial logistic regression on items left out of its training.

    Features are standardised by the training items of each fold. A class that has no item left
    for training cannot be guessed.

    Args:
        features: (n, d) float, numpy or torch (of any device).
        labels: (n,) integers.
        folds: stratified parts of the items, n at most.
        l2: penalty; half of it times the squared weights is added to the summed loss.
        seed: of the assignment of items to folds, which does not depend on the order of rows.

    Returns:
        Fraction of one; 1 for one class, 0 where each class has one item.

    Raises:
        InvalidInputError: for shapes that do not fit, float labels, NaN or infinity, folds < 2
            or l2 <= 0.

    References:
        Alain and Bengio 2016, arXiv 1610.01644: argmax of W^T x + b, with W and b at the least
        sum of -log softmax(W^T x_i + b)_{y_i} + l2 / 2 |W|^2 over the training items.
    """
    if folds < 2 or not l2 > 0:
        raise InvalidInputError(f"folds must be at least 2 and l2 positive, got {folds} and {l2}")
    space = decompose(features)
    classes = space.classes(labels)
    fold = _folds(space, classes, count=min(folds, len(space)), seed=seed)
    hits = 0
    for f in range(int(fold.max()) + 1):
        train, test = fold != f, fold == f
        guess = _guess(space.features[train], classes.index[train], space.features[test], l2=l2)
        hits += int((guess == classes.index[test]).sum())
    return hits / len(space)


def _folds(space: Decomposition, classes: Classes, *, count: int, seed: int) -> torch.Tensor:
    """Return the fold (n,) of each item; items of a class are dealt out in turn, class by class."""
    order = space.shuffled(seed)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    # Classes follow each other by their first item, so that their names carry no meaning.
    first = torch.full((len(classes),), len(order), device=order.device)
    first = first.scatter_reduce(0, classes.index, place, "amin")
    fold = torch.empty_like(order)
    dealt = (first[classes.index] * len(order) + place).argsort()
    fold[dealt] = torch.arange(len(order), device=order.device) % count
    return fold


def _guess(x: torch.Tensor, y: torch.Tensor, others: torch.Tensor, *, l2: float) -> torch.Tensor:
    """Return the class guessed for each of `others` (m, d) after training on x (n, d), y (n,)."""
    shifted = x - x[0]
    deviation = shifted.std(0, correction=0)
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    centre = x[0] + shifted.mean(0)
    seen, index = torch.unique(y, return_inverse=True)
    weights, bias = _fit((x - centre) / deviation, index, len(seen), l2=l2)
    guess: torch.Tensor = seen[((others - centre) / deviation @ weights + bias).argmax(1)]
    return guess


def _fit(x: torch.Tensor, y: torch.Tensor, classes: int, *, l2: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights (d, c) and bias (c,) that minimise mean cross-entropy with l2 on weights."""
    weights = torch.zeros(x.shape[1], classes, dtype=x.dtype, device=x.device, requires_grad=True)
    bias = torch.zeros(classes, dtype=x.dtype, device=x.device, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weights, bias],
        max_iter=_ITERATIONS,
        tolerance_grad=1e-6,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(x @ weights + bias, y)
        loss = loss + l2 / (2 * len(x)) * weights.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    return weights.detach(), bias.detach()
