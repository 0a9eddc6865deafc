"""What is known about experts on other tasks, as arrays: results, scores, similarities, covariates."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import UNKNOWN, Expert, Score, Task
from expertise_graph.retrieval.covariates import Covariate, covariates_of
from expertise_graph.retrieval.knowledge import Knowledge
from expertise_graph.retrieval.reliability import NEARNESS, RIDGE
from expertise_graph.retrieval.results import Results, items_of, outcomes_of, results_by_task
from expertise_graph.retrieval.same_data import data_names
from expertise_graph.retrieval.scale import ASSUMED_ITEMS, are_fractions, on_open_scale
from expertise_graph.retrieval.task_similarity import likeness_of, nearness_of, task_distances

Array = NDArray[np.float64]

SEEN = ("source_task", "trained_on")
"""Covariates that name a task whose labels the expert was trained on."""

ACCURACY = "accuracy"
"""The metric of what a query predicts."""


@dataclass(frozen=True, kw_only=True)
class History:
    """Results and scores of E experts on T tasks; NaN where there is none.

    Attributes:
        experts: E ids.
        tasks: T ids.
        outcomes: (E, T), higher is better, on a scale where differences add up (see `on_open_scale`).
        scores: (E, T) by estimator, higher is better; the unit of a task does not matter.
        likeness: (T, T) by source, similarity of tasks in [0, 1], ones on the diagonal, NaN unknown.
        covariates: of the experts.
        graph: (E, E) cosine of the experts' embeddings, zero where one has none, or None.
        fractional: (T,) whether outcomes are log-odds of fractions; None if all are.
        metrics: (T,) of the outcomes; None if all are accuracies.
        modalities: (T,) of the tasks; None if they have one.
        tested: (E, T) items that each outcome was measured on; any number if unknown.
        probed: (E, T) items that the accuracy of each probe was measured on.
        population: (E,) 1 for published models that results elsewhere tell of, 0 for the others; None if
            there is one population.
        gap: by how many deviations the published models are expected to be better where no task compares
            the two.
        data: (T,) what the data of each task is called, empty where no other task has the same; None where
            that is nowhere.
        claims: (E, T) what only authors of experts claim, in the unit of the outcomes; None without any.
    """

    experts: tuple[str, ...]
    tasks: tuple[str, ...]
    outcomes: Array
    scores: Mapping[str, Array] = field(default_factory=dict)
    likeness: Mapping[str, Array] = field(default_factory=dict)
    covariates: tuple[Covariate, ...] = ()
    graph: Array | None = None
    fractional: NDArray[np.bool_] | None = None
    metrics: tuple[str, ...] | None = None
    modalities: tuple[str, ...] | None = None
    tested: Array | float = np.inf
    probed: Array | float = np.inf
    population: NDArray[np.int64] | None = None
    gap: float = 0.0
    data: tuple[str, ...] | None = None
    claims: Array | None = None

    def accuracies(self, target: int) -> Array:
        """Return the log-odds (E, T) of accuracies on tasks of the target's modality; NaN for the others."""
        like = np.ones(len(self.tasks), dtype=bool) if self.fractional is None else self.fractional.copy()
        if self.metrics is not None:
            like &= np.array([metric == ACCURACY for metric in self.metrics], dtype=bool)
        if self.modalities is not None:
            like &= np.array([m == self.modalities[target] for m in self.modalities], dtype=bool)
        return np.where(like, self.outcomes, np.nan)

    def without(self, task: int) -> History:
        """Return the same with the results of one task hidden."""
        outcomes = self.outcomes.copy()
        outcomes[:, task] = np.nan
        return dataclasses.replace(self, outcomes=outcomes)

    def without_experts(self, rows: NDArray[np.bool_]) -> History:
        """Return the same with all results of some experts hidden; their covariates stay."""
        outcomes = self.outcomes.copy()
        outcomes[rows] = np.nan
        return dataclasses.replace(self, outcomes=outcomes)


