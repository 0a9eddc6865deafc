"""The experts most like one: as they come, or with near-duplicates folded into the nearest of them."""

from __future__ import annotations

import dataclasses

from expertise_graph.core import Expert, Neighbour
from expertise_graph.features import DUPLICATE_CKA
from expertise_graph.registry.neighbours import Neighbourhood
from expertise_graph.store import Store


def similar(store: Store, probe_set: str, expert: Expert, k: int, *, fold: bool = False) -> list[Neighbour]:
    """Return the k experts nearest to `expert`, nearest first.

    Near-duplicates of it, with the same weights or the same responses, are marked.

    Args:
        store: the registry.
        probe_set: id of the one that the experts are embedded on.
        expert: any that has an embedding on it.
        k: how many.
        fold: whether of near-duplicates, of `expert` or of each other, only the nearest is listed; it
            names the others.

    Raises:
        InvalidInputError: when the expert has no embedding on this probe set.
    """
    found = _nearest(store, probe_set, expert, k)
    if not fold:
        return found
    groups, wanted = _folded(store, probe_set, found), k
    # One group more than asked for: those of the last one come together, and are all there then.
    while len(groups) < len(found) and len(groups) <= k and len(found) == wanted:
        wanted *= 2
        found = _nearest(store, probe_set, expert, wanted)
        groups = _folded(store, probe_set, found)
    return groups[:k]


def _nearest(store: Store, probe_set: str, expert: Expert, k: int) -> list[Neighbour]:
    nearest = store.neighbours_of(expert.id, probe_set)[:k]
    # What is stored answers, unless more is asked for or a process was killed before it was complete.
    others = store.count_vectors(probe_set) - 1
    if len(nearest) < min(k, others) or store.unlinked(probe_set):
        nearest = Neighbourhood(store, probe_set).nearest(expert.id, k)
    known = {e.id: e for e in store.experts(where={"id": [other for other, _ in nearest]})}
    return [
        Neighbour(
            expert=known[other],
            cka=cka,
            duplicate=known[other].weights_sha == expert.weights_sha or cka > DUPLICATE_CKA,
        )
        for other, cka in nearest
        if other in known  # another process may have removed it meanwhile
    ]


def _folded(store: Store, probe_set: str, found: list[Neighbour]) -> list[Neighbour]:
    """Return the first of each group of near-duplicates, with the others of it."""
    near, groups = Neighbourhood(store, probe_set), list[Neighbour]()

    def alike(first: Neighbour, other: Neighbour) -> bool:
        if (first.duplicate and other.duplicate) or first.expert.weights_sha == other.expert.weights_sha:
            return True
        return near.sketched(first.expert.id, other.expert.id) > DUPLICATE_CKA

    for one in found:
        place = next((i for i, first in enumerate(groups) if alike(first, one)), None)
        if place is None:
            groups.append(one)
        else:
            first = groups[place]
            groups[place] = dataclasses.replace(first, same_as=(*first.same_as, one.expert))
    return groups
