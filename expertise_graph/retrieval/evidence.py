"""What running an expert on a task tells: LogME and leave-one-out accuracy on frozen features."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from expertise_graph.data.base import Inputs
from expertise_graph.probing import Prober
from expertise_graph.store import Store
from expertise_graph.transferability import LOGME_VERSION, RIDGE_VERSION, decompose, logme, ridge_accuracy
from expertise_graph.types import Expert, IntArray, Score, Task

LOGME, RIDGE = "logme", "ridge_accuracy"

_IMAGINARY_RUNS = 3
_TASK_DEVIATION = 0.8


@dataclass(frozen=True)
class Evidence:
    """Scores of one expert on the task sample."""

    logme: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The labelled items that experts are run on; `inputs.sha256` stands for items and labels."""

    task: Task
    inputs: Inputs
    labels: IntArray
    seed: int


def stored_evidence(store: Store, sample: Sample) -> dict[str, Evidence]:
    """Return the evidence of earlier queries with the same sample, by expert."""
    wanted = {(LOGME, LOGME_VERSION), (RIDGE, RIDGE_VERSION)}
    found: dict[str, dict[str, float]] = {}
    for score in store.scores(sample.task.id):
        if (score.estimator, score.version) in wanted and _same_sample(score, sample):
            found.setdefault(score.expert, {})[score.estimator] = score.value
    return {e: Evidence(v[LOGME], v[RIDGE]) for e, v in found.items() if len(v) == len(wanted)}


def _same_sample(score: Score, sample: Sample) -> bool:
    return (score.n, score.seed) == (len(sample.labels), sample.seed)


def gather(store: Store, prober: Prober, expert: Expert, sample: Sample) -> Evidence:
    """Run an expert on the sample, store its scores and return them.

    Raises:
        SourceError: when the expert cannot be run.
    """
    start = time.perf_counter()
    space = decompose(prober.features(expert, sample.inputs))
    evidence = Evidence(logme(space, sample.labels), ridge_accuracy(space, sample.labels))
    seconds = time.perf_counter() - start
    pairs = ((LOGME, LOGME_VERSION, evidence.logme), (RIDGE, RIDGE_VERSION, evidence.accuracy))
    store.put_scores(
        Score(
            expert=expert.id,
            task=sample.task.id,
            estimator=name,
            version=version,
            value=value,
            n=len(sample.labels),
            seed=sample.seed,
            seconds=seconds,
        )
        for name, version, value in pairs
    )
    return evidence


def measured(store: Store, task: Task) -> dict[str, tuple[float, int, str]]:
    """Return accuracy, number of test items and run of fine-tunes on the task, by expert.

    Of several runs from one expert the latest counts.
    """
    edges = [e for e in store.edges("transfer", task.id) if e.target == task.id and e.metric == "accuracy"]
    return {e.source: (e.weight, e.n or 1, e.run or "") for e in edges}


@dataclass(frozen=True)
class Shift:
    """By how many log-odds fine-tuning exceeds the probe accuracy on another task: mean, deviation.

    `runs` is how many measured runs that rests on; without any, both are zero and predictions are
    those of a probe.
    """

    mean: float = 0.0
    deviation: float = 0.0
    runs: int = 0


def fine_tuning_shift(store: Store) -> Shift:
    """Return what the registry's runs, on whatever task, say about probe and fine-tuned accuracy.

    Tasks differ in this by about `_TASK_DEVIATION`; the mean is shrunk towards zero by
    `_IMAGINARY_RUNS`, and what is not known about it widens the intervals.
    """
    gains = []
    for edge in store.edges("transfer"):
        before = [s for s in store.scores(edge.target) if s.expert == edge.source and s.estimator == RIDGE]
        if before and edge.metric == "accuracy" and edge.n:
            probe = before[-1]
            gains.append(log_odds(edge.weight, edge.n) - log_odds(probe.value, probe.n))
    if not gains:
        return Shift()
    weight = len(gains) + _IMAGINARY_RUNS
    mean = sum(gains) / weight
    squares = sum((gain - mean) ** 2 for gain in gains) + _IMAGINARY_RUNS * _TASK_DEVIATION**2
    return Shift(mean, math.sqrt(squares / weight), len(gains))


def log_odds(accuracy: float, n: int) -> float:
    """Return the log-odds of an accuracy on n items, with half an item on either side."""
    hits = accuracy * n
    return math.log((hits + 0.5) / (n - hits + 0.5))