def read_history(
    known: Knowledge,
    experts: Sequence[Expert],
    *,
    task: Task | None = None,
    graph: Array | None = None,
    vectors: Mapping[str, Array] | None = None,
    computed: bool = True,
) -> History:
    """Return what the registry knows about the experts, and about all others that have results.

    Where the experts are of one modality, what is known to be of another is left out: it says nothing of
    them.

    Args:
        known: the registry, and published models beside it.
        experts: come first, in this order.
        task: to be there even if nothing was measured on it.
        graph: cosine of the embeddings of the first so many experts; the rest have none.
        vectors: unit vectors of the tasks' embeddings, by task.
        computed: whether scores that earlier queries computed on `task` are included; a query brings those
            that fit it as evidence.
    """
    modality = _common({e.modality for e in experts})
    results, claimed, scores = _of_modality(known, modality)
    tasks = sorted({*results, *claimed, *(s.task for s in scores), *((task.id,) if task else ())})
    given = [e.id for e in experts]
    measured = {e for r in (*results.values(), *claimed.values()) for e in r.values}
    measured |= {s.expert for s in scores}
    ids = [*given, *sorted(measured - set(given))]
    scores = [s for s in scores if computed or task is None or s.task != task.id or not s.n]
    score_arrays = _scores(scores, ids, tasks)
    nodes, known_tasks = known.nodes(ids), known.tasks()
    given_task = [task] if task else []
    of_task = {t.id: t.modality for t in [*given_task, *known_tasks]}
    called = {t.id: t.name for t in [*known_tasks, *given_task]}
    values = _covariates(ids, nodes, known.covariates(ids))
    population, distances = known.population(ids), known.store.distances()
    nearness = nearness_of(ids, tasks, values, known_tasks, distances)
    if nearness is not None:
        score_arrays[NEARNESS] = nearness
    modalities = _modalities(tasks, of_task, results, nodes)
    oriented, tested = outcomes_of(results, ids, tasks), items_of(results, ids, tasks)
    columns = [on_open_scale(column, items) for column, items in zip(oriented.T, tested.T, strict=True)]
    fractional = np.array([are_fractions(column) for column in oriented.T], dtype=bool)
    return History(
        experts=tuple(ids),
        tasks=tuple(tasks),
        outcomes=np.stack(columns, axis=1) if tasks else oriented,
        scores=score_arrays,
        likeness=likeness_of(score_arrays, task_distances(distances, tasks), tasks, vectors or {}),
        covariates=_by_population(ids, values, population),
        graph=_padded(graph, len(ids)),
        fractional=fractional,
        metrics=tuple(results[t].metric if t in results else "" for t in tasks),
        modalities=modalities,
        tested=tested,
        probed=_probed(scores, ids, tasks),
        population=population,
        gap=known.gap(_in_order(ids, nodes), population),
        data=data_names([called.get(t, "") for t in tasks], modalities),
        claims=_claims(claimed, ids, tasks) if claimed else None,
    )


def _common(modalities: Set[str]) -> str:
    """Return the one modality among some, or unknown."""
    known = modalities - {UNKNOWN}
    return next(iter(known)) if len(known) == 1 else UNKNOWN


def _of_modality(
    known: Knowledge, modality: str
) -> tuple[dict[str, Results], dict[str, Results], list[Score]]:
    """Return measured and claimed results by task, and scores.

    What is of nodes known to be of another modality is left out, and claims in another metric than that of
    the results on a task.
    """
    edges, scores = known.results(), known.store.scores()
    if modality != UNKNOWN:
        nodes: list[Expert | Task] = [*known.store.experts(), *known.tasks()]
        others = {node.id for node in nodes if node.modality not in (modality, UNKNOWN)}
        edges = [e for e in edges if e.source not in others and e.target not in others]
        scores = [s for s in scores if s.expert not in others and s.task not in others]
    results = results_by_task(e for e in edges if not e.is_claim)
    metric = {task: found.metric for task, found in results.items()}
    claims = (e for e in edges if e.is_claim and metric.get(e.target, e.metric) == e.metric)
    return results, results_by_task(claims), scores


def _claims(claimed: Mapping[str, Results], ids: Sequence[str], tasks: Sequence[str]) -> Array:
    """Return what is claimed (E, T), all of it fractions, as log-odds; NaN where nothing is."""
    values, items = outcomes_of(claimed, ids, tasks), items_of(claimed, ids, tasks)
    return np.stack([on_open_scale(v, n) for v, n in zip(values.T, items.T, strict=True)], axis=1)


def trained_by_declaration(covariates: Mapping[str, Mapping[str, str | float]], task: Task) -> set[str]:
    """Return the experts whose covariates say that they were trained on the task, be it among other data."""
    names = {task.id.casefold(), task.name.casefold()}
    return {e for e, found in covariates.items() if any(names & _listed(found.get(name)) for name in SEEN)}


