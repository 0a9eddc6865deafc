"""The path of a query: candidates, landmarks, belief, the next expert to run, ranking."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import (
    Baseline,
    Embedding,
    Expert,
    InvalidInputError,
    NotFoundError,
    Progress,
    Query,
    Ranking,
    SourceError,
)
from expertise_graph.data import known_modalities
from expertise_graph.features import SKETCH_SEED
from expertise_graph.registry import trained_on
from expertise_graph.retrieval.acquisition import next_place
from expertise_graph.retrieval.candidates import collapse, draw, embedded, recall
from expertise_graph.retrieval.constraints import Latency, sieve
from expertise_graph.retrieval.evidence import VERSIONS, Measured, Runner, Sample, measured, stored_evidence
from expertise_graph.retrieval.history_loader import read_history, seen_labels, task_distances, task_vectors
from expertise_graph.retrieval.landmarks import choose_landmarks
from expertise_graph.retrieval.posterior import Belief, believe
from expertise_graph.retrieval.ranking import rank
from expertise_graph.retrieval.reliability import RIDGE
from expertise_graph.retrieval.search import Search
from expertise_graph.retrieval.task_embedding import TASK_METHOD, TASK_VERSION
from expertise_graph.store import Store
from expertise_graph.transferability import ridge_accuracy

LANDMARKS = 16
POOL = 1500

BASELINE = "ridge on raw input, no pretraining"

Array = NDArray[np.float64]

After = Callable[[Search, Belief], Belief]
"""Finds out more about the candidates, and returns what is believed then."""


@dataclass(frozen=True, kw_only=True)
class Registry:
    """What a query reads: the store, the id of the probe set, and how to measure latency.

    Attributes:
        pool: of more experts than this, those that promise most are recalled before they are compared.
    """

    store: Store
    probe_set: str
    latency: Latency
    progress: Progress
    pool: int = POOL


def answer_query(
    registry: Registry, runner: Runner, sample: Sample, query: Query, *, after: After | None = None
) -> Ranking:
    """Return the ranking of the registered experts for a task.

    Args:
        registry: what is known; the task and its embedding are written to its store.
        runner: runs experts.
        sample: the labelled items to look at.
        query: budget and constraints.
        after: called when the budget is used up, and not when the search was interrupted.

    Raises:
        NotFoundError: when no expert of the modality is there, or none meets the constraints.
        InvalidInputError: when nothing may be run and nothing is known.
    """
    search, belief = explore(registry, runner, sample, query)
    registry.store.put_task(sample.task)
    if after is not None and not search.interrupted:
        belief = after(search, belief)
    return rank(search, belief, _baseline(registry.store, sample), time.perf_counter() - search.started)


def explore(registry: Registry, runner: Runner, sample: Sample, query: Query) -> tuple[Search, Belief]:
    """Run experts within the budget, and return what was found and what is believed.

    Ctrl-C ends the search; what was found until then counts.

    Raises:
        As `answer_query`.
    """
    search = open_search(registry, runner, sample, query)
    belief = pursue(search)
    if belief.task_vector is not None:
        _store_task(registry, search, belief.task_vector)
    return search, belief


def pursue(search: Search) -> Belief:
    """Run experts within the budget, and return what is believed then; nothing is written.

    Raises:
        As `answer_query`.
    """
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
    return belief


def open_search(registry: Registry, runner: Runner, sample: Sample, query: Query) -> Search:
    """Return a search over the candidates and all that is known of them.

    Raises:
        NotFoundError: as `answer_query`.
    """
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
    pool = draw(zoo, evidence.keys(), excluded=found.excluded.keys(), size=registry.pool, seed=query.seed)
    first = _search(registry, runner, sample, query, pool, found.excluded, started)
    first.evidence.update({e.id: evidence[e.id] for e in first.experts if e.id in evidence})
    if len(zoo) <= registry.pool:
        return first
    _run_landmarks(first)
    recalled = _recalled(registry, zoo, believe(first), first)
    search = _search(registry, runner, sample, query, recalled, found.excluded, started)
    search.evidence.update({e.id: first.evidence[e.id] for e in search.experts if e.id in first.evidence})
    search.responses.update(first.responses)
    search.unusable.update(first.unusable)
    search.ran = first.ran
    return search


def _zoo(store: Store, sample: Sample) -> list[Expert]:
    """Return the experts that may be asked about: of the modality, and not trained on these very items."""
    zoo = store.experts(sample.task.modality)
    if not zoo:
        raise NotFoundError(
            f"no expert of modality {sample.task.modality!r} is registered; register one, e.g. "
            "expertise-graph register hf:org/name"
        )
    seen = trained_on(store, sample.task, seen=store.seen(sample.digests))
    seen |= seen_labels(store.covariates(), sample.task)
    left = [e for e in zoo if e.id not in seen]
    if not left:
        raise NotFoundError(
            f"all {len(zoo)} experts of modality {sample.task.modality!r} were trained on this very task, "
            "or on items of it; register another one"
        )
    return left


def _recalled(registry: Registry, zoo: list[Expert], belief: Belief, first: Search) -> list[Expert]:
    """Return the experts of a large zoo that promise most, and a few of those that a constraint excludes."""
    known, vectors = embedded(registry.store, registry.probe_set, zoo)
    near: dict[str, float] = {}
    if belief.task_vector is not None:
        near = dict(zip((e.id for e in known), (vectors @ belief.task_vector).tolist(), strict=True))
    results = belief.prediction.forecast.results
    means = belief.prediction.mean.tolist()
    promise = {e: m for e, m, n in zip(first.history.experts, means, results, strict=True) if n}
    kept: set[str] = set()
    for out, size in ((False, registry.pool), (True, registry.pool // 10)):
        part = [e for e in zoo if (e.id in first.excluded) == out]
        kept |= recall(part, first.evidence.keys(), near=near, promise=promise, size=size)
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
    # Of near-duplicates one that meets the constraints stands for the others.
    pool = sorted(pool, key=lambda e: e.id in excluded)
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
    tasks = task_vectors(store, registry.probe_set)
    history = read_history(store, experts, task=sample.task.id, graph=graph, vectors=tasks)
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
        distances=task_distances(store.distances(), history.tasks),
        task_vectors=tasks,
        measured=_measured(store, sample, query, experts),
        evidence={},
        started=started,
    )


def _measured(store: Store, sample: Sample, query: Query, experts: list[Expert]) -> dict[str, Measured]:
    """Return the results on the task; those of a race are left to the race, so that it is run alike again."""
    ids = {e.id for e in experts}
    found = measured(store, sample.task, rungs=0 if query.race else None)
    return {e: m for e, m in found.items() if e in ids}


def _run_landmarks(search: Search) -> None:
    """Run cheap experts that cover the graph; half of the budget is kept for promising ones."""
    may_run = {*search.open_places(), *search.ran_places()}
    places = [i for i in search.embedded() if i in may_run]
    if not places:
        return
    vectors = search.vectors[places]
    cover = choose_landmarks([search.experts[i] for i in places], vectors @ vectors.T, LANDMARKS)
    for place in (places[i] for i in cover):
        if not _landmarks_wanted(search):
            return
        if search.experts[place].id not in search.evidence and search.affordable(place):
            search.run(place)


def _landmarks_wanted(search: Search) -> bool:
    query = search.query
    if query.seconds is not None:
        return time.perf_counter() - search.started <= query.seconds / 2
    return len(search.evidence) < ((query.budget or 0) + 1) // 2


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
        "this budget runs no expert, and no result of any is known, on this task or another; allow "
        "--budget 1 or more, or bring results: expertise-graph history import FILE.csv"
    )


def _store_task(registry: Registry, search: Search, vector: NDArray[np.float32]) -> None:
    registry.store.put_task(search.sample.task)
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


def _baseline(store: Store, sample: Sample) -> Baseline:
    """Return what a ridge classifier reaches on the raw input, leave one out; worked out once a sample."""
    key = f"baseline {RIDGE}@{VERSIONS[RIDGE]} {sample.inputs.sha256}"
    known = store.state(key)
    if known is None:
        modality = known_modalities[sample.inputs.modality]
        raw = modality.raw_features([modality.decode(item) for item in sample.inputs.items])
        known = repr(ridge_accuracy(raw, sample.labels))
        store.set_state(key, known)
    return Baseline(name=BASELINE, predicted=float(known))
