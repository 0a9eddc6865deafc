"""Which experts may answer a query: filters, leakage, near-duplicates."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from expertise_graph.errors import NotFoundError
from expertise_graph.graph import ancestors
from expertise_graph.similarity import DUPLICATE_CKA
from expertise_graph.store import Store
from expertise_graph.types import Edge, Expert, Query, Run, Task


def admitted(experts: Iterable[Expert], query: Query) -> list[Expert]:
    """Return the experts that meet the query's constraints.

    Raises:
        NotFoundError: when none does, with the number that was looked at.
    """
    zoo = list(experts)
    kept = [e for e in zoo if _meets(e, query)]
    if not kept:
        raise NotFoundError(
            f"none of {len(zoo)} experts meets the filters; relax --max-params, --max-mb, --license, "
            "--exclude-license or --tag"
        )
    return kept


def _meets(expert: Expert, query: Query) -> bool:
    return (
        (query.max_params is None or expert.params <= query.max_params)
        and (query.max_bytes is None or expert.bytes <= query.max_bytes)
        and (not query.licenses or expert.license in query.licenses)
        and expert.license not in query.excluded_licenses
        and all(tag in expert.tags for tag in query.tags)
    )


def trained_on(task: Task, runs: Iterable[Run], edges: Iterable[Edge], experts: Iterable[Expert]) -> set[str]:
    """Return the experts that have seen the task's labels: children of its runs, and theirs."""
    children = {run.child for run in runs if run.task == task.id and run.child}
    lineage = list(edges)
    return {e.id for e in experts if e.id in children or ancestors(lineage, e.id) & children}


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
