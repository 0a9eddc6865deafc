"""The query replayed on the recorded zoo: the real engine, its runs answered from the record."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from expertise_graph.core.types import Edge, Embedding, Expert, ProbeSet, Query, Score, Task
from expertise_graph.data.dataset import Inputs
from expertise_graph.retrieval.evidence import (
    TASK_METHOD,
    TASK_VERSION,
    Evidence,
    Sample,
    embed_task,
    versions_of,
)
from expertise_graph.retrieval.knowledge import Knowledge
from expertise_graph.retrieval.posterior import Posterior, infer
from expertise_graph.retrieval.query import explore, open_search
from expertise_graph.retrieval.reliability import RIDGE
from expertise_graph.retrieval.results import Measured
from expertise_graph.retrieval.scale import log_odds
from expertise_graph.retrieval.search import ExpertSearch
from expertise_graph.store.store import Store

PROBES = "record"
VERSIONS = versions_of(Query().estimators)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Zoo:
    """One modality of the record: E experts and T tasks.

    Attributes:
        truth: (E, T) test accuracy after fine-tuning.
        scores: (E, T) by estimator.
        seen: (E, T) whether the expert was trained on the task's source.
        curves: (E, T) lists of validation accuracies, linear probe first.
        embeddings: (E, m); responses: (E, T, m).
    """

    modality: str
    experts: list[dict[str, str]]
    tasks: list[dict[str, str]]
    truth: Array
    scores: Mapping[str, Array]
    seen: NDArray[np.bool_]
    curves: list[list[list[float]]]
    embeddings: Array
    responses: Array

    def node(self, i: int) -> Expert:
        """Return an expert as the registry has it."""
        row = self.experts[i]
        return Expert(
            id=f"zoo:{row['expert']}", name=row["expert"], source="zoo", locator=row["expert"],
            modality=self.modality, architecture=row["architecture"], params=int(float(row["params"])),
            bytes=int(float(row["bytes"])), dim=int(float(row["dim"])), weights_sha=row["expert"],
            preprocessing_sha="record", license=row["license"], created_at=f"2026-01-01T00:00:{i:06d}",
        )  # fmt: skip

    def task(self, t: int) -> Task:
        """Return a task as the registry has it."""
        row = self.tasks[t]
        return Task(
            id=f"task:{row['task']}", name=row["task"], modality=self.modality,
            classes=tuple(map(str, range(int(row["classes"])))), n=int(row["n_train"]), locator="",
        )  # fmt: skip

    def items(self, t: int) -> int:
        """Return how many items the scores rest on."""
        return int(self.tasks[t]["n_train"]) + int(self.tasks[t]["n_val"])


def read(folder: Path, modality: str) -> Zoo:
    """Return the zoo of one modality from the record."""
    experts = [r for r in _rows(folder / "experts.csv") if r["modality"] == modality]
    tasks = [r for r in _rows(folder / "tasks.csv") if r["modality"] == modality]
    row, column = _places(experts, "expert"), _places(tasks, "task")
    truth = np.full((len(experts), len(tasks)), np.nan)
    curves: list[list[list[float]]] = [[[] for _ in tasks] for _ in experts]
    for r in _rows(folder / "truth.csv"):
        if r["expert"] in row and r["task"] in column and int(r["seed"]) == 0:
            i, t = row[r["expert"]], column[r["task"]]
            truth[i, t], curves[i][t] = float(r["value"]), json.loads(r["curve"])
    scores: dict[str, Array] = {}
    for r in _rows(folder / "scores.csv"):
        if r["expert"] in row and r["task"] in column and r["value"] != "":
            array = scores.setdefault(r["estimator"], np.full_like(truth, np.nan))
            array[row[r["expert"]], column[r["task"]]] = float(r["value"])
    seen = np.array([[e["source_task"] == t["task"] for t in tasks] for e in experts])
    return Zoo(
        modality=modality, experts=experts, tasks=tasks, truth=truth, scores=scores, seen=seen, curves=curves,
        embeddings=_tensor(folder / "embeddings.safetensors", modality),
        responses=_tensor(folder / "responses.safetensors", modality),
    )  # fmt: skip


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _places(rows: list[dict[str, str]], name: str) -> dict[str, int]:
    return {row[name]: i for i, row in enumerate(rows)}


def _tensor(path: Path, name: str) -> Array:
    with safe_open(path, "numpy") as tensors:
        found: Array = tensors.get_tensor(name).astype(np.float64)
        return found


@dataclass
class RecordRunner:
    """Answers from the record."""

    zoo: Zoo
    column: int
    probe_set: str = PROBES

    def __post_init__(self) -> None:
        self._row = {row["expert"]: i for i, row in enumerate(self.zoo.experts)}

    def run(self, expert: Expert, sample: Sample) -> Evidence:
        """Return the scores of an expert on the task."""
        return evidence(self.zoo, self._row[expert.name], self.column)

    def response(self, expert: Expert, sample: Sample) -> Any:
        """Return what the task looks like to the expert."""
        return self.zoo.responses[self._row[expert.name], self.column].astype(np.float32)

    def seconds(self, expert: Expert, sample: Sample) -> float:
        """Return what running the expert took when the record was made."""
        row = self.zoo.experts[self._row[expert.name]]
        return float(row["ms_per_sample"]) / 1000 * self.zoo.items(self.column)

    def latency(self, expert: Expert) -> None:
        """No query of the replay limits the latency."""

    def fetch(self, model: Expert) -> Expert:
        """No query of the replay downloads a model."""
        raise NotImplementedError(model.name)

    def prefetch(self, wanted: Sequence[Expert]) -> None:
        """No query of the replay downloads a model."""

    def evict(self, expert: Expert) -> int:
        """Delete nothing."""
        return 0


def evidence(zoo: Zoo, i: int, t: int) -> Evidence:
    """Return the scores of one expert on one task."""
    return {name: float(zoo.scores[name][i, t]) for name in VERSIONS}


def build(zoo: Zoo, folder: Path) -> None:
    """Write a registry with every expert, and with all results, scores and task embeddings."""
    store = Store(folder)
    with store.transaction():
        store.put_probe_set(
            ProbeSet(id=PROBES, name="record", version="1", modality=zoo.modality, n=384, license="mixed")
        )
        for i in range(len(zoo.experts)):
            store.put_expert(zoo.node(i))
            store.put_embedding(_embedding(zoo.node(i).id, "expert", zoo.embeddings[i]))
        for t in range(len(zoo.tasks)):
            store.put_task(zoo.task(t))
            rows = [i for i in range(len(zoo.experts)) if not zoo.seen[i, t]]
            accuracies = [zoo.scores[RIDGE][i, t] for i in rows]
            vector = embed_task([zoo.responses[i, t] for i in rows], accuracies)
            store.put_embedding(_embedding(zoo.task(t).id, "task", np.asarray(vector)))
            store.put_edges(_edge(zoo, i, t) for i in rows)
            store.put_scores(_score(zoo, i, t, name) for i in rows for name in VERSIONS)
        for i, row in enumerate(zoo.experts):
            if row["source_task"]:
                store.put_covariates(zoo.node(i).id, {"source_task": row["source_task"]}, "record")
    store.close()


def _embedding(owner: str, kind: str, vector: Array) -> Embedding:
    method, version = (TASK_METHOD, TASK_VERSION) if kind == "task" else ("debiased-cka-sketch", "1")
    return Embedding(
        owner=owner, kind=kind, probe_set=PROBES, method=method, version=version,
        vector=vector.astype(np.float32), seed=0, n=len(vector),
    )  # fmt: skip


def _edge(zoo: Zoo, i: int, t: int) -> Edge:
    return Edge(
        kind="transfer", source=zoo.node(i).id, target=zoo.task(t).id, weight=float(zoo.truth[i, t]),
        metric="accuracy", method="full", version="1", seed=0, n=int(zoo.tasks[t]["n_test"]),
    )  # fmt: skip


def _score(zoo: Zoo, i: int, t: int, name: str) -> Score:
    return Score(
        expert=zoo.node(i).id, task=zoo.task(t).id, estimator=name, version=VERSIONS[name],
        value=float(zoo.scores[name][i, t]), n=zoo.items(t), seed=0, seconds=0.0,
    )  # fmt: skip


def alone(store: Store, modality: str) -> Knowledge:
    """Return what is known without published models."""
    return Knowledge(store, None, modality)


# How a registry is read; benchmarks/catalogue puts published models beside it.
KNOWN = alone


def held_out(built: Path, folder: Path, task: str, *, history: bool, unmeasured: Sequence[str] = ()) -> Store:
    """Return a copy of the registry that knows nothing of one task, or of any, and no result of some."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(built, folder)
    with sqlite3.connect(folder / "registry.db") as db:
        where, given = ("= ?", [task]) if history else ("IS NOT NULL", [])
        db.execute(f"DELETE FROM edges WHERE kind = 'transfer' AND target {where}", given)
        db.execute(f"DELETE FROM scores WHERE task {where}", given)
        db.execute(f"DELETE FROM embeddings WHERE kind = 'task' AND owner {where}", given)
        db.executemany(
            "DELETE FROM edges WHERE kind = 'transfer' AND target = ?", [(other,) for other in unmeasured]
        )
    db.close()
    return Store(folder)


