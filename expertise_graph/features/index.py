"""Vector index: FAISS, and exact search as the oracle it is tested against.

Vectors are known by integer ids that are never used again for another vector. A saved index is
a cache: a side-car file holds its checksum, and what does not match it is not read.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import (
    FloatArray,
    InvalidInputError,
    first_line,
    read_json_object,
    write_bytes,
)
from expertise_graph.features.similarity import normalise

# From this many vectors on a graph index (HNSW) takes over. Exact search over 50,000 vectors of 1024 numbers
# takes some 20 ms and misses nothing; the graph takes 1 ms, twice the memory, and has recall .93 at 60,000.
EXACT_BELOW = 50_000

# HNSW: links of a vector, and how many candidates are looked at when building and when searching. More finds
# more and takes longer; these are the settings that tests/features/test_index.py holds to its recall.
_LINKS, _BUILD_WIDTH, _SEARCH_WIDTH = 32, 200, 256

_FORMAT = 2

KeyOf = Callable[[int], str | None]
"""Gives the key that an index of a generation was sealed by, None where there is none."""


class ExactIndex:
    """Search by comparing with every vector.

    Nothing in the package searches with it: it is the oracle that tests compare every other index with.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._ids = np.zeros(0, dtype=np.int64)
        self._vectors = np.zeros((0, dim), dtype=np.float32)

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._ids)

    def add(self, ids: Sequence[int], vectors: FloatArray) -> None:
        """Add vectors (n, dim) under new ids."""
        new_ids, unit = _check_new(ids, vectors, self.dim, self._ids)
        self._ids = np.concatenate([self._ids, new_ids])
        self._vectors = np.concatenate([self._vectors, unit])

    def remove(self, ids: Sequence[int]) -> None:
        """Remove vectors; ids that are not there are ignored."""
        keep = ~np.isin(self._ids, np.asarray(ids, dtype=np.int64))
        self._ids, self._vectors = self._ids[keep], self._vectors[keep]

    def search(self, vector: FloatArray, k: int) -> list[tuple[int, float]]:
        """Return up to k (id, cosine), nearest first; equal cosines by id."""
        query = _check_query(vector, self.dim)[0]
        # Not BLAS: it adds up rows at the end of a block in another order, which breaks ties.
        cosines = np.einsum("ij,j->i", self._vectors, query)
        order = np.lexsort((self._ids, -cosines))[: max(k, 0)]
        return [(int(self._ids[i]), float(cosines[i])) for i in order]


