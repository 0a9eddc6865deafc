"""Which experts may answer a query: leakage, near-duplicates, embeddings, recall from a large zoo."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import BoolArray, Edge, Expert, Run, Task
from expertise_graph.features import DUPLICATE_CKA
from expertise_graph.registry import ancestors
from expertise_graph.store import Split, Store

SHARED = 0.05
"""An expert that has learnt from more of a task's items than this share is no candidate for it."""


def trained_on(
    task: Task,
    runs: Iterable[Run],
    edges: Iterable[Edge],
    experts: Iterable[Expert],
    *,
    seen: Mapping[Split, BoolArray],
) -> set[str]:
    """Return the experts that have learnt from the task: children of its runs, and theirs.

    Args:
        task: whose labels they may have seen.
        runs: all runs.
        edges: all edges of lineage.
        experts: the zoo.
        seen: which of the task's items runs on other tasks, or with other splits, have learnt from; under
            other labels too.
    """
    alike = {split for split, items in seen.items() if items.mean() > SHARED}
    first = (r.child for r in runs if r.child and (r.task == task.id or (r.task, r.seed) in alike))
    return with_descendants(first, edges) & {expert.id for expert in experts}


def learnt_from(
    expert: str, runs: Iterable[Run], edges: Iterable[Edge], *, seen: Mapping[Split, BoolArray]
) -> int:
    """Return of how many items an expert, or one that it descends from, has learnt.

    Args:
        expert: id.
        runs: all runs.
        edges: all edges of lineage.
        seen: which of n items runs have learnt from, (n,) by task and seed.
    """
    line = {expert, *ancestors(edges, expert)}
    found = [seen[r.task, r.seed] for r in runs if r.child in line and (r.task, r.seed) in seen]
    return int(np.any(found, axis=0).sum()) if found else 0


def with_descendants(nodes: Iterable[str], edges: Iterable[Edge]) -> set[str]:
    """Return the nodes and all that descends from them by lineage."""
    children: dict[str, list[str]] = {}
    for edge in edges:
        if edge.kind == "lineage":
            children.setdefault(edge.source, []).append(edge.target)
    found: set[str] = set()
    ahead = list(nodes)
    while ahead:
        node = ahead.pop()
        if node not in found:
            found.add(node)
            ahead += children.get(node, ())
    return found


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
    rows = vectors[[place[e.id] for e in known]].astype(np.float64)
    return known, rows / np.linalg.norm(rows, axis=1, keepdims=True)


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
