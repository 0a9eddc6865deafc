"""Accuracy of nearest neighbours, each item classified by the others."""

from __future__ import annotations

from typing import Any

import torch

from expertise_graph.core import InvalidInputError
from expertise_graph.transferability._checks import MOST_ELEMENTS
from expertise_graph.transferability._classes import Classes
from expertise_graph.transferability.decomposition import decompose


def knn_accuracy(features: Any, labels: Any, *, k: int = 5) -> float:
    """Return the leave-one-out accuracy of the k nearest neighbours by cosine.

    Nothing depends on the order of items or classes: neighbours that are equally near share the
    places left among the k, a tie of votes goes to the classes with the nearer voters, and
    classes still tied share the hit.

    Args:
        features: (n, d) float, numpy or torch (of any device); not centred, zero rows are at
            cosine 0 to all.
        labels: (n,) integers.
        k: neighbours that vote, n - 1 at most.

    Returns:
        Fraction of one; 1 for one class, 0 where each class has one item.

    Raises:
        InvalidInputError: for shapes that do not fit, float labels, NaN or infinity, k < 1.

    References:
        Cover and Hart 1967, 10.1109/TIT.1967.1053964: the mean of [argmax_y of the number of the
        k nearest others with label y = y_i]; near by x_i^T x_j / (|x_i| |x_j|).

    Example:
        >>> knn_accuracy([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]], [0, 0, 1, 1], k=1)
        1.0
    """
    if k < 1:
        raise InvalidInputError(f"k must be at least 1, got {k}")
    space = decompose(features)
    classes = space.classes(labels)
    x = space.features / space.features.abs().amax(1, keepdim=True).clamp_min(1e-300)
    x = torch.nn.functional.normalize(x, dim=1)
    hits = 0.0
    for some in torch.arange(len(x), device=x.device).split(max(1, MOST_ELEMENTS // len(x))):
        cosines = (x[some] @ x.T).round(decimals=10)
        cosines[torch.arange(len(some), device=x.device), some] = -torch.inf
        hits += _hits(cosines, classes, classes.index[some], min(k, len(x) - 1))
    return hits / len(x)


def _hits(cosines: torch.Tensor, classes: Classes, truth: torch.Tensor, k: int) -> float:
    """Return how many of the items (b,) with cosines (b, n) to all others are classified rightly."""
    last = cosines.topk(k, dim=1).values[:, -1:]
    nearer, level = cosines > last, cosines == last
    share = (k - nearer.sum(1, keepdim=True)) / level.sum(1, keepdim=True)
    weights = nearer + level * share.to(torch.float64)
    empty = cosines.new_zeros(len(cosines), len(classes))
    votes = empty.index_add(1, classes.index, weights)
    nearness = empty.index_add(1, classes.index, torch.where(weights > 0, weights * cosines, 0.0))
    tied = votes > votes.amax(1, keepdim=True) - 1e-9
    nearness = torch.where(tied, nearness, -torch.inf)
    tied = nearness > nearness.amax(1, keepdim=True) - 1e-9
    right = tied.gather(1, truth[:, None]) / tied.sum(1, keepdim=True)
    return float(right.sum())