def _listed(value: str | float | None) -> set[str]:
    """Return the names that a cell holds: as it stands, and parted as people list them, whatever the case."""
    text = str("" if value is None else value).casefold()
    return {text.strip(), *(part.strip(" \t\"'[]()") for part in re.split(r"[;,|\n+]", text))} - {""}


def _scores(scores: Iterable[Score], ids: Sequence[str], tasks: Sequence[str]) -> dict[str, Array]:
    """Return the scores by estimator; where one was computed on several samples the largest counts."""
    rows, columns = {e: i for i, e in enumerate(ids)}, {t: j for j, t in enumerate(tasks)}
    arrays: dict[str, Array] = {}
    for score in sorted(scores, key=lambda s: (s.n, s.version, s.created_at)):
        array = arrays.setdefault(score.estimator, np.full((len(ids), len(tasks)), np.nan))
        array[rows[score.expert], columns[score.task]] = score.value
    return arrays


def _probed(scores: Iterable[Score], ids: Sequence[str], tasks: Sequence[str]) -> Array:
    """Return how many items each accuracy of a probe was measured on (E, T)."""
    probes = (
        dataclasses.replace(s, value=float(s.n or ASSUMED_ITEMS)) for s in scores if s.estimator == RIDGE
    )
    return _scores(probes, ids, tasks).get(RIDGE, np.full((len(ids), len(tasks)), np.nan))


def _modalities(
    tasks: Sequence[str],
    known: Mapping[str, str],
    results: Mapping[str, Results],
    experts: Iterable[Expert],
) -> tuple[str, ...]:
    """Return the modality of each task; that of the experts measured on it where only its name is known."""
    of_expert = {e.id: e.modality for e in experts}
    found = []
    for task in tasks:
        given = known.get(task, UNKNOWN)
        if given == UNKNOWN and task in results:
            given = _common({of_expert.get(e, UNKNOWN) for e in results[task].values})
        found.append(given)
    return tuple(found)


def _covariates(
    ids: Sequence[str], known: Iterable[Expert], given: Mapping[str, Mapping[str, str | float]]
) -> dict[str, dict[str, str | float]]:
    """Return what is written about each expert, the registry's own columns included."""
    nodes = {e.id: e for e in known}
    found: dict[str, dict[str, str | float]] = {}
    for expert in ids:
        own: dict[str, str | float] = {}
        node = nodes.get(expert)
        if node is not None:
            own = {"params": float(node.params), "dim": float(node.dim), "architecture": node.architecture}
            own |= {"base_model": node.base_model or "", "datasets": " ".join(node.datasets)}
            own |= {"released": _year(str(node.meta.get("released") or ""))}
            own = {name: value for name, value in own.items() if value and value != UNKNOWN}
        found[expert] = own | dict(given.get(expert, {}))
    return found


def _by_population(
    ids: Sequence[str],
    values: Mapping[str, Mapping[str, str | float]],
    population: NDArray[np.int64] | None,
) -> tuple[Covariate, ...]:
    """Return the covariates of each population, in its own units; NaN for the experts of the other."""
    if population is None:
        return covariates_of(ids, values)
    found: list[Covariate] = []
    for one in np.unique(population):
        inside = {e: values[e] for e, of in zip(ids, population, strict=True) if of == one}
        found += covariates_of(ids, inside)
    return tuple(found)


def _year(date: str) -> float:
    """Return the year of a date as it is written in ISO 8601, with the month as a fraction; 0 if none is."""
    match = re.match(r"(\d{4})(?:-(\d{2}))?", date)
    return float(match[1]) + (float(match[2] or 1) - 1.0) / 12.0 if match else 0.0


def _in_order(ids: Sequence[str], nodes: Iterable[Expert]) -> list[Expert | None]:
    """Return the node of each expert, None where it is not known."""
    by_id = {node.id: node for node in nodes}
    return [by_id.get(expert) for expert in ids]


def _padded(graph: Array | None, n: int) -> Array | None:
    """Return the cosines with rows of the identity for experts that have no embedding."""
    if graph is None:
        return None
    full = np.eye(n)
    full[: len(graph), : len(graph)] = graph
    return full
