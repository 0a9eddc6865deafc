"""How the predicted score of an expert on a task comes about, as contributions that add up."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import UNKNOWN, Expert, InvalidInputError, NotFoundError, Task, normal_cdf
from expertise_graph.data import plural_of
from expertise_graph.retrieval.answers import recall_answer
from expertise_graph.retrieval.candidates import embedded
from expertise_graph.retrieval.forecast import shares
from expertise_graph.retrieval.history import History, read_history
from expertise_graph.retrieval.knowledge import Knowledge
from expertise_graph.retrieval.predict import ExpertPrediction, predict
from expertise_graph.retrieval.reliability import AFFINITY, EXPECTED, LOGME, RIDGE
from expertise_graph.retrieval.results import measured
from expertise_graph.retrieval.scale import standardised_columns
from expertise_graph.retrieval.task_similarity import task_vectors

Array = NDArray[np.float64]

# Tasks and experts that are named: the first few carry nearly all of a prediction.
_LISTED = 5


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """One contribution: by how many standard deviations of the task's results it moves the prediction."""

    name: str
    moves: float


@dataclass(frozen=True, kw_only=True)
class Influence:
    """A task or an expert that contributed to the prediction.

    Attributes:
        likeness: of that task to this, or of that expert to this one.
        value: its standing there, in standard deviations of the task's results.
        moves: by how much it moves the prediction.
        self_reported: whether it is a result that only the expert's author claims.
    """

    name: str
    likeness: float | None
    value: float
    moves: float
    self_reported: bool = False


