"""Searches whose candidates, history and evidence a test lays down; the runner and its registry are real."""

import time

import numpy as np

from expertise_graph.core.types import Query
from expertise_graph.data.dataset import Inputs
from expertise_graph.features.context import Context
from expertise_graph.features.cost import Timings
from expertise_graph.features.probing import Prober
from expertise_graph.retrieval.evidence import ProbeRunner, Sample
from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.knowledge import Knowledge
from expertise_graph.retrieval.reliability import ALIGNMENT, LOGME, RIDGE
from expertise_graph.retrieval.search import ExpertSearch, Pool
from tests.nodes import expert, task

ITEMS = 100


def sample(items=ITEMS):
    labels = np.arange(items) % 2
    inputs = Inputs(items=tuple(range(items)), modality="image", sha256="sample")
    rows = np.arange(len(labels))
    return Sample(task=task("pets"), inputs=inputs, labels=labels, rows=rows, trained=items, seed=0)


def runner(store):
    context = Context(store=store, prober=Prober(arrays=store.features))
    probes = Inputs(items=(), modality="image", sha256="probes")
    return ProbeRunner(
        context=context, probes=probes, estimators=Query().estimators, timings=Timings(context.store)
    )


def history(experts, outcomes=None, **more):
    """Return results (E, T) on other tasks; the column of the task itself is appended."""
    outcomes = np.zeros((len(experts), 0)) if outcomes is None else np.asarray(outcomes, dtype=float)
    return History(
        experts=tuple(e.id for e in experts),
        tasks=(*(f"task:{i}" for i in range(outcomes.shape[1])), "task:pets"),
        outcomes=np.concatenate([outcomes, np.full((len(experts), 1), np.nan)], axis=1),
        **more,
    )


def search(
    store,
    vectors,
    *,
    experts=None,
    outcomes=None,
    query=None,
    stands_for=None,
    excluded=None,
    measured=None,
):
    """Return a search among experts at the given places (N, m) of the graph; zero rows have none."""
    vectors = np.asarray(vectors, dtype=float)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.where(lengths > 0, lengths, 1.0)
    experts = experts or [expert(f"e{i}") for i in range(len(vectors))]
    graph = vectors @ vectors.T
    np.fill_diagonal(graph, 1.0)
    found = history(experts, outcomes, graph=graph)
    pool = Pool(
        experts=experts,
        vectors=vectors,
        stands_for=stands_for or {},
        history=found,
        target=len(found.tasks) - 1,
        distances=None,
        task_vectors={},
    )
    return ExpertSearch(
        runner=runner(store),
        sample=sample(),
        query=query or Query(),
        known=Knowledge(store, None, "image"),
        pool=pool,
        excluded=excluded or {},
        evidence={},
        results=measured or {},
        started=time.perf_counter(),
    )


def ran(found, **accuracies):
    """Lay down that experts were run: what they scored, and that all answer the probes alike."""
    for name, accuracy in accuracies.items():
        scores = {LOGME: 2 * accuracy - 1, RIDGE: accuracy, ALIGNMENT: accuracy}
        found.evidence[f"dir:{name}"] = scores
        found.responses[f"dir:{name}"] = np.zeros(found.pool.vectors.shape[1], dtype=np.float32)
    return found
