"""From the registry to arrays: every result, score, covariate and similarity that a prediction may use."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Edge, Expert, Score, Task, TaskDistance
from expertise_graph.retrieval.covariates import traits_of
from expertise_graph.retrieval.factors import correlations
from expertise_graph.retrieval.history import History, are_fractions, on_open_scale, without_outliers
from expertise_graph.retrieval.reliability import NEARNESS, UNRUN
from expertise_graph.store import Store

Array = NDArray[np.float64]

RACE, AUTO = "race", "auto"
SHORT = (RACE, AUTO)
"""Methods of results on validation items, most of them of short fine-tunes."""
SEEN = ("source_task", "trained_on")
"""Covariates that name a task whose labels the expert was trained on."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Measured results of one task in its own unit, by expert."""

    metric: str
    lower_is_better: bool
    values: Mapping[str, float]

    @property
    def oriented(self) -> dict[str, float]:
        """The values such that higher is better."""
        return {e: -v if self.lower_is_better else v for e, v in self.values.items()}


def results_of(edges: Iterable[Edge]) -> Results | None:
    """Return the results of one task by expert, of the metric that most experts have.

    Repeats with different seeds are averaged; of repeats without a seed, whose settings must
    have differed, the best counts. A trial of a race or a search counts where there is no other.
    """
    measured = [e for e in edges if e.metric is not None]
    if not measured:
        return None
    experts_with = Counter(m for m, _ in {(e.metric, e.source) for e in measured})
    metric = min(experts_with, key=lambda m: (-experts_with[m], m != "accuracy", m or ""))
    lower = any(e.metric == metric and e.meta.get("lower_is_better") for e in measured)
    by_expert: dict[str, list[Edge]] = defaultdict(list)
    for edge in measured:
        if edge.metric == metric:
            by_expert[edge.source].append(edge)
    values = {expert: _one_value(found, lower) for expert, found in by_expert.items()}
    return Results(metric=str(metric), lower_is_better=lower, values=values)


def _one_value(edges: Sequence[Edge], lower: bool) -> float:
    kept = [e for e in edges if e.method not in SHORT]
    if not kept:
        furthest = max(int(e.meta.get("rung", 0)) for e in edges)
        kept = [e for e in edges if int(e.meta.get("rung", 0)) == furthest]
    best = min if lower else max
    by_seed: dict[int | None, list[float]] = defaultdict(list)
    for edge in kept:
        by_seed[edge.seed].append(edge.weight)
    return float(np.mean([best(found) for found in by_seed.values()]))


def read_history(
    store: Store,
    experts: Sequence[Expert],
    *,
    task: str | None = None,
    graph: Array | None = None,
    vectors: Mapping[str, Array] | None = None,
) -> History:
    """Return what the registry knows of the experts, and of all others that have results.

    Args:
        store: the registry.
        experts: come first, in this order.
        task: id of a task to be there even if nothing was measured on it.
        graph: cosine of the embeddings of the first so many experts; the rest have none.
        vectors: unit vectors of the tasks' embeddings, by task.
    """
    results = _results(store.edges("transfer"))
    scores = store.scores()
    tasks = sorted({*results, *(s.task for s in scores), *([task] if task else [])})
    given = [e.id for e in experts]
    known = {e for r in results.values() for e in r.values} | {s.expert for s in scores}
    ids = [*given, *sorted(known - set(given))]
    nodes = {e.id: e for e in store.experts()}
    score_arrays = _scores(scores, ids, tasks)
    covariates = _covariates(ids, nodes, store.covariates())
    given_distances = store.distances()
    distances = task_distances(given_distances, tasks)
    nearness = _nearness(ids, tasks, covariates, store.tasks(), given_distances)
    if nearness is not None:
        score_arrays[NEARNESS] = nearness
    likeness = likeness_of(score_arrays, distances, tasks, vectors or {})
    oriented = outcomes_of(results, ids, tasks)
    return History(
        experts=tuple(ids),
        tasks=tuple(tasks),
        outcomes=np.stack([on_open_scale(column) for column in oriented.T], axis=1) if tasks else oriented,
        scores=score_arrays,
        likeness=likeness,
        traits=traits_of(ids, covariates),
        graph=_padded(graph, len(ids)),
        fractional=np.array([are_fractions(column) for column in oriented.T], dtype=bool),
    )


def measured_tasks(store: Store) -> dict[str, Results]:
    """Return the results of every task that has any, by task."""
    return _results(store.edges("transfer"))


def task_vectors(store: Store, probe_set: str) -> dict[str, Array]:
    """Return the unit embedding of every task that has one on a probe set, by task."""
    _, owners, vectors = store.vectors(probe_set, "task")
    return {o: v / np.linalg.norm(v) for o, v in zip(owners, vectors.astype(np.float64), strict=True)}


def seen_labels(covariates: Mapping[str, Mapping[str, str | float]], task: Task) -> set[str]:
    """Return the experts whose covariates say that they were trained on the task."""
    names = {task.id, task.name}
    return {e for e, found in covariates.items() if any(found.get(name) in names for name in SEEN)}


def _results(edges: Iterable[Edge]) -> dict[str, Results]:
    by_task: dict[str, list[Edge]] = defaultdict(list)
    for edge in edges:
        by_task[edge.target].append(edge)
    found = {task: results_of(edges) for task, edges in by_task.items()}
    return {task: results for task, results in found.items() if results is not None}


