"""Which experts may answer a query: near-duplicates, embeddings, recall from a large zoo."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Expert
from expertise_graph.features import DUPLICATE_CKA, normalise
from expertise_graph.store import Store


def collapse(
    experts: list[Expert], similarity: NDArray[np.floating]
) -> tuple[list[int], dict[str, tuple[str, ...]]]:
    """Return the places of one expert for each group of near-duplicates, and who stands for whom.

    Args:
        experts: N candidates, the earliest registered first.
        similarity: (N, N) cosine of their embeddings.
    """
    kept: list[int] = []
    stands_for: dict[str, tuple[str, ...]] = {}
    for i, expert in enumerate(experts):
        same = [
            j
            for j in kept
            if experts[j].weights_sha == expert.weights_sha or similarity[i, j] > DUPLICATE_CKA
        ]
        if same:
            first = experts[same[0]].id
            stands_for[first] = (*stands_for.get(first, ()), expert.id)
        else:
            kept.append(i)
    return kept, stands_for


def embedded(
    store: Store, probe_set: str, experts: Iterable[Expert]
) -> tuple[list[Expert], NDArray[np.float64]]:
    """Return the experts that have an embedding on the probe set, and their unit vectors (N, m)."""
    _, owners, vectors = store.vectors(probe_set)
    place = {owner: i for i, owner in enumerate(owners)}
    known = [e for e in experts if e.id in place]
    if not known:
        return [], np.zeros((0, 0))
    return known, normalise(vectors[[place[e.id] for e in known]], dtype=np.float64)


def draw(zoo: Sequence[Expert], ran: Set[str], *, excluded: Set[str], size: int, seed: int) -> list[Expert]:
    """Return the experts that a search begins with: all, or `size` of them drawn at random.

    Those that were run come first, then those that meet the constraints, of these the ones with weights.
    """
    if len(zoo) <= size:
        return list(zoo)
    shuffled = np.random.default_rng(seed).permutation(len(zoo)).tolist()
    shuffled.sort(key=lambda i: (zoo[i].id not in ran, zoo[i].id in excluded, not zoo[i].runnable))
    drawn = set(shuffled[:size])
    return [e for i, e in enumerate(zoo) if i in drawn]


def recall(
    zoo: Sequence[Expert],
    ran: Set[str],
    *,
    near: Mapping[str, float],
    promise: Mapping[str, float],
    size: int,
) -> set[str]:
    """Return the ids of up to `size` experts: those run, a third by their history, then the nearest.

    Args:
        zoo: any number of experts.
        ran: ids of those that were run.
        near: affinity to the task, by id.
        promise: what is predicted of those that have results on other tasks, by id.
        size: how many.
    """
    ids = [e.id for e in zoo]
    by_history = sorted((e for e in ids if e in promise), key=lambda e: -promise[e])
    nearest = sorted((e for e in ids if e in near), key=lambda e: -near[e])
    order = dict.fromkeys(
        [*(e for e in ids if e in ran), *by_history[: size // 3], *nearest, *by_history, *ids]
    )
    return set(list(order)[:size])
