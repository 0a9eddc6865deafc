"""What is known about experts on other tasks, as arrays: results, scores, similarities, covariates."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Expert, Score, Task
from expertise_graph.retrieval.covariates import Covariate, covariates_of
from expertise_graph.retrieval.reliability import NEARNESS
from expertise_graph.retrieval.results import outcomes_of, results_by_task
from expertise_graph.retrieval.scale import are_fractions, on_open_scale
from expertise_graph.retrieval.task_similarity import likeness_of, nearness_of, task_distances
from expertise_graph.store import Store

Array = NDArray[np.float64]

SEEN = ("source_task", "trained_on")
"""Covariates that name a task whose labels the expert was trained on."""


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
    """

    experts: tuple[str, ...]
    tasks: tuple[str, ...]
    outcomes: Array
    scores: Mapping[str, Array] = field(default_factory=dict)
    likeness: Mapping[str, Array] = field(default_factory=dict)
    covariates: tuple[Covariate, ...] = ()
    graph: Array | None = None
    fractional: NDArray[np.bool_] | None = None

    @property
    def accuracies(self) -> Array:
        """(E, T) log-odds of the outcomes that are fractions; NaN for the others."""
        if self.fractional is None:
            return self.outcomes
        return np.where(self.fractional, self.outcomes, np.nan)

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
    store: Store,
    experts: Sequence[Expert],
    *,
    task: str | None = None,
    graph: Array | None = None,
    vectors: Mapping[str, Array] | None = None,
    computed: bool = True,
) -> History:
    """Return what the registry knows about the experts, and about all others that have results.

    Args:
        store: the registry.
        experts: come first, in this order.
        task: id of a task to be there even if nothing was measured on it.
        graph: cosine of the embeddings of the first so many experts; the rest have none.
        vectors: unit vectors of the tasks' embeddings, by task.
        computed: whether scores that earlier queries computed on `task` are included; a query brings those
            that fit it as evidence.
    """
    results, scores = results_by_task(store.edges("transfer")), store.scores()
    tasks = sorted({*results, *(s.task for s in scores), *([task] if task else [])})
    given = [e.id for e in experts]
    known = {e for r in results.values() for e in r.values} | {s.expert for s in scores}
    ids = [*given, *sorted(known - set(given))]
    score_arrays = _scores([s for s in scores if computed or s.task != task or not s.n], ids, tasks)
    values = _covariates(ids, store.experts(where={"id": ids}), store.covariates(ids))
    distances = store.distances()
    nearness = nearness_of(ids, tasks, values, store.tasks(), distances)
    if nearness is not None:
        score_arrays[NEARNESS] = nearness
    oriented = outcomes_of(results, ids, tasks)
    return History(
        experts=tuple(ids),
        tasks=tuple(tasks),
        outcomes=np.stack([on_open_scale(column) for column in oriented.T], axis=1) if tasks else oriented,
        scores=score_arrays,
        likeness=likeness_of(score_arrays, task_distances(distances, tasks), tasks, vectors or {}),
        covariates=covariates_of(ids, values),
        graph=_padded(graph, len(ids)),
        fractional=np.array([are_fractions(column) for column in oriented.T], dtype=bool),
    )


def trained_by_declaration(covariates: Mapping[str, Mapping[str, str | float]], task: Task) -> set[str]:
    """Return the experts whose covariates say that they were trained on the task."""
    names = {task.id, task.name}
    return {e for e, found in covariates.items() if any(found.get(name) in names for name in SEEN)}


def _scores(scores: Iterable[Score], ids: Sequence[str], tasks: Sequence[str]) -> dict[str, Array]:
    """Return the scores by estimator; where one was computed on several samples the largest counts."""
    rows, columns = {e: i for i, e in enumerate(ids)}, {t: j for j, t in enumerate(tasks)}
    arrays: dict[str, Array] = {}
    for score in sorted(scores, key=lambda s: (s.n, s.version, s.created_at)):
        array = arrays.setdefault(score.estimator, np.full((len(ids), len(tasks)), np.nan))
        array[rows[score.expert], columns[score.task]] = score.value
    return arrays


def _covariates(
    ids: Sequence[str], known: Iterable[Expert], given: Mapping[str, Mapping[str, str | float]]
) -> dict[str, dict[str, str | float]]:
    """Return what is written about each expert, the registry's own columns included."""
    nodes = {e.id: e for e in known}
    found: dict[str, dict[str, str | float]] = {}
    for expert in ids:
        own: dict[str, str | float] = {}
        node = nodes.get(expert)
        if node is not None and node.runnable:
            own = {"params": float(node.params), "dim": float(node.dim), "architecture": node.architecture}
            own |= {"base_model": node.base_model} if node.base_model else {}
            own |= {"datasets": " ".join(node.datasets)} if node.datasets else {}
        found[expert] = own | dict(given.get(expert, {}))
    return found


def _padded(graph: Array | None, n: int) -> Array | None:
    """Return the cosines with rows of the identity for experts that have no embedding."""
    if graph is None:
        return None
    full = np.eye(n)
    full[: len(graph), : len(graph)] = graph
    return full
