"""Nearest experts: recalled by the sketch, ranked by exact CKA, kept as mutual-neighbour edges."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import ARRAYS, Edge, InvalidInputError, NotFoundError, path_part
from expertise_graph.features import (
    DEFAULT_INDEX,
    SKETCH_DIM,
    VectorIndex,
    centred_gram,
    normalise,
    vector_indexes,
)
from expertise_graph.store import Store, features_key

# Length of a stored list. Five show whom an expert is near, and their mutual edges keep a large graph sparse.
NEIGHBOURS = 5

# How many nearest by the sketch are ranked by exact CKA. The sketch errs by (1 - r^2) / sqrt(1024), .03 for
# distant and far less for near experts; recall@10 of the sketch alone is .87, of 64 practically 1.
RECALLED = 64

# Grams kept in memory, 2 MB each on a probe set of 512 inputs.
_GRAMS = 512

# The index is written again when this many vectors, or this part of all, are not in its file: they are read
# from the registry instead. Writing it for each newcomer would cost more than all else about a large zoo.
_UNSAVED, _UNSAVED_PART = 64, 0.1

# Three standard errors of the sketch: who is nearer by exact CKA is not missed.
_MARGIN = 3.0 / float(np.sqrt(SKETCH_DIM))

# State of the registry that names the vector index.
_INDEX = "vector_index"

EDGE_METHOD, EDGE_VERSION = "debiased-cka", "1"

Lists = dict[str, list[tuple[str, float]]]


class Neighbourhood:
    """The experts on one probe set as points, and who is near whom."""

    def __init__(self, store: Store, probe_set: str) -> None:
        self.store = store
        self.probe_set = probe_set
        self.generation = store.generation()
        self.count = store.count_vectors(probe_set)
        found = store.probe_set(probe_set)
        self.inputs = found.n if found else 0
        self._index: VectorIndex | None = None
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._grams = lru_cache(maxsize=_GRAMS)(self._gram)

    @property
    def index(self) -> VectorIndex:
        """The vector index: its file brought up to date with the registry, or a new one."""
        if self._index is None:
            self._index = _load_index(self.store, self.probe_set)
        return self._index

    def vector(self, expert: str) -> NDArray[np.float32]:
        """Return the embedding (m,) of an expert.

        Raises:
            InvalidInputError: when it has none on this probe set.
        """
        self._read([expert])
        if expert not in self._vectors:
            raise InvalidInputError(f"{expert} has no embedding on {self.probe_set}; register it again")
        return self._vectors[expert]

    def search(self, vector: NDArray[np.floating], k: int) -> list[tuple[str, float]]:
        """Return up to k (expert id, cosine of the sketches), nearest first."""
        nearest = self.index.search(vector, k)
        owners = self.store.vector_owners(row for row, _ in nearest)
        # Another process may have removed one since the index was read.
        return [(owners[row], cosine) for row, cosine in nearest if row in owners]

    def nearest(self, expert: str, k: int) -> list[tuple[str, float]]:
        """Return up to k other experts with their CKA, nearest first.

        Neighbours are recalled by the sketch and ranked by exact CKA.

        Raises:
            InvalidInputError: when the expert has no embedding on this probe set.
        """
        recalled = self.search(self.vector(expert), max(RECALLED, 4 * k) + 1)
        others = [other for other, _ in recalled if other != expert]
        self._read(others)
        ranked = [(other, self.cka(expert, other)) for other in others]
        return sorted(ranked, key=lambda pair: (-pair[1], pair[0]))[:k]

    def may_be_entered(self, expert: str, k: int) -> list[str]:
        """Return the other experts that `expert` may be nearer to than the farthest of their k neighbours is.

        These are the nearest by the sketch, and of the others those with a neighbour that is as far.
        """
        vector = self.vector(expert)
        nearest = self.search(vector, self.count if self.count <= k + 1 else RECALLED + 1)
        others = [other for other, _ in nearest if other != expert]
        if nearest and len(nearest) < self.count:
            known = {expert, *others}
            far = self.store.with_far_neighbours(self.probe_set, nearest[-1][1] + _MARGIN)
            rest = [(row, other, cka) for row, other, cka in far if other not in known]
            cosines = self.index.cosines(vector, [row for row, _, _ in rest])
            others += [other for (_, other, cka), c in zip(rest, cosines, strict=True) if c + _MARGIN >= cka]
        self._read(others)
        return others

    def cka(self, a: str, b: str) -> float:
        """Return the debiased CKA of two experts, exact where their probe features are kept."""
        grams = self._grams(a), self._grams(b)
        if grams[0] is None or grams[1] is None:
            return self.sketched(a, b)
        return float(np.vdot(grams[0], grams[1]))

    def sketched(self, a: str, b: str) -> float:
        """Return the cosine of the sketches of two experts."""
        x, y = normalise(np.stack([self.vector(a), self.vector(b)]), dtype=np.float64)
        return float(x @ y)

    def _read(self, experts: Iterable[str]) -> None:
        """Read the embeddings of some experts that were not asked for yet, at one time."""
        missing = [expert for expert in experts if expert not in self._vectors]
        if missing:
            _, owners, vectors = self.store.vectors(self.probe_set, owners=missing)
            self._vectors.update(zip(owners, vectors, strict=True))

    def _gram(self, expert: str) -> NDArray[np.float64] | None:
        known = self.store.known_expert(expert)
        stored = self.store.features.get(features_key(known, self.probe_set)) if known else None
        if stored is None or stored.ndim != 2 or len(stored) != self.inputs:
            return None
        return centred_gram(stored)


def use_index(store: Store, name: str) -> None:
    """Search with another vector index from now on; it is built when it is first needed.

    Raises:
        NotFoundError: naming the indexes there are.
    """
    _ = vector_indexes[name]
    store.set_state(_INDEX, name)


def _index_name(store: Store) -> str:
    return store.state(_INDEX) or DEFAULT_INDEX


def _load_index(store: Store, probe_set: str) -> VectorIndex:
    """Return the saved index with what was added to the registry since; it is saved again now and then."""
    name = f"{path_part(probe_set.partition(':')[2])[:16]}.{path_part(_index_name(store))}"
    path = store.folder / ARRAYS / "index" / name
    saved = _saved_index(store, path, probe_set) if path.is_file() else None
    before = len(saved) if saved else 0
    index = _updated(saved, store, probe_set)
    changed = index is not saved or abs(len(index) - before) > max(_UNSAVED, _UNSAVED_PART * before)
    if changed and not store.read_only:
        index.generation = store.generation()
        index.save(path, store.index_key(probe_set, index.generation, make=True) or "")
    return index


def _saved_index(store: Store, path: Path, probe_set: str) -> VectorIndex | None:
    # A registry that was restored or replaced has other vectors under the same row numbers: an index is read
    # only where this very registry has its key. Without any key it was saved by an earlier version.
    if not store.has_index_keys(probe_set):
        return None
    try:
        return vector_indexes[_index_name(store)].load(path, lambda n: store.index_key(probe_set, n))
    except InvalidInputError as error:
        sys.stderr.write(f"vector index: {error}; rebuilt from registry.db\n")
        return None


def _updated(index: VectorIndex | None, store: Store, probe_set: str) -> VectorIndex:
    """Return the index with exactly the vectors of the registry, or a new one."""
    make, given = vector_indexes[_index_name(store)], index
    for rows, _, vectors in store.vectors_after(probe_set, index.last if index else -1):
        index = index or make(vectors.shape[1])
        index.add(rows, vectors)
    index = index or make(SKETCH_DIM)
    # Row numbers grow and are never used again: as many are the same ones.
    if len(index) == store.count_vectors(probe_set):
        return index
    wanted = store.vector_rows(probe_set)
    index.keep(wanted)
    # A new one holds all that can be read.
    return index if given is None or len(index) == len(wanted) else _updated(None, store, probe_set)


def refresh(store: Store, probe_set: str, *, k: int = NEIGHBOURS) -> None:
    """Find the neighbours of the experts that are new or lost one, and bring the mutual edges up to date.

    Those experts are also entered in the lists of others where they are nearer than what is there. Running
    it again changes nothing. Another process that registers or removes one meanwhile makes it start
    over.
    """
    while unlinked := store.unlinked(probe_set):
        near = Neighbourhood(store, probe_set)
        try:
            changed = _changed_lists(near, set(unlinked), k)
        except (NotFoundError, InvalidInputError):
            if store.generation() == near.generation:
                raise
            continue
        with store.transaction():
            if store.generation() != near.generation:
                continue
            store.put_neighbours(probe_set, changed, linked=unlinked)
            store.drop_edges("similarity", probe_set, changed)
            store.put_edges(_mutual_edges(near, changed))


def _changed_lists(near: Neighbourhood, unlinked: Collection[str], k: int) -> Lists:
    """Return the lists of the unlinked experts, and those of others that they enter."""
    changed = {expert: near.nearest(expert, k) for expert in unlinked}
    for expert in sorted(unlinked):
        others = [other for other in near.may_be_entered(expert, k) if other not in unlinked]
        stored = near.store.neighbours(near.probe_set, (o for o in others if o not in changed))
        for other in others:
            held = changed.get(other) or stored.get(other, [])
            if _enters(near, held, expert, other, k):
                entered = [*held, (expert, near.cka(expert, other))]
                changed[other] = sorted(entered, key=lambda pair: (-pair[1], pair[0]))[:k]
    return changed


def _enters(near: Neighbourhood, held: list[tuple[str, float]], expert: str, other: str, k: int) -> bool:
    """Tell whether `expert` belongs among the k nearest of `other`; exact CKA only where it is close."""
    if any(name == expert for name, _ in held):
        return False
    if len(held) < k:
        return True
    last, least = held[-1]
    if near.sketched(expert, other) + _MARGIN < least:
        return False
    return (-near.cka(expert, other), expert) < (-least, last)


def _mutual_edges(near: Neighbourhood, changed: Lists) -> list[Edge]:
    """Return an edge for each pair of experts of which one list changed, and that name each other."""
    others = {other for pairs in changed.values() for other, _ in pairs}
    lists = near.store.neighbours(near.probe_set, others)
    pairs = {
        (min(a, b), max(a, b)): cka
        for a, neighbours in changed.items()
        for b, cka in neighbours
        if any(name == a for name, _ in lists.get(b, []))
    }
    probe_set = near.store.probe_set(near.probe_set)
    return [
        Edge(
            kind="similarity",
            source=a,
            target=b,
            weight=cka,
            method=EDGE_METHOD,
            version=EDGE_VERSION,
            probe_set=near.probe_set,
            n=probe_set.n if probe_set else None,
        )
        for (a, b), cka in sorted(pairs.items())
    ]
