"""The path of a query: candidates, landmarks, belief, the next expert to run, ranking."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expertise_graph.data.modalities import modalities
from expertise_graph.errors import InvalidInputError, NotFoundError, SourceError
from expertise_graph.probing import Progress
from expertise_graph.retrieval.acquisition import next_place
from expertise_graph.retrieval.answer import rank
from expertise_graph.retrieval.belief import Belief, believe
from expertise_graph.retrieval.candidates import collapse, embedded, trained_on
from expertise_graph.retrieval.constraints import Latency, sieve
from expertise_graph.retrieval.evidence import Evidence, Runner, Sample, measured, stored_evidence
from expertise_graph.retrieval.knowledge import read_history, seen_labels
from expertise_graph.retrieval.landmarks import choose_landmarks
from expertise_graph.retrieval.search import Search
from expertise_graph.retrieval.task_embedding import TASK_METHOD, TASK_VERSION
from expertise_graph.similarity import SKETCH_SEED
from expertise_graph.store import Store
from expertise_graph.transferability import ridge_accuracy
from expertise_graph.types import Baseline, Embedding, Expert, Query, Ranking

LANDMARKS = 4
POOL = 1500
"""Of more experts than this, the nearest to the task are recalled before anything is compared."""

BASELINE = "ridge on raw input, no pretraining"

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Registry:
    """What a query reads: the store, the id of the probe set, and how to measure latency."""

    store: Store
    probe_set: str
    latency: Latency
    progress: Progress


def answer_query(registry: Registry, runner: Runner, sample: Sample, query: Query) -> Ranking:
    """Return the ranking of the registered experts for a task.

    Args:
        registry: what is known; the task and its embedding are written to its store.
        runner: runs experts.
        sample: the labelled items to look at.
        query: budget and constraints.

    Raises:
        NotFoundError: when no expert of the modality is there, or none meets the constraints.
        InvalidInputError: when nothing may be run and nothing is known.
    """
    registry.store.put_task(sample.task)
    search, belief = explore(registry, runner, sample, query)
    return rank(search, belief, _baseline(sample), time.perf_counter() - search.started)


def explore(registry: Registry, runner: Runner, sample: Sample, query: Query) -> tuple[Search, Belief]:
    """Run experts within the budget, and return what was found and what is believed.

    Ctrl-C ends the search; what was found until then counts.

    Raises:
        As `answer_query`.
    """
    search = _open(registry, runner, sample, query)
    try:
        _run_landmarks(search)
        belief = believe(search)
        while (place := next_place(search, belief)) is not None:
            search.run(place)
            belief = believe(search)
    except KeyboardInterrupt:
        if not search.evidence:
            raise
        search.interrupted = True
        belief = believe(search)
    _check_known(search)
    if belief.task_vector is not None:
        _store_task(registry, search, belief.task_vector)
    return search, belief


def _open(registry: Registry, runner: Runner, sample: Sample, query: Query) -> Search:
    started = time.perf_counter()
    store = registry.store
    zoo = _zoo(store, sample)
    found = sieve(
        zoo,
        query,
        latency=registry.latency,
        lineage=store.edges("lineage"),
        progress=registry.progress,
    )
    evidence = stored_evidence(store, sample)
    first = _search(registry, runner, sample, query, _pool(zoo, evidence, query), found.excluded, started)
    first.evidence.update({e.id: evidence[e.id] for e in first.experts if e.id in evidence})
    if len(zoo) <= POOL:
        return first
    _run_landmarks(first)
    nearest = _nearest(registry, zoo, believe(first), first)
    search = _search(registry, runner, sample, query, nearest, found.excluded, started)
    search.evidence.update({e.id: first.evidence[e.id] for e in search.experts if e.id in first.evidence})
    search.responses.update(first.responses)
    search.ran = first.ran
    return search


def _zoo(store: Store, sample: Sample) -> list[Expert]:
    """Return the experts that may be asked about: of the modality, and not trained on this very task."""
    zoo = store.experts(sample.task.modality)
    if not zoo:
        raise NotFoundError(
            f"no expert of modality {sample.task.modality!r} is registered; register one, e.g. "
            "expertise-graph register hf:org/name"
        )
    seen = trained_on(sample.task, store.runs(), store.edges("lineage"), zoo) | seen_labels(
        store, sample.task
    )
    left = [e for e in zoo if e.id not in seen]
    if not left:
        raise NotFoundError(
            f"all {len(zoo)} experts of modality {sample.task.modality!r} were trained on this very task; "
            "register another one"
        )
    return left


def _pool(zoo: list[Expert], evidence: Mapping[str, Evidence], query: Query) -> list[Expert]:
    """Return the experts to begin with: all, or as many as can be compared, drawn by the seed."""
    if len(zoo) <= POOL:
        return zoo
    drawn = np.random.default_rng(query.seed).permutation(len(zoo))[:POOL]
    return [e for i, e in enumerate(zoo) if i in set(drawn.tolist()) or e.id in evidence]


def _nearest(registry: Registry, zoo: list[Expert], belief: Belief, first: Search) -> list[Expert]:
    """Return the experts nearest to the task by their embeddings, and those that were run."""
    known, vectors = embedded(registry.store, registry.probe_set, zoo)
    affinity = vectors @ (belief.task_vector if belief.task_vector is not None else vectors[0])
    kept = {known[i].id for i in np.argsort(-affinity, kind="stable")[:POOL]} | set(first.evidence)
    return [e for e in zoo if e.id in kept]


def _search(
    registry: Registry,
    runner: Runner,
    sample: Sample,
    query: Query,
    pool: list[Expert],
    excluded: Mapping[str, tuple[str, ...]],
    started: float,
) -> Search:
    store = registry.store
    known, vectors = embedded(store, registry.probe_set, pool)
    kept, stands_for = collapse(known, vectors @ vectors.T)
    names_only = [e for e in pool if not e.runnable]
    experts = [known[i] for i in kept] + names_only
    if not experts:
        raise NotFoundError(
            f"none of {len(pool)} experts has an embedding on the current probe set; embed them with: "
            "expertise-graph probe use"
        )
    rows = np.zeros((len(experts), vectors.shape[1]))
    rows[: len(kept)] = vectors[kept]
    graph = rows @ rows.T
    np.fill_diagonal(graph, 1.0)
    history = read_history(
        store, experts, task=sample.task.id, graph=graph, vectors=_task_vectors(store, registry.probe_set)
    )
    return Search(
        runner=runner,
        sample=sample,
        query=query,
        experts=experts,
        vectors=rows,
        stands_for=stands_for,
        excluded=excluded,
        history=history,
        target=history.tasks.index(sample.task.id),
        measured={e: m for e, m in measured(store, sample.task).items() if e in {x.id for x in experts}},
        evidence={},
        started=started,
    )


def _task_vectors(store: Store, probe_set: str) -> dict[str, Array]:
    _, owners, vectors = store.vectors(probe_set, "task")
    return {o: v / np.linalg.norm(v) for o, v in zip(owners, vectors.astype(np.float64), strict=True)}


def _run_landmarks(search: Search) -> None:
    """Run cheap experts that cover the graph; half of the budget is kept for promising ones."""
    places = search.embedded()
    if not places:
        return
    vectors = search.vectors[places]
    wanted = LANDMARKS
    if search.query.budget is not None:
        wanted = min(LANDMARKS, (search.query.budget + 1) // 2)
    open_places = set(search.open_places())
    chosen = (
        choose_landmarks([search.experts[i] for i in places], vectors @ vectors.T, LANDMARKS)
        if places
        else []
    )
    for place in (places[i] for i in chosen):
        if len(search.evidence) >= wanted:
            return
        if place in open_places and search.affordable(place):
            search.run(place)


def _check_known(search: Search) -> None:
    """Refuse to guess.

    Raises:
        SourceError: when experts were to be run and none could.
        InvalidInputError: when none was to be run and history says nothing.
    """
    n = len(search.experts)
    known = search.evidence or search.measured or (~np.isnan(search.history.outcomes[:n])).any()
    if known:
        return
    if search.unusable:
        raise SourceError("no expert could be run: " + "; ".join(search.unusable.values()))
    raise InvalidInputError(
        "this budget runs no expert, and nothing was measured of any on whatever task; allow --budget 1 or "
        "more, or bring results: expertise-graph history import FILE.csv"
    )


def _store_task(registry: Registry, search: Search, vector: NDArray[np.float32]) -> None:
    registry.store.put_embedding(
        Embedding(
            owner=search.sample.task.id,
            kind="task",
            probe_set=registry.probe_set,
            method=TASK_METHOD,
            version=TASK_VERSION,
            vector=vector,
            seed=SKETCH_SEED,
            n=len(search.sample.labels),
        )
    )


def _baseline(sample: Sample) -> Baseline:
    """Return what a ridge classifier reaches on the raw input, leave one out."""
    modality = modalities[sample.inputs.modality]
    raw = modality.raw_features([modality.decode(item) for item in sample.inputs.items])
    return Baseline(name=BASELINE, predicted=ridge_accuracy(raw, sample.labels))