class FaissIndex:
    """Inner-product search over unit vectors with FAISS: flat below `exact_below`, then HNSW.

    Attributes:
        generation: of the registry whose vectors it holds; saved with it.
    """

    def __init__(self, dim: int, *, exact_below: int = EXACT_BELOW) -> None:
        self.dim = dim
        self.generation = 0
        self.exact_below = exact_below
        self._known: set[int] = set()
        self._index = self._flat()

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._known)

    @property
    def exact(self) -> bool:
        """Tell whether search compares with every vector."""
        return isinstance(faiss.downcast_index(self._index.index), faiss.IndexFlat)

    def add(self, ids: Sequence[int], vectors: FloatArray) -> None:
        """Add vectors (n, dim) under new ids; beyond `exact_below` the graph index takes over."""
        known = np.fromiter(self._known, dtype=np.int64, count=len(self._known))
        new_ids, unit = _check_new(ids, vectors, self.dim, known)
        if self.exact and len(self) + len(new_ids) >= self.exact_below:
            self._to_graph()
        self._index.add_with_ids(unit, new_ids)
        self._known.update(new_ids.tolist())

    def remove(self, ids: Sequence[int]) -> None:
        """Remove vectors; ids that are not there are ignored. An HNSW index is rebuilt."""
        gone = self._known.intersection(int(i) for i in ids)
        if not gone:
            return
        if self.exact:
            self._index.remove_ids(np.fromiter(gone, dtype=np.int64, count=len(gone)))
            self._known -= gone
            return
        stored_ids, stored = self._contents()
        keep = ~np.isin(stored_ids, list(gone))
        self._known = set()
        self._index = self._flat()
        self.add(stored_ids[keep].tolist(), stored[keep])

    def search(self, vector: FloatArray, k: int) -> list[tuple[int, float]]:
        """Return up to k (id, cosine), nearest first; equal cosines by id."""
        query = _check_query(vector, self.dim)
        k = min(k, len(self))
        if k <= 0:
            return []
        # FAISS cuts equal cosines anywhere: look on until the last one found is below the k-th.
        width = min(k + 1, len(self))
        cosines, ids = self._index.search(query, width)
        while width < len(self) and cosines[0, -1] == cosines[0, k - 1]:
            width = min(2 * width, len(self))
            cosines, ids = self._index.search(query, width)
        nearest = [(int(i), float(c)) for i, c in zip(ids[0], cosines[0], strict=True) if i >= 0]
        return sorted(nearest, key=lambda pair: (-pair[1], pair[0]))[:k]

    def cosines(self, vector: FloatArray, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the cosine of a vector and each of those under some ids, (len(ids),)."""
        if not len(ids):
            return np.zeros(0, dtype=np.float32)
        stored = self._index.reconstruct_batch(np.asarray(ids, dtype=np.int64))
        return np.asarray(stored @ _check_query(vector, self.dim)[0], dtype=np.float32)

    @property
    def last(self) -> int:
        """The highest id in the index, -1 if it is empty."""
        return max(self._known, default=-1)

    def keep(self, ids: Sequence[int]) -> None:
        """Remove all vectors but those under `ids`."""
        self.remove(list(self._known.difference(ids)))

    def save(self, path: Path, key: str = "") -> None:
        """Write the index and its side-car, sealed by a key; each file appears whole or not at all."""
        data = faiss.serialize_index(self._index).tobytes()
        side_car = {
            "format": _FORMAT,
            "sha256": _checksum(data, self.generation, key),
            "dim": self.dim,
            "count": len(self),
            "generation": self.generation,
        }
        write_bytes(path, data)
        # Without white space, so that every changed byte is noticed.
        write_bytes(_side_car(path), json.dumps(side_car).encode())

    @classmethod
    def load(cls, path: Path, key_of: KeyOf = lambda generation: "") -> FaissIndex:
        """Read a saved index back.

        Args:
            path: of the index.
            key_of: gives the key that an index of a generation was sealed by, None where there is none.

        Raises:
            InvalidInputError: when the file is missing or damaged, or was sealed by another key.
        """
        side_car = _read_side_car(path)
        data = path.read_bytes() if path.is_file() else b""
        generation = int(side_car["generation"])
        key = key_of(generation)
        if key is None:
            raise InvalidInputError(f"{path.name} is not of this registry")
        # Checked before FAISS sees it: it reads past the end of what is not its own.
        if _checksum(data, generation, key) != side_car.get("sha256"):
            raise InvalidInputError(f"{path.name} does not match its checksum")
        try:
            loaded = faiss.deserialize_index(np.frombuffer(data, dtype=np.uint8))
        except RuntimeError as error:
            raise InvalidInputError(f"{path.name} cannot be read: {first_line(error)}") from error
        if side_car.get("dim") != loaded.d:
            raise InvalidInputError(f"{path.name} holds vectors of another dimension than its side-car says")
        if not isinstance(loaded, faiss.IndexIDMap2):
            raise InvalidInputError(f"{path.name} holds another kind of index")
        index = cls(loaded.d)
        index._index = loaded
        index.generation = generation
        index._known = set(faiss.vector_to_array(index._index.id_map).tolist())
        if side_car.get("count") != len(index):
            raise InvalidInputError(f"{path.name} holds another number of vectors than its side-car says")
        return index

    def _flat(self) -> Any:
        return faiss.IndexIDMap2(faiss.IndexFlatIP(self.dim))

    def _contents(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        ids = faiss.vector_to_array(self._index.id_map)
        return ids, self._index.index.reconstruct_n(0, len(ids))

    def _to_graph(self) -> None:
        ids, vectors = self._contents()
        graph = faiss.IndexHNSWFlat(self.dim, _LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction, graph.hnsw.efSearch = _BUILD_WIDTH, _SEARCH_WIDTH
        self._index = faiss.IndexIDMap2(graph)
        if len(ids):
            self._index.add_with_ids(vectors, ids)


def _check_new(
    ids: Sequence[int], vectors: FloatArray, dim: int, known: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return ids and unit vectors after refusing what FAISS would silently take."""
    new_ids = np.asarray(ids, dtype=np.int64)
    unit = normalise(vectors)
    if unit.shape != (len(new_ids), dim):
        raise InvalidInputError(f"{len(new_ids)} ids need vectors ({len(new_ids)}, {dim}), got {unit.shape}")
    if (new_ids < 0).any():
        raise InvalidInputError("ids must not be negative")
    if len(np.unique(new_ids)) < len(new_ids) or np.isin(new_ids, known).any():
        raise InvalidInputError("an id is in the index already, or given twice")
    return new_ids, unit


def _check_query(vector: FloatArray, dim: int) -> NDArray[np.float32]:
    """Return the query as a unit row (1, dim)."""
    query = np.asarray(vector)
    if query.shape != (dim,):
        raise InvalidInputError(f"a query must be a vector ({dim},), got shape {query.shape}")
    return normalise(query[None])


def _checksum(data: bytes, generation: int, key: str) -> str:
    return hmac.new(key.encode(), b"generation %d " % generation + data, hashlib.sha256).hexdigest()


def _side_car(path: Path) -> Path:
    return path.with_suffix(path.suffix + ".json")


def _read_side_car(path: Path) -> dict[str, Any]:
    try:
        content = read_json_object(_side_car(path))
    except InvalidInputError as error:
        raise InvalidInputError(f"{path.name} has no readable side-car: {error}") from error
    if content.get("format") != _FORMAT or not isinstance(content.get("generation"), int):
        raise InvalidInputError(f"{path.name} has a side-car of another format")
    return content
