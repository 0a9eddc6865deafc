"""The path of a query: recall, evidence, posterior, ranking."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from expertise_graph.data.base import Inputs
from expertise_graph.data.modalities import modalities
from expertise_graph.errors import InvalidInputError, NotFoundError, SourceError
from expertise_graph.probing import Prober
from expertise_graph.retrieval.answer import rank
from expertise_graph.retrieval.candidates import admitted, collapse, embedded, trained_on
from expertise_graph.retrieval.evidence import (
    Sample,
    Shift,
    fine_tuning_shift,
    log_odds,
    measured,
    stored_evidence,
)
from expertise_graph.retrieval.landmarks import choose_landmarks
from expertise_graph.retrieval.posterior import calibrate, expected_improvement, posterior, standardised
from expertise_graph.retrieval.search import Belief, Search
from expertise_graph.retrieval.task_embedding import TASK_METHOD, TASK_VERSION, Landmark, embed_task
from expertise_graph.similarity import SKETCH_SEED
from expertise_graph.store import Store
from expertise_graph.transferability import ridge_accuracy
from expertise_graph.types import Baseline, Embedding, Query, Ranking

LANDMARKS = 4
BASELINE = "ridge on raw input, no pretraining"

Array = NDArray[np.float64]


def answer_query(store: Store, prober: Prober, probes: Inputs, sample: Sample, query: Query) -> Ranking:
    """Return the ranking of the registered experts for a task.

    Args:
        store: the registry; the task, its embedding and all scores are written to it.
        prober: runs experts.
        probes: the probe set that experts are embedded on; its hash is its id.
        sample: the labelled items to look at.
        query: budget and constraints.

    Raises:
        NotFoundError: when no expert of the modality is there, or none meets the constraints.
        InvalidInputError: when nothing may be run and nothing is known.
    """
    start = time.perf_counter()
    search = _open(store, prober, probes, sample, query)
    if query.budget == 0 and not search.evidence and not measured(store, sample.task):
        raise InvalidInputError(
            "budget 0 runs nothing, and nothing is known about this task yet; allow --budget 1 or more"
        )
    store.put_task(sample.task)
    _run_landmarks(search)
    affinity = _affinity(search)
    _run_promising(search, affinity)
    # With all that is known now: asked again, the same evidence gives the same answer.
    belief = _believe(search, _affinity(search))
    return rank(search, belief, _baseline(sample), time.perf_counter() - start)


def _open(store: Store, prober: Prober, probes: Inputs, sample: Sample, query: Query) -> Search:
    zoo = store.experts(sample.task.modality)
    if not zoo:
        raise NotFoundError(
            f"no expert of modality {sample.task.modality!r} is registered; register one, e.g. "
            "expertise-graph register hf:org/name"
        )
    seen = trained_on(sample.task, store.runs(), store.edges("lineage"), zoo)
    known, vectors = embedded(store, probes.sha256, [e for e in admitted(zoo, query) if e.id not in seen])
    if not known:
        raise NotFoundError(
            f"none of {len(zoo)} experts has an embedding and has not been trained on this very task; "
            "register another one"
        )
    kept, stands_for = collapse(known, vectors @ vectors.T)
    experts, vectors = [known[i] for i in kept], vectors[kept]
    usable = {e.id for e in experts}
    evidence = {e: found for e, found in stored_evidence(store, sample).items() if e in usable}
    return Search(
        store=store,
        prober=prober,
        probes=probes,
        sample=sample,
        query=query,
        experts=experts,
        vectors=vectors,
        similarity=vectors @ vectors.T,
        evidence=evidence,
        stands_for=stands_for,
    )


def _run_landmarks(search: Search) -> None:
    """Run cheap experts that cover the graph; half of the budget is kept for promising ones."""
    wanted = min(LANDMARKS, (search.query.budget + 1) // 2)
    for place in choose_landmarks(search.experts, search.similarity, LANDMARKS):
        if search.left <= 0 or len(search.evidence) >= wanted:
            return
        if search.experts[place].id not in search.evidence:
            search.run(place)


def _affinity(search: Search) -> Array:
    """Return the cosine of each expert's embedding with the task's, which is stored.

    Every expert that was run serves as a landmark.
    """
    landmarks = [
        Landmark(
            task_features=search.prober.features(expert, search.sample.inputs),
            probe_features=search.prober.features(expert, search.probes),
            accuracy=search.evidence[expert.id].accuracy,
        )
        for expert in search.experts
        if expert.id in search.evidence
    ]
    vector = embed_task(landmarks, search.sample.labels)
    if vector is None:
        return np.zeros(len(search.experts))
    search.store.put_embedding(
        Embedding(
            owner=search.sample.task.id,
            kind="task",
            probe_set=search.probes.sha256,
            method=TASK_METHOD,
            version=TASK_VERSION,
            vector=vector,
            seed=SKETCH_SEED,
            n=len(search.sample.labels),
        )
    )
    return np.asarray(search.vectors @ (vector / np.linalg.norm(vector)), dtype=np.float64)


def _run_promising(search: Search, affinity: Array) -> None:
    """Run the expert with the best expected improvement, again and again, within the budget."""
    while search.left > 0 and search.open_places():
        belief = _believe(search, affinity)
        gain = expected_improvement(belief.state, belief.best_seen)
        search.run(max(search.open_places(), key=lambda i: float(gain[i])))


def _believe(search: Search, affinity: Array) -> Belief:
    """Return what is believed about every expert after the evidence so far."""
    places = [i for i, e in enumerate(search.experts) if e.id in search.evidence]
    results = {
        e: found
        for e, found in measured(search.store, search.sample.task).items()
        if e in {x.id for x in search.experts}
    }
    if not places and not results:
        raise SourceError("no expert could be run: " + "; ".join(search.unusable.values()))
    found = [search.evidence[search.experts[i].id] for i in places]
    n = len(search.sample.labels)
    odds = np.array([log_odds(f.accuracy, n) for f in found])
    values = 0.5 * (standardised(np.array([f.logme for f in found])) + standardised(odds))
    state = posterior(search.similarity, standardised(affinity), places, values)
    shift = fine_tuning_shift(search.store) if places else Shift()
    if not places:
        odds = np.array([log_odds(accuracy, count) for accuracy, count, _ in results.values()])
        values = np.zeros(len(odds))
    return Belief(
        state=state,
        calibration=calibrate(values, odds, n),
        best_seen=float(values.max()),
        affinity=affinity,
        measured=results,
        shift=shift,
    )


def _baseline(sample: Sample) -> Baseline:
    """Return what a ridge classifier reaches on the raw input, leave one out."""
    modality = modalities[sample.inputs.modality]
    raw = modality.raw_features([modality.decode(item) for item in sample.inputs.items])
    return Baseline(name=BASELINE, predicted=ridge_accuracy(raw, sample.labels))
