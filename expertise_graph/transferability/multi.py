"""Many label sets and many estimators on the same features, which are worked out once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from expertise_graph.core import InvalidInputError
from expertise_graph.transferability.decomposition import decompose
from expertise_graph.transferability.registry import Estimator, estimators


def score_many(features: Any, labels: Any, names: Iterable[str] | None = None) -> dict[str, list[float]]:
    """Return the scores of several estimators on one or several label sets.

    Checks, centring and eigendecomposition are done once; each value is that of a call of its
    own. Estimators from other packages are given the checked features.

    Args:
        features: (n, d) float, numpy or torch (of any device).
        labels: one label set as an array or a flat list, or a list of arrays or lists: several.
        names: of registered estimators; by default all that need features.

    Returns:
        By name, one score for each label set in order.

    Raises:
        NotFoundError: for a name that is not registered.
        InvalidInputError: as the estimators do, or for one that needs answers of a source head.

    Example:
        >>> score_many([[0.0], [0.1], [1.0]], [[0, 0, 1], [0, 1, 0]], ["ridge_accuracy"])
        {'ridge_accuracy': [0.6666666666666666, 0.0]}
    """
    chosen = _of_features(names)
    space = decompose(features)
    sets = list(labels) if _are_several(labels) else [labels]
    return {
        name: [f(space if f.decomposed else space.features, one) for one in sets]
        for name, f in chosen.items()
    }


def _of_features(names: Iterable[str] | None) -> dict[str, Estimator]:
    if names is None:
        every = {name: estimators[name] for name in estimators}
        return {name: f for name, f in every.items() if f.needs == "features"}
    chosen = {name: estimators[name] for name in names}
    for name, f in chosen.items():
        if f.needs != "features":
            raise InvalidInputError(f"{name} needs {f.needs}, not features; call it by itself with those")
    return chosen


def _are_several(labels: Any) -> bool:
    """Tell a list of label sets from a flat list of labels; an array is one label set."""
    if not isinstance(labels, list | tuple) or not labels:
        return False
    first = labels[0]
    return isinstance(first, list | tuple) or getattr(first, "ndim", 0) > 0
