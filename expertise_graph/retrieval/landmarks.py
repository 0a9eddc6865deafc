"""Which few experts are run first: cheap ones that cover the graph."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Expert


def choose_landmarks(experts: list[Expert], similarity: NDArray[np.floating], k: int) -> list[int]:
    """Return the places of up to k experts, farthest-point in the graph, cheaper ones preferred.

    The first is the medoid; each next one is far from those chosen, its distance discounted by
    the logarithm of its size.

    Args:
        experts: N candidates.
        similarity: (N, N) cosine of their embeddings.
        k: how many, at least one.
    """
    cheapness = np.array([1.0 / (1.0 + 0.1 * math.log10(1.0 + e.params / 1e6)) for e in experts])
    chosen = [int(np.argmax(similarity.sum(axis=1) * cheapness))]
    while len(chosen) < min(k, len(experts)):
        distance = (1.0 - similarity[:, chosen].max(axis=1)).clip(min=0.0) * cheapness
        distance[chosen] = -1.0
        chosen.append(int(np.argmax(distance)))
    return chosen
