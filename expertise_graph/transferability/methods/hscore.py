"""H-score with a shrunk covariance: how much of the features' variance is between classes."""

from __future__ import annotations

from typing import Any

from expertise_graph.transferability.decomposition import Spectrum, decompose


def h_score(features: Any, labels: Any) -> float:
    """Return the trace of between-class variance over Ledoit-Wolf shrunk variance.

    Worked out from the spectrum of the smaller Gram matrix: the class means lie in the span of
    the centred features, so directions without variance add nothing.

    Args:
        features: (n, d) float, numpy or torch (of any device).
        labels: (n,) integers.

    Returns:
        A value from 0 to the number of classes less one; 0 for one class or constant features.

    Raises:
        InvalidInputError: for shapes that do not fit, float labels, NaN or infinity.

    References:
        Ibrahim, Ponomareva, Mazumder 2021, arXiv 2110.06893: tr(S_a^-1 (1 - a) S_z) with
        S_a = (1 - a) S + a tr(S)/d I, covariances S of features and S_z of class means, and a
        from Ledoit and Wolf 2004.

    Example:
        >>> x = [[0.0], [0.0], [1.0], [1.0]]
        >>> round(h_score(x, [0, 0, 1, 1]), 6), round(h_score(x, [0, 1, 0, 1]), 6)
        (1.0, 0.0)
    """
    space = decompose(features)
    classes = space.classes(labels)
    spectrum = space.centred
    between = (classes.sums(spectrum.left).square() / classes.counts[:, None]).sum(0)
    variances = spectrum.values / len(space)
    shrinkage = _ledoit_wolf(spectrum)
    kept = (1 - shrinkage) * variances
    shrunk = kept + shrinkage * variances.sum() / space.width
    return float((kept / shrunk * between).sum())


def _ledoit_wolf(spectrum: Spectrum) -> float:
    """Return the weight of the identity in the shrunk covariance, from 0 to 1."""
    n, d = spectrum.matrix.shape
    variances = spectrum.values / n
    squared = variances.square().sum()
    # How far the covariance is from a multiple of the identity, and how much of that is error.
    distance = squared - variances.sum().square() / d
    error = (spectrum.rows.square().sum(1).square().mean() - squared) / n
    if d == 1 or not distance > 0:
        return 0.0
    return float((error / distance).clamp(0.0, 1.0))
