"""Vector indexes by name, open to other packages; `index.py` has the one that is used by default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import FloatArray, Registry


class VectorIndex(Protocol):
    """Nearest vectors by cosine; vectors are known by integer ids that are never used again.

    Attributes:
        generation: of the registry whose vectors it holds; saved with it.
    """

    generation: int

    def __init__(self, dim: int) -> None:
        """Make an index without vectors."""
        ...

    def __len__(self) -> int:
        """Return the number of vectors."""
        ...

    @property
    def last(self) -> int:
        """The highest id in the index, -1 if it is empty."""
        ...

    def add(self, ids: Sequence[int], vectors: FloatArray) -> None:
        """Add vectors (n, dim) under new ids."""
        ...

    def keep(self, ids: Sequence[int]) -> None:
        """Remove all vectors but those under `ids`."""
        ...

    def search(self, vector: FloatArray, k: int) -> list[tuple[int, float]]:
        """Return up to k (id, cosine), nearest first; equal cosines by id."""
        ...

    def cosines(self, vector: FloatArray, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the cosine of a vector and each of those under some ids, (len(ids),)."""
        ...

    def save(self, path: Path, key: str = "") -> None:
        """Write the index, whole or not at all, sealed by a key that belongs to its generation."""
        ...

    @classmethod
    def load(cls, path: Path, key_of: Callable[[int], str | None] = lambda generation: "") -> Self:
        """Read a saved index back.

        Args:
            path: of the index.
            key_of: gives the key that an index of a generation was sealed by, None where there is none.

        Raises:
            InvalidInputError: when the file is missing or damaged, or was sealed by another key.
        """
        ...


DEFAULT_INDEX = "faiss"

vector_indexes: Registry[type[VectorIndex]] = Registry("index")
vector_indexes.point(DEFAULT_INDEX, "expertise_graph.features.index:FaissIndex")
