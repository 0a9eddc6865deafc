"""What running an expert on a task tells: three scores of its frozen features."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from expertise_graph.data.base import Inputs
from expertise_graph.probing import Prober
from expertise_graph.retrieval.cost import Timings, cached, predicted_seconds
from expertise_graph.retrieval.task_embedding import respond
from expertise_graph.store import Store
from expertise_graph.transferability import (
    decompose,
    estimators,
    kernel_target_alignment,
    logme,
    ridge_accuracy,
)
from expertise_graph.types import Expert, FloatArray, IntArray, Score, Task

LOGME, RIDGE, ALIGNMENT = "logme", "ridge_accuracy", "kernel_target_alignment"
VERSIONS = {name: estimators[name].version for name in (LOGME, RIDGE, ALIGNMENT)}


@dataclass(frozen=True)
class Evidence:
    """Scores of one expert on the task sample."""

    logme: float
    accuracy: float
    alignment: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The labelled items that experts are run on; `inputs.sha256` stands for items and labels."""

    task: Task
    inputs: Inputs
    labels: IntArray
    seed: int


class Runner(Protocol):
    """Runs experts on a task; the one of a query is `ProbeRunner`."""

    def run(self, expert: Expert, sample: Sample) -> Evidence:
        """Return the scores of an expert.

        Raises:
            SourceError, UntrustedError, NotFoundError: when it cannot be run.
        """

    def response(self, expert: Expert, sample: Sample) -> FloatArray:
        """Return what the task looks like to an expert that was run, (m,): see `task_embedding.respond`."""

    def seconds(self, expert: Expert, sample: Sample) -> float:
        """Return how long running an expert is expected to take."""


@dataclass(frozen=True, kw_only=True)
class ProbeRunner:
    """Runs experts on this machine; scores are stored.

    Attributes:
        store: where scores go.
        prober: gives features, from its cache where it has them.
        probes: the probe set that experts are embedded on; its hash is its id.
        timings: how long experts took before.
    """

    store: Store
    prober: Prober
    probes: Inputs
    timings: Timings

    def run(self, expert: Expert, sample: Sample) -> Evidence:
        """Run an expert on the sample, store its scores and return them."""
        start = time.perf_counter()
        space = decompose(self.prober.features(expert, sample.inputs))
        evidence = Evidence(
            logme=logme(space, sample.labels),
            accuracy=ridge_accuracy(space, sample.labels),
            alignment=kernel_target_alignment(space, sample.labels),
        )
        seconds = time.perf_counter() - start
        values = {LOGME: evidence.logme, RIDGE: evidence.accuracy, ALIGNMENT: evidence.alignment}
        self.store.put_scores(
            Score(
                expert=expert.id,
                task=sample.task.id,
                estimator=name,
                version=VERSIONS[name],
                value=value,
                n=len(sample.labels),
                seed=sample.seed,
                seconds=seconds,
            )
            for name, value in values.items()
        )
        return evidence

    def response(self, expert: Expert, sample: Sample) -> FloatArray:
        """Return the response of an expert that was run; its features are in the cache."""
        features = self.prober.features(expert, sample.inputs)
        return respond(features, sample.labels, self.prober.features(expert, self.probes))

    def seconds(self, expert: Expert, sample: Sample) -> float:
        """Return how long running an expert is expected to take on this machine."""
        if cached(expert, sample, self.store.features):
            return 0.0
        return predicted_seconds(expert, len(sample.inputs.items), self.timings)


def stored_evidence(store: Store, sample: Sample) -> dict[str, Evidence]:
    """Return the evidence of earlier queries with the same sample, by expert."""
    found: dict[str, dict[str, float]] = {}
    for score in store.scores(sample.task.id):
        if VERSIONS.get(score.estimator) == score.version and _same_sample(score, sample):
            found.setdefault(score.expert, {})[score.estimator] = score.value
    complete = {e: v for e, v in found.items() if len(v) == len(VERSIONS)}
    return {e: Evidence(v[LOGME], v[RIDGE], v[ALIGNMENT]) for e, v in complete.items()}


def _same_sample(score: Score, sample: Sample) -> bool:
    return (score.n, score.seed) == (len(sample.labels), sample.seed)


@dataclass(frozen=True)
class Measured:
    """A result of fine-tuning from an expert on the very task."""

    accuracy: float
    n: int
    origin: str


def measured(store: Store, task: Task) -> dict[str, Measured]:
    """Return the accuracies that were measured on the task, by expert; of several the latest counts."""
    edges = [e for e in store.edges("transfer", task.id) if e.target == task.id and e.metric == "accuracy"]
    return {
        e.source: Measured(e.weight, e.n or _ASSUMED_ITEMS, e.run or str(e.meta.get("origin", e.method)))
        for e in edges
    }


# Of an imported accuracy whose number of test items is not told.
_ASSUMED_ITEMS = 200


def as_matrix(evidence: dict[str, Evidence], experts: tuple[str, ...], which: str) -> FloatArray:
    """Return one score of every expert (E,), NaN for those that were not run."""
    values = [getattr(evidence[e], which) if e in evidence else np.nan for e in experts]
    return np.array(values, dtype=np.float64)
