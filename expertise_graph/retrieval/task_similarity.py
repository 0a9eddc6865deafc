"""How alike tasks are, by scores, imported distances and embeddings; how near an expert's source data is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Task, TaskDistance
from expertise_graph.retrieval.factors import correlations
from expertise_graph.retrieval.reliability import UNRUN
from expertise_graph.retrieval.scale import without_outliers
from expertise_graph.store import Store

Array = NDArray[np.float64]


def task_vectors(store: Store, probe_set: str) -> dict[str, Array]:
    """Return the unit embedding of every task that has one on a probe set, by task."""
    _, owners, vectors = store.vectors(probe_set, "task")
    return {o: v / np.linalg.norm(v) for o, v in zip(owners, vectors.astype(np.float64), strict=True)}


def task_distances(given: Iterable[TaskDistance], tasks: Sequence[str]) -> Array | None:
    """Return imported distances (T, T), the mean of both directions and of all methods.

    NaN stands for those that are not known, and for those too large to be added up.
    """
    place = {t: i for i, t in enumerate(tasks)}
    pairs = [(place[d.task], place[d.other], d.value) for d in given if d.task in place and d.other in place]
    if not pairs:
        return None
    total, count = np.zeros((len(tasks),) * 2), np.zeros((len(tasks),) * 2)
    with np.errstate(invalid="ignore", over="ignore"):
        for a, b, value in pairs:
            for i, j in ((a, b), (b, a)):
                total[i, j] += value
                count[i, j] += 1
        return np.where((count > 0) & np.isfinite(total), total / count, np.nan)


def nearness_of(
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
