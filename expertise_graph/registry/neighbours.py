"""Nearest experts: recalled by the sketch, ranked by exact CKA, kept as mutual-neighbour edges."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Edge, Expert, InvalidInputError, Neighbour
from expertise_graph.features import DUPLICATE_CKA, SKETCH_DIM, FaissIndex, centred_gram
from expertise_graph.store import Store, features_key

NEIGHBOURS = 5
RECALLED = 64
EDGE_METHOD, EDGE_VERSION = "debiased-cka", "1"
# Three standard errors of the sketch: nearer ones by exact CKA are not missed.
_MARGIN = 3.0 / np.sqrt(SKETCH_DIM)

Lists = dict[str, list[tuple[str, float]]]


class Neighbourhood:
    """The experts on one probe set as points, and who is near whom."""

    def __init__(self, store: Store, probe_set: str) -> None:
        self.store = store
        self.probe_set = probe_set
        self.generation = store.generation()
        self.rows, self.owners, self.vectors = store.vectors(probe_set)
        self._by_row = dict(zip(self.rows, self.owners, strict=True))
        self._place = {owner: i for i, owner in enumerate(self.owners)}
        self._experts = {e.id: e for e in store.experts()}
        self._index: FaissIndex | None = None
        self.gram = lru_cache(maxsize=512)(self._gram)

    @property
    def index(self) -> FaissIndex:
        """The vector index: its file brought up to date with the registry, or built anew."""
        if self._index is None:
            self._index = self._load_index()
        return self._index

    def vector(self, expert: str) -> NDArray[np.float32]:
        """Return the embedding (m,) of an expert."""
        vector: NDArray[np.float32] = self.vectors[self._place[expert]]
        return vector

    def search(self, vector: NDArray[np.floating], k: int) -> list[tuple[str, float]]:
        """Return up to k (expert id, cosine of the sketches), nearest first."""
        return [(self._by_row[row], cosine) for row, cosine in self.index.search(vector, k)]

    def nearest(self, expert: str, k: int) -> list[tuple[str, float]]:
        """Return up to k other experts with their CKA, nearest first.

        Neighbours are recalled by the sketch and ranked by exact CKA.

        Raises:
            InvalidInputError: when the expert has no embedding on this probe set.
        """
        if expert not in self._place:
            raise InvalidInputError(f"{expert} has no embedding on {self.probe_set}; register it again")
        recalled = self.search(self.vector(expert), max(RECALLED, 4 * k) + 1)
        ranked = [(other, self.cka(expert, other)) for other, _ in recalled if other != expert]
        return sorted(ranked, key=lambda pair: (-pair[1], pair[0]))[:k]

    def cka(self, a: str, b: str) -> float:
        """Return the debiased CKA of two experts, exact where their probe features are kept."""
        grams = self.gram(a), self.gram(b)
        if grams[0] is None or grams[1] is None:
            return self.sketched(a, b)
        return float(np.vdot(grams[0], grams[1]))

    def sketched(self, a: str, b: str) -> float:
        """Return the cosine of the sketches of two experts."""
        x, y = self.vector(a), self.vector(b)
        return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))

    def _gram(self, expert: str) -> NDArray[np.float64] | None:
        node = self._experts[expert]
        features = self.store.features.get(features_key(node, self.probe_set))
        return None if features is None else centred_gram(features)

    def _load_index(self) -> FaissIndex:
        dim = self.vectors.shape[1] if len(self.owners) else SKETCH_DIM
        path = self.store.folder / "embeddings" / "index" / f"{self.probe_set.split(':')[1][:16]}.faiss"
        index = FaissIndex(dim)
        if path.is_file():
            try:
                index = FaissIndex.load(path, dim=dim)
            except InvalidInputError as error:
                sys.stderr.write(f"vector index: {error}; rebuilt from registry.db\n")
        if index.sync(self.rows, self.vectors):
            index.save(path)
        return index


def refresh(store: Store, probe_set: str, *, k: int = NEIGHBOURS) -> None:
    """Bring neighbour lists and mutual-neighbour edges up to date with the experts there are.

    Whoever has fewer than k neighbours is new, lost one, or was left over by a process that was
    killed; their lists are made anew, and they are entered where they are nearer than what is
    there. Running it again changes nothing. Another process that registers meanwhile makes it
    start over.
    """
    while True:
        near = Neighbourhood(store, probe_set)
        lists = store.neighbours(probe_set)
        changed = _update(near, lists, k)
        if not changed:
            return
        with store.transaction():
            if store.generation() != near.generation:
                continue
            store.put_neighbours(probe_set, {expert: lists[expert] for expert in changed})
            store.drop_edges("similarity", probe_set, changed)
            store.put_edges(_mutual_edges(lists, changed, near))
            return


def _update(near: Neighbourhood, lists: Lists, k: int) -> set[str]:
    """Change `lists` in place; return the experts whose list changed."""
    full = min(k, len(near.owners) - 1)
    incomplete = [o for o in near.owners if len(lists.get(o, [])) < full]
    anew, changed = set(incomplete), set(incomplete)
    for expert in incomplete:
        lists[expert] = near.nearest(expert, k)
    for expert in incomplete:
        for other, cosine in near.search(near.vector(expert), len(near.owners)):
            if other not in anew and _enters(near, lists[other], expert, other, cosine):
                _insert(lists[other], expert, near.cka(expert, other), k)
                changed.add(other)
    return changed


def _enters(
    near: Neighbourhood, held: list[tuple[str, float]], expert: str, other: str, cosine: float
) -> bool:
    """Tell whether `expert` belongs among the nearest of `other`; exact CKA only where it is close."""
    last, least = held[-1]
    if any(name == expert for name, _ in held) or cosine + _MARGIN < least:
        return False
    return (-near.cka(expert, other), expert) < (-least, last)


def _insert(held: list[tuple[str, float]], expert: str, cka: float, k: int) -> None:
    held.append((expert, cka))
    held.sort(key=lambda pair: (-pair[1], pair[0]))
    del held[k:]


def _mutual_edges(lists: Lists, changed: Iterable[str], near: Neighbourhood) -> list[Edge]:
    pairs = {}
    for a in changed:
        for b, cka in lists[a]:
            if any(name == a for name, _ in lists.get(b, [])):
                pairs[min(a, b), max(a, b)] = cka
    n = next((p.n for p in near.store.probe_sets() if p.id == near.probe_set), None)
    return [
        Edge(
            kind="similarity",
            source=a,
            target=b,
            weight=cka,
            method=EDGE_METHOD,
            version=EDGE_VERSION,
            probe_set=near.probe_set,
            n=n,
        )
        for (a, b), cka in sorted(pairs.items())
    ]


def similar(store: Store, probe_set: str, expert: Expert, k: int) -> list[Neighbour]:
    """Return the k experts nearest to `expert`, nearest first.

    Near-duplicates, with the same weights or the same responses, are marked.
    """
    near = Neighbourhood(store, probe_set)
    found = [(store.expert(other), cka) for other, cka in near.nearest(expert.id, k)]
    return [
        Neighbour(
            expert=other, cka=cka, duplicate=other.weights_sha == expert.weights_sha or cka > DUPLICATE_CKA
        )
        for other, cka in found
    ]
