"""What running an expert on a task tells: three scores of its frozen features."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from expertise_graph.core import Edge, Expert, FloatArray, IntArray, Score, Task
from expertise_graph.data import Inputs
from expertise_graph.features import Prober, Timings, cached, predicted_seconds
from expertise_graph.retrieval.history_loader import AUTO, RACE
from expertise_graph.retrieval.reliability import ALIGNMENT, LOGME, RIDGE
from expertise_graph.retrieval.scale import log_odds
from expertise_graph.retrieval.task_embedding import TASK_METHOD, TASK_VERSION, respond
from expertise_graph.store import Store, features_key, response_key
from expertise_graph.transferability import (
    decompose,
    estimators,
    kernel_target_alignment,
    logme,
    ridge_accuracy,
)

VERSIONS = {name: estimators[name].version for name in (LOGME, RIDGE, ALIGNMENT)}


@dataclass(frozen=True)
class Evidence:
    """Scores of one expert on the task sample."""

    logme: float
    accuracy: float
    alignment: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The labelled items that experts are run on; `inputs.sha256` stands for items and labels.

    Attributes:
        digests: of the contents of all items of the task, where they are known.
    """

    task: Task
    inputs: Inputs
    labels: IntArray
    seed: int
    digests: tuple[str, ...] = ()


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
        """Run an expert on the sample, store the task and its scores, and return them."""
        start = time.perf_counter()
        space = decompose(self.prober.features(expert, sample.inputs))
        evidence = Evidence(
            logme=logme(space, sample.labels),
            accuracy=ridge_accuracy(space, sample.labels),
            alignment=kernel_target_alignment(space, sample.labels),
        )
        seconds = time.perf_counter() - start
        values = {LOGME: evidence.logme, RIDGE: evidence.accuracy, ALIGNMENT: evidence.alignment}
        self.store.put_task(sample.task)
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
        """Return the response of an expert that was run; its features are in the cache, or it is itself."""
        keys = (features_key(expert, inputs.sha256) for inputs in (sample.inputs, self.probes))
        key = response_key(TASK_METHOD, TASK_VERSION, *keys)
        stored = self.store.features.get(key)
        if stored is not None:
            return stored
        features = self.prober.features(expert, sample.inputs)
        found = respond(features, sample.labels, self.prober.features(expert, self.probes))
        self.store.features.put(key, found)
        return found

    def seconds(self, expert: Expert, sample: Sample) -> float:
        """Return how long running an expert is expected to take on this machine."""
        if cached(expert, sample.inputs, self.store.features):
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
    """A result of fine-tuning from an expert on the very task.

    Attributes:
        accuracy: as it was measured on `n` items.
        origin: the run, or the file, that it is from; of a race how far the run went.
        raced: whether it is of a short fine-tune, on validation items.
        lift: log-odds that the later rungs of the race added to those that went on.
    """

    accuracy: float
    n: int
    origin: str
    raced: bool = False
    lift: float = 0.0

    @property
    def text(self) -> str:
        """One line for people."""
        if self.raced:
            return f"raced {self.accuracy:.3f} on {self.n} validation items {self.origin}"
        return f"measured {self.accuracy:.3f} on {self.n} test items in {self.origin}"


def measured(store: Store, task: Task, *, rungs: int | None = None) -> dict[str, Measured]:
    """Return the accuracies that were measured on the task, by expert.

    Of several full fine-tunes the latest counts; where there is none, the last rung of a race, of
    which only the first `rungs` are looked at. Trials of a search are left out: its settings differ.
    """
    found = store.edges("transfer", task.id)
    edges = [e for e in found if e.target == task.id and e.metric == "accuracy" and e.method != AUTO]
    full = {
        e.source: Measured(e.weight, e.n or _ASSUMED_ITEMS, e.run or str(e.meta.get("origin", e.method)))
        for e in edges
        if not _of_rung(e)
    }
    raced = [e for e in edges if _of_rung(e) and (rungs is None or int(e.meta["rung"]) < rungs)]
    return _raced(raced) | full


def _of_rung(edge: Edge) -> bool:
    """Tell whether an edge is of a race here; an imported one has no rung."""
    return edge.method == RACE and "rung" in edge.meta


def _raced(edges: Sequence[Edge]) -> dict[str, Measured]:
    """Return the last rung of each expert, comparable to those that went further."""
    last = {e.source: e for e in sorted(edges, key=lambda e: int(e.meta["rung"]))}
    return {
        expert: Measured(e.weight, e.n or _ASSUMED_ITEMS, _how_far(e), raced=True, lift=_lift(edges, e))
        for expert, e in last.items()
    }


def _how_far(edge: Edge) -> str:
    epochs = int(edge.meta["epochs"])
    after = f"after {epochs} epoch{'' if epochs == 1 else 's'}"
    endings = {"diverged": f"{after}, then diverged", "failed": "(chance: its training failed)"}
    return endings.get(str(edge.meta["status"]), after)


def _lift(edges: Sequence[Edge], edge: Edge) -> float:
    """Return what training on added, in log-odds, to the mean expert that left the rung of `edge` behind.

    Else an expert would seem the worse for having been trained less. As the best epoch is kept, training
    on does no harm; a loss is noise.
    """
    if edge.meta["status"] != "done":
        return 0.0
    done = [e for e in edges if e.meta["status"] == "done" and e.seed == edge.seed]
    top = max(int(e.meta["rung"]) for e in done)
    before = {e.source: e for e in done if e.meta["rung"] == edge.meta["rung"]}
    after = {e.source: e for e in done if e.meta["rung"] == top}
    gains = [_odds(after[x]) - _odds(before[x]) for x in before if x in after]
    return max(0.0, float(np.mean(gains))) if gains else 0.0


def _odds(edge: Edge) -> float:
    return log_odds(edge.weight, edge.n or _ASSUMED_ITEMS)


# Of an imported accuracy whose number of test items is not told.
_ASSUMED_ITEMS = 200


def as_matrix(evidence: dict[str, Evidence], experts: tuple[str, ...], which: str) -> FloatArray:
    """Return one score of every expert (E,), NaN for those that were not run."""
    values = [getattr(evidence[e], which) if e in evidence else np.nan for e in experts]
    return np.array(values, dtype=np.float64)
