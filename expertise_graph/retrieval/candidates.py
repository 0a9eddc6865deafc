"""Which experts a query compares: none that saw the task, one of near-duplicates, the best of many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from expertise_graph import starter
from expertise_graph.core import Expert, NotFoundError, count
from expertise_graph.features import DUPLICATE_CKA, normalise
from expertise_graph.registry import trained_on
from expertise_graph.retrieval.evidence import Sample
from expertise_graph.retrieval.history import SEEN, read_history, trained_by_declaration
from expertise_graph.retrieval.knowledge import Knowledge
from expertise_graph.retrieval.search import Pool
from expertise_graph.retrieval.task_similarity import task_distances, task_vectors
from expertise_graph.store import Store

Array = NDArray[np.float64]


def eligible(known: Knowledge, sample: Sample) -> list[Expert]:
    """Return the experts and known models of the task's modality that were not trained on its very items.

    Raises:
        NotFoundError: when there is none.
    """
    zoo, store = known.experts, known.store
    if not zoo:
        shipped = "".join(f"zoo:{name} or " for name in starter.shipped_for(sample.task.modality)[:1])
        raise NotFoundError(
            f"no expert of modality {sample.task.modality!r} is registered; register one first, "
            f"e.g. {shipped}hf:ORG/NAME"
        )
    seen = trained_on(store, sample.task, seen=store.seen(sample.digests))
    seen |= trained_by_declaration(store.covariates(names=SEEN), sample.task) | known.trained_on(sample.task)
    left = [e for e in zoo if e.id not in seen]
    if not left:
        raise NotFoundError(
            f"all {len(zoo)} experts of modality {sample.task.modality!r} were trained on this very task, "
            "or on items of it; register another one"
        )
    return left


def collapse(
    experts: list[Expert], similarity: NDArray[np.floating]
) -> tuple[list[int], dict[str, tuple[str, ...]]]:
    """Return the indices of one expert for each group of near-duplicates, and who stands for whom.

    Args:
        experts: N candidates, the earliest registered first.
        similarity: (N, N) cosine of their embeddings.
    """
    kept: list[int] = []
    stands_for: dict[str, tuple[str, ...]] = {}
    for i, expert in enumerate(experts):
        same = [
            j for j in kept if _function(experts[j]) == _function(expert) or similarity[i, j] > DUPLICATE_CKA
        ]
        if same:
            first = experts[same[0]].id
            stands_for[first] = (*stands_for.get(first, ()), expert.id)
        else:
            kept.append(i)
    return kept, stands_for


def _function(expert: Expert) -> tuple[str, str]:
    """Return what decides the features: another architecture or pooling makes others of the same weights."""
    return expert.weights_sha, expert.preprocessing_sha


def embedded(store: Store, probe_set: str, experts: Iterable[Expert]) -> tuple[list[Expert], Array]:
    """Return the experts that have an embedding on the probe set, and their unit vectors (N, m)."""
    given = list(experts)
    _, owners, vectors = store.vectors(probe_set, owners=[e.id for e in given])
    row = {owner: i for i, owner in enumerate(owners)}
    known = [e for e in given if e.id in row]
    if not known:
        return [], np.zeros((0, 0))
    return known, normalise(vectors[[row[e.id] for e in known]], dtype=np.float64)


def read_pool(
    known: Knowledge, probe_set: str, sample: Sample, experts: Sequence[Expert], *, excluded: Set[str]
) -> Pool:
    """Return candidates without near-duplicates, and what the registry knows about them.

    Args:
        known: the registry, and published models beside it.
        probe_set: id of the one that embeddings are on.
        sample: of the task.
        experts: the candidates.
        excluded: ids of those that a constraint keeps out.

    Raises:
        NotFoundError: when none that meets the constraints has an embedding.
    """
    # Of near-duplicates one that meets the constraints, and can be run, stands for the others.
    ordered = sorted(experts, key=lambda e: (e.id in excluded, not e.runnable))
    store = known.store
    placed, vectors = embedded(store, probe_set, ordered)
    kept, stands_for = collapse(placed, vectors @ vectors.T)
    # Of what others share, an expert may be known by its name and its embedding.
    there = {e.id for e in placed}
    found = [placed[i] for i in kept] + [e for e in ordered if not e.runnable and e.id not in there]
    if not any(e.id not in excluded for e in found):
        possible = count(sum(e.id not in excluded for e in ordered), "expert")
        raise NotFoundError(
            f"none of {possible} has an embedding on the current probe set; choose "
            "the probe set again (probe use) to embed them"
        )
    rows = np.zeros((len(found), vectors.shape[1]))
    rows[: len(kept)] = vectors[kept]
    graph = rows @ rows.T
    np.fill_diagonal(graph, 1.0)
    tasks = task_vectors(store, probe_set)
    history = read_history(known, found, task=sample.task, graph=graph, vectors=tasks, computed=False)
    return Pool(
        experts=found,
        vectors=rows,
        stands_for=stands_for,
        history=history,
        target=history.tasks.index(sample.task.id),
        distances=task_distances(store.distances(), history.tasks),
        task_vectors=tasks,
        shared_names=frozenset(store.shared_names(expert.name for expert in found)),
    )


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
        promise: prediction for those that have results on other tasks, by id.
        size: how many.
    """
    ids = [e.id for e in zoo]
    by_history = sorted((e for e in ids if e in promise), key=lambda e: -promise[e])
    nearest = sorted((e for e in ids if e in near), key=lambda e: -near[e])
    order = dict.fromkeys(
        [*(e for e in ids if e in ran), *by_history[: size // 3], *nearest, *by_history, *ids]
    )
    return set(list(order)[:size])
