"""LEEP and NCE: how well the answers of a source head tell the labels of the task."""

from __future__ import annotations

from typing import Any

import torch

from expertise_graph.core import InvalidInputError
from expertise_graph.transferability._checks import as_features
from expertise_graph.transferability._classes import Classes, as_classes

# How far the sum of a row may be from one: half-precision softmax misses it by up to .005.
_TOLERANCE = 1e-2


def leep(source_probabilities: Any, labels: Any) -> float:
    """Return the log expected empirical prediction of the labels from source probabilities.

    Args:
        source_probabilities: (n, z) float, each row the probabilities of the source classes.
        labels: (n,) integers.

    Returns:
        Nats per item, at most 0; 0 for one class.

    Raises:
        InvalidInputError: for rows that are no probabilities, shapes that do not fit, float labels.

    References:
        Nguyen et al. 2020, arXiv 2002.12462, equation 2: the mean of log sum_z p(y|z) p(z|x),
        with p(y|z) = sum over items of class y of p(z|x) / sum over all items of p(z|x).

    Example:
        >>> leep([[1.0, 0.0], [0.0, 1.0]], [0, 1])
        0.0
    """
    probabilities = as_features(source_probabilities)
    totals = probabilities.sum(1, keepdim=True)
    if (probabilities < 0).any() or (totals - 1).abs().max() > _TOLERANCE:
        raise InvalidInputError("each row must be probabilities that add up to one; apply softmax first")
    classes = as_classes(labels, len(probabilities), probabilities.device)
    return expected_prediction(probabilities / totals, classes)


def expected_prediction(probabilities: torch.Tensor, classes: Classes) -> float:
    """Return the mean log of p(label), where p(y) = sum over z of p(y|z) p(z) is fitted in sample."""
    joint = classes.sums(probabilities)
    mass = joint.sum(0)
    conditional = joint / torch.where(mass > 0, mass, torch.ones_like(mass))
    predicted = (conditional[classes.index] * probabilities).sum(1)
    # Rounding may lift a certainty above one.
    return float(predicted.clamp_max(1.0).log().mean())


def nce(source_labels: Any, labels: Any) -> float:
    """Return the negative conditional entropy of the labels given hard source labels.

    Args:
        source_labels: (n,) integers, the source class of each item.
        labels: (n,) integers.

    Returns:
        Nats per item, at most 0; 0 for one class.

    Raises:
        InvalidInputError: for shapes that do not fit, fewer than two items, or floats.

    References:
        Tran et al. 2019, arXiv 1908.08142: -H(Y|Z), the mean of log p(y|z) with p(y|z) = n_yz / n_z.

    Example:
        >>> nce([3, 3, 8, 8], [0, 0, 1, 1])
        0.0
    """
    given = as_classes(source_labels, _length(source_labels), torch.device("cpu"))
    classes = as_classes(labels, len(given.index), torch.device("cpu"))
    if len(given.index) < 2:
        raise InvalidInputError(f"two items at least are needed, got {len(given.index)}")
    pair = given.index * len(classes) + classes.index
    _, which, together = torch.unique(pair, return_inverse=True, return_counts=True)
    return float((together[which] / given.counts[given.index]).log().mean())


def _length(values: Any) -> int:
    try:
        return len(values)
    except TypeError as error:
        raise InvalidInputError(f"source labels must be (n,) integers, got {values!r}") from error