@dataclass(frozen=True)
class Answer:
    """What a replayed query said of the experts that could be asked about."""

    rows: list[int]
    mean: Array
    deviation: Array
    runs: int
    seconds: float


def replay(zoo: Zoo, store: Store, t: int, *, budget: int, race: int = 0, seed: int = 0) -> Answer:
    """Ask the engine about one task; `race` conditions on that many short fine-tunes."""
    start = time.perf_counter()
    return answer(zoo, opened(zoo, store, t, budget=budget, seed=seed), t, race=race, start=start)


def opened(zoo: Zoo, store: Store, t: int, *, budget: int, seed: int = 0) -> ExpertSearch:
    """Return a search of the engine for one task, its runs answered from the record."""
    labels = np.arange(zoo.items(t)) % int(zoo.tasks[t]["classes"])
    inputs = Inputs(items=(), modality=zoo.modality, sha256=f"record:{t}")
    sample = Sample(
        task=zoo.task(t),
        inputs=inputs,
        labels=labels,
        rows=np.arange(len(labels)),
        trained=int(zoo.tasks[t]["n_train"]),
        seed=seed,
    )
    return open_search(
        KNOWN(store, zoo.modality), sample, Query(budget=budget, seed=seed), runner=RecordRunner(zoo, t)
    )