def outcomes_of(results: Mapping[str, Results], ids: Sequence[str], tasks: Sequence[str]) -> Array:
    """Return the results (E, T) in their own unit, higher is better; NaN where there is none."""
    outcomes = np.full((len(ids), len(tasks)), np.nan)
    row = {e: i for i, e in enumerate(ids)}
    for column, task in enumerate(tasks):
        if task not in results:
            continue
        for expert, value in results[task].oriented.items():
            outcomes[row[expert], column] = value
    return outcomes


def _scores(scores: Iterable[Score], ids: Sequence[str], tasks: Sequence[str]) -> dict[str, Array]:
    """Return the scores by estimator; where one was computed on several samples the largest counts."""
    rows, columns = {e: i for i, e in enumerate(ids)}, {t: j for j, t in enumerate(tasks)}
    arrays: dict[str, Array] = {}
    for score in sorted(scores, key=lambda s: (s.n, s.version, s.created_at)):
        array = arrays.setdefault(score.estimator, np.full((len(ids), len(tasks)), np.nan))
        array[rows[score.expert], columns[score.task]] = score.value
    return arrays


def _covariates(
    ids: Sequence[str], nodes: Mapping[str, Expert], given: Mapping[str, Mapping[str, str | float]]
) -> dict[str, dict[str, str | float]]:
    """Return what is written about each expert, the registry's own columns included."""
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


def task_distances(given: Iterable[TaskDistance], tasks: Sequence[str]) -> Array | None:
    """Return imported distances (T, T), NaN where unknown, the mean of both directions and of all methods."""
    place = {t: i for i, t in enumerate(tasks)}
    pairs = [(place[d.task], place[d.other], d.value) for d in given if d.task in place and d.other in place]
    if not pairs:
        return None
    total, count = np.zeros((len(tasks),) * 2), np.zeros((len(tasks),) * 2)
    for a, b, value in pairs:
        for i, j in ((a, b), (b, a)):
            total[i, j] += value
            count[i, j] += 1
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, total / count, np.nan)


def _nearness(
    ids: Sequence[str],
    tasks: Sequence[str],
    covariates: Mapping[str, Mapping[str, str | float]],
    known: Iterable[Task],
    given: Iterable[TaskDistance],
) -> Array | None:
    """Return minus the distance of each expert's source data to each task, where imported ones tell."""
    names = {name: t.id for t in known for name in (t.id, t.name)}
    distance: dict[tuple[str, str], float] = {}
    for d in given:
        distance[d.task, d.other] = d.value
        distance.setdefault((d.other, d.task), d.value)
    if not distance:
        return None
    sources = [_source(covariates[e], names, {a for a, _ in distance}) for e in ids]
    found = [[-distance.get((s, t), np.nan) if s else np.nan for t in tasks] for s in sources]
    array = np.array(found, dtype=np.float64).reshape(len(ids), len(tasks))
    return None if np.isnan(array).all() else array


def _source(covariates: Mapping[str, str | float], names: Mapping[str, str], near: set[str]) -> str | None:
    """Return the task that a covariate names as the expert's source; the more specific name counts."""
    found = [names[str(v)] for v in covariates.values() if str(v) in names and names[str(v)] in near]
    return min(found, key=lambda t: (Counter(found)[t], t)) if found else None


def likeness_of(
    scores: Mapping[str, Array], distances: Array | None, tasks: Sequence[str], vectors: Mapping[str, Array]
) -> dict[str, Array]:
    """Return how alike tasks are, by source: how scores order the experts, distances, embeddings."""
    likeness: dict[str, Array] = {}
    profiles = [_profile(array) for name, array in scores.items() if name not in UNRUN]
    if profiles:
        likeness["scores"] = _with_ones(_mean_known(profiles))
    if distances is not None:
        off = distances[~np.eye(len(distances), dtype=bool)]
        scale = float(np.nanmedian(off)) if not np.isnan(off).all() else 1.0
        likeness["distance"] = _with_ones(_above_usual(np.exp(-np.square(distances / (scale or 1.0)))))
    if any(t in vectors for t in tasks):
        width = len(next(iter(vectors.values())))
        rows = np.stack([vectors.get(t, np.full(width, np.nan)) for t in tasks])
        likeness["embedding"] = _with_ones((rows @ rows.T).clip(min=0.0))
    return likeness


def _above_usual(likeness: Array) -> Array:
    """Return by how much more tasks are alike than usual, as a share of the most they could be.

    A distance has no natural value for unrelated tasks; what all pairs share is in the common factor.
    """
    usual = float(np.nanmean(likeness[~np.eye(len(likeness), dtype=bool)]))
    return (likeness - usual) / (1.0 - usual) if usual < 1.0 else likeness


def _profile(scores: Array) -> Array:
    """Return the correlation of tasks over what an estimator says of the experts, at least zero."""
    correlation, weight = correlations(without_outliers(scores))
    return np.where(weight > 0, correlation.clip(min=0.0), np.nan)


def _mean_known(arrays: Sequence[Array]) -> Array:
    """Return the mean over the arrays that know an entry; NaN where none does."""
    stacked = np.stack(arrays)
    known = ~np.isnan(stacked)
    total = np.where(known, stacked, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def _with_ones(matrix: Array) -> Array:
    full = matrix.copy()
    np.fill_diagonal(full, 1.0)
    return full


def _padded(graph: Array | None, n: int) -> Array | None:
    """Return the cosines with rows of the identity for experts that have no embedding."""
    if graph is None:
        return None
    full = np.eye(n)
    full[: len(graph), : len(graph)] = graph
    return full
