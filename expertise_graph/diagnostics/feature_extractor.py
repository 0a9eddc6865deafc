"""The expert through whose features a dataset is looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from expertise_graph.core import FloatArray, NotFoundError
from expertise_graph.data import Inputs
from expertise_graph.diagnostics.collection import Collection


@dataclass(frozen=True, kw_only=True)
class Lens:
    """An expert, and how to get its features.

    Attributes:
        expert: its name.
        reason: why this one.
        features: inputs to (n, d) float.
    """

    expert: str
    reason: str
    features: Callable[[Inputs], FloatArray]


Choose = Callable[[], Lens]
"""Finds the expert to look through, when it is needed; raises ExpertiseError where there is none."""


def no_expert() -> Lens:
    """Find none.

    Raises:
        NotFoundError: always.
    """
    raise NotFoundError("there is no workspace here; make one with: expertise-graph init")


def features_of(
    lens: Lens, collection: Collection, rows: Sequence[int], hashes: Sequence[str | None]
) -> FloatArray:
    """Return the features (len(rows), d) of some items, cached by their content."""
    content = "\n".join(hashes[i] or "" for i in rows)
    key = hashlib.sha256(content.encode()).hexdigest()
    items = tuple(collection.items[i] for i in rows)
    return np.asarray(lens.features(Inputs(items=items, modality=collection.modality, sha256=f"check:{key}")))