def answer(zoo: Zoo, search: ExpertSearch, t: int, *, race: int = 0, start: float | None = None) -> Answer:
    """Return what a search finds; `start` is when the query began."""
    start = time.perf_counter() if start is None else start
    posterior = explore(search)
    if race:
        posterior = raced(zoo, search, posterior, t, race)
    row = {zoo.node(i).id: i for i in range(len(zoo.experts))}
    # Published models that are known beside the zoo were measured on none of its tasks.
    own = [i for i, e in enumerate(search.pool.experts) if e.id in row]
    return Answer(
        rows=[row[search.pool.experts[i].id] for i in own],
        mean=posterior.mean[own],
        deviation=np.sqrt(np.diag(posterior.covariance))[own],
        runs=search.ran,
        seconds=time.perf_counter() - start,
    )


def raced(zoo: Zoo, search: ExpertSearch, posterior: Posterior, t: int, k: int) -> Posterior:
    """Return the posterior after the first k were fine-tuned briefly, as in `expertise_graph.training.race`.

    All are trained for one epoch, the better half for three; what is seen is the validation part.
    """
    row = {zoo.node(i).id: i for i in range(len(zoo.experts))}
    items = int(zoo.tasks[t]["n_val"])
    entered = [int(i) for i in np.argsort(-posterior.mean, kind="stable")[:k]]
    reached: dict[int, list[float]] = {i: [] for i in entered}
    for epochs in (1, 3):
        for i in entered:
            reached[i].append(max(zoo.curves[row[search.pool.experts[i].id]][t][: epochs + 1]))
        gains = [log_odds(r[1], items) - log_odds(r[0], items) for r in reached.values() if len(r) > 1]
        lift = max(0.0, float(np.mean(gains))) if gains else 0.0
        results = {
            search.pool.experts[i].id: Measured(
                r[-1], items, "race", raced=True, lift=0.0 if len(r) > 1 else lift
            )
            for i, r in reached.items()
        }
        posterior = infer(search.with_results(results))
        entered = sorted(entered, key=lambda i: -float(posterior.mean[i]))[: max(1, (len(entered) + 1) // 2)]
    return posterior