@dataclass(frozen=True, kw_only=True)
class EffectOfRunning:
    """What running the expert on the task would change.

    Attributes:
        deviation: of the prediction now, and after a run.
        becomes_first: probability that it would then be predicted best.
    """

    deviation: float
    deviation_after: float
    becomes_first: float


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The parts of one prediction; their sum is `predicted`, in standard deviations of the task's results.

    Attributes:
        rank: place in the latest query's answer, or before any query by what is known; None for one that is
            not in that answer.
        experts: how many were ranked there.
        queried_at: time of that query; None where there was none.
        measured: the standing of a result that was measured on this very task, if any; it is no part.
        result: what was measured, in words, as a query says it; None where no accuracy was.
        parts: own results on other tasks, those of experts with similar traits (covariates), similarity to
            what the task needs (affinity), scores; the largest first.
        tasks: results of this expert elsewhere that count most.
        others: experts that were scored on this task and count most for this one.
        traits: the covariates that tell good experts from others, and how much of that each explains.
        reliability: correlation with results that is expected of each score on this task.
    """

    task: Task
    expert: Expert
    predicted: float
    deviation: float
    rank: int | None
    experts: int
    queried_at: str | None
    measured: float | None
    result: str | None
    parts: tuple[Contribution, ...]
    tasks: tuple[Influence, ...]
    others: tuple[Influence, ...]
    traits: dict[str, float]
    reliability: dict[str, float]
    would: EffectOfRunning | None


def explain(known: Knowledge, probe_set: str, task: Task, expert: Expert) -> Explanation:
    """Explain the predicted score of an expert, or of a known model, on a task that the registry knows.

    Everything that is stored counts: results, scores of earlier queries, embeddings, covariates; and the
    published results.

    Raises:
        NotFoundError: when nothing at all is known of the task.
        InvalidInputError: when the expert takes inputs of another modality.
    """
    if UNKNOWN not in (task.modality, expert.modality) and task.modality != expert.modality:
        raise InvalidInputError(
            f"{task.name} holds {plural_of(task.modality)}, but {expert.short} takes "
            f"{plural_of(expert.modality)}: choose an expert for {plural_of(task.modality)}"
        )
    history = _history(known, probe_set, task, expert)
    target, row = history.tasks.index(task.id), history.experts.index(expert.id)
    scored = any((~np.isnan(a[:, target])).any() for a in history.scores.values())
    if not scored and history.claims is None and np.isnan(history.without(target).outcomes).all():
        raise NotFoundError(
            f"there is no evidence about {task.name!r} yet: no result, and no score of any expert; query its "
            "dataset first"
        )
    found = predict(history, target)
    names = known.names([*history.experts, *history.tasks])
    standing = standardised_columns(history.outcomes)[0][row, target]
    result = measured(known.store, task).get(expert.id)
    answer = recall_answer(known.store, task.id)
    rank: int | None = int((found.mean > found.mean[row]).sum()) + 1
    if answer is not None:
        # Constraints, memory and what an expert has seen decide there who is ranked at all.
        rank = answer.places.get(expert.id)
    return Explanation(
        task=task,
        expert=expert,
        predicted=float(found.mean[row]),
        deviation=float(found.deviation[row]),
        rank=rank,
        experts=len(found.mean) if answer is None else answer.experts,
        queried_at=None if answer is None else answer.at,
        measured=None if math.isnan(standing) else float(standing),
        result=None if result is None else result.text,
        parts=_parts(history, found, target, row),
        tasks=_tasks(history, target, row, names),
        others=_others(history, found, row, names),
        traits=dict(found.forecast.covariates),
        reliability=_reliability(history, found, target),
        would=_would(found, row),
    )


def _history(known: Knowledge, probe_set: str, task: Task, expert: Expert) -> History:
    """Return what is known, the affinity of every embedded expert to the task included."""
    store = known.store
    others = {task.modality, expert.modality} - {known.modality}
    zoo = [*known.experts, *store.experts(where={"modality": others})]
    experts, vectors = embedded(store, probe_set, zoo)
    tasks = task_vectors(store, probe_set)
    placed = {e.id for e in experts}
    rest = [e for e in zoo if e.id not in placed]
    graph = vectors @ vectors.T
    history = read_history(known, [*experts, *rest], task=task, graph=graph, vectors=tasks)
    if task.id not in tasks:
        return history
    affinity = np.full_like(history.outcomes, np.nan)
    for column, name in enumerate(history.tasks):
        if name in tasks:
            affinity[: len(experts), column] = vectors @ tasks[name]
    return dataclasses.replace(history, scores={**history.scores, AFFINITY: affinity})


def _parts(history: History, found: ExpertPrediction, target: int, row: int) -> tuple[Contribution, ...]:
    before = found.forecast
    by_results, _, claimed = shares(history, target, row)
    by_claims = float(by_results[claimed].sum())
    run = np.flatnonzero(~np.isnan(found.scores.values))
    by_scores = found.weights[row] * found.surprise
    mine = float(by_scores[run == row].sum())
    moves = {
        "its results on other tasks": before.alone[row] - by_claims,
        **({"what its card claims on other tasks": by_claims} if claimed.any() else {}),
        "experts with similar covariates": before.mean[row] - before.alone[row],
        "affinity": found.after_unrun[row] - before.mean[row],
        "its scores on this task": mine,
        "scores of other experts on this task": float(by_scores.sum()) - mine,
    }
    parts = [Contribution(name=name, moves=float(value)) for name, value in moves.items()]
    return tuple(sorted(parts, key=lambda part: -abs(part.moves)))


def _tasks(history: History, target: int, row: int, names: Mapping[str, str]) -> tuple[Influence, ...]:
    moves, standing, claimed = shares(history, target, row)
    values = standardised_columns(history.without(target).outcomes)[0][row]
    likeness = [source[target] for source in history.likeness.values()]
    carriers = [
        Influence(
            name=names.get(history.tasks[t], history.tasks[t]),
            likeness=_mean([float(source[t]) for source in likeness]),
            value=float(standing[t] if claimed[t] else values[t]),
            moves=float(moves[t]),
            self_reported=bool(claimed[t]),
        )
        for t in np.argsort(-np.abs(moves), kind="stable")
        if moves[t] != 0
    ]
    return tuple(carriers[:_LISTED])


def _mean(values: list[float]) -> float | None:
    known = [v for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else None


def _others(
    history: History, found: ExpertPrediction, row: int, names: Mapping[str, str]
) -> tuple[Influence, ...]:
    seen = np.flatnonzero(~np.isnan(found.scores.values))
    moves = found.weights[row] * found.surprise
    carriers = [
        Influence(
            name=names.get(history.experts[seen[k]], history.experts[seen[k]]),
            likeness=None if history.graph is None else float(history.graph[row, seen[k]]),
            value=float(found.scores.values[seen[k]]),
            moves=float(moves[k]),
        )
        for k in np.argsort(-np.abs(moves), kind="stable")
        if seen[k] != row
    ]
    return tuple(carriers[:_LISTED])


def _reliability(history: History, found: ExpertPrediction, target: int) -> dict[str, float]:
    """Return the reliability of the estimators that were used on the target."""
    both = {**found.unrun.estimators, **found.scores.estimators}
    return {n: r for n, r in both.items() if (~np.isnan(history.scores[n][:, target])).any()}


def _would(found: ExpertPrediction, row: int) -> EffectOfRunning | None:
    """Return what scores of this expert would change; None where it has some."""
    if not np.isnan(found.scores.values[row]):
        return None
    variance = float(found.covariance[row, row])
    reliability = max(found.scores.estimators.get(name, EXPECTED[name]) for name in (LOGME, RIDGE))
    noise = (1.0 - reliability**2) / reliability**2
    explained = variance**2 / (variance + noise)
    others = np.delete(found.mean, row)
    margin = float(found.mean[row] - others.max()) if len(others) else 0.0
    chance = float(normal_cdf(margin / math.sqrt(max(explained, 1e-12))))
    return EffectOfRunning(
        deviation=math.sqrt(variance + found.noise),
        deviation_after=math.sqrt(variance - explained + found.noise),
        becomes_first=chance,
    )
