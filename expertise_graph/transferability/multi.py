"""Many label sets and many estimators on the same features, which are worked out once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from expertise_graph.transferability.catalogue import estimators, takes_decomposition
from expertise_graph.transferability.decomposition import decompose


def score_many(features: Any, labels: Any, names: Iterable[str] | None = None) -> dict[str, list[float]]:
    """Return the scores of several estimators on one or several label sets.

    Checks, centring and eigendecomposition are done once; each value is that of a call of its
    own. Estimators from other packages are given the checked features.

    Args:
        features: (n, d) float, numpy or torch (of any device).
        labels: one label set as an array or a flat list, or a list of arrays or lists: several.
        names: of registered estimators; all by default.

    Returns:
        By name, one score for each label set in order.

    Raises:
        NotFoundError: for a name that is not registered.
        InvalidInputError: as the estimators do.

    Example:
        >>> score_many([[0.0], [0.1], [1.0]], [[0, 0, 1], [0, 1, 0]], ["ridge_accuracy"])
        {'ridge_accuracy': [0.6666666666666666, 0.0]}
    """
    chosen = {name: estimators[name] for name in (estimators if names is None else list(names))}
    space = decompose(features)
    sets = list(labels) if _are_several(labels) else [labels]
    return {
        name: [f(space if takes_decomposition(f) else space.features, one) for one in sets]
        for name, f in chosen.items()
    }


def _are_several(labels: Any) -> bool:
    """Tell a list of label sets from a flat list of labels; an array is one label set."""
    if not isinstance(labels, list | tuple) or not labels:
        return False
    first = labels[0]
    return isinstance(first, list | tuple) or getattr(first, "ndim", 0) > 0
