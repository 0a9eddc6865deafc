"""Measured results: of every task by expert, and those on the very task of a query."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Edge, Task, count
from expertise_graph.retrieval.scale import ASSUMED_ITEMS, log_odds
from expertise_graph.store import Store

Array = NDArray[np.float64]

RACE, AUTO = "race", "auto"
SHORT = (RACE, AUTO)
"""Methods of results on validation items, most of them of short fine-tunes."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Measured results of one task in its own unit, and the items that each was measured on, by expert."""

    metric: str
    lower_is_better: bool
    values: Mapping[str, float]
    items: Mapping[str, int]

    @property
    def oriented(self) -> dict[str, float]:
        """The values such that higher is better."""
        return {e: -v if self.lower_is_better else v for e, v in self.values.items()}


def results_by_task(edges: Iterable[Edge]) -> dict[str, Results]:
    """Return the results of every task that has any, from transfer edges."""
    by_task: dict[str, list[Edge]] = defaultdict(list)
    for edge in edges:
        by_task[edge.target].append(edge)
    found = {task: results_of(edges) for task, edges in by_task.items()}
    return {task: results for task, results in found.items() if results is not None}


def results_of(edges: Iterable[Edge]) -> Results | None:
    """Return the results of one task by expert, of the metric that most experts have.

    Repeats with different seeds are averaged by their items; of repeats without a seed, whose settings must
    have differed, the best counts. A trial of a race or a search counts where there is no other.
    """
    scored = [e for e in edges if e.metric is not None]
    if not scored:
        return None
    experts_with = Counter(m for m, _ in {(e.metric, e.source) for e in scored})
    metric = min(experts_with, key=lambda m: (-experts_with[m], m != "accuracy", m or ""))
    lower = any(e.metric == metric and e.meta.get("lower_is_better") for e in scored)
    by_expert: dict[str, list[Edge]] = defaultdict(list)
    for edge in scored:
        if edge.metric == metric:
            by_expert[edge.source].append(edge)
    found = {expert: _one_value(edges, lower) for expert, edges in by_expert.items()}
    return Results(
        metric=str(metric),
        lower_is_better=lower,
        values={expert: value for expert, (value, _) in found.items()},
        items={expert: items for expert, (_, items) in found.items()},
    )


def _one_value(edges: Sequence[Edge], lower: bool) -> tuple[float, int]:
    kept = [e for e in edges if e.method not in SHORT]
    if not kept:
        furthest = max(int(e.meta.get("rung", 0)) for e in edges)
        kept = [e for e in edges if int(e.meta.get("rung", 0)) == furthest]
    best = min if lower else max
    by_seed: dict[int | None, list[Edge]] = defaultdict(list)
    for edge in kept:
        by_seed[edge.seed].append(edge)
    chosen = [best(edges, key=lambda e: e.weight) for edges in by_seed.values()]
    items = [edge.n or ASSUMED_ITEMS for edge in chosen]
    return float(np.average([edge.weight for edge in chosen], weights=items)), sum(items)


def outcomes_of(results: Mapping[str, Results], ids: Sequence[str], tasks: Sequence[str]) -> Array:
    """Return the results (E, T) in their own unit, higher is better; NaN where there is none."""
    return _array({task: found.oriented for task, found in results.items()}, ids, tasks)


def items_of(results: Mapping[str, Results], ids: Sequence[str], tasks: Sequence[str]) -> Array:
    """Return how many items each result was measured on (E, T); NaN where there is none."""
    return _array({task: found.items for task, found in results.items()}, ids, tasks)


def _array(given: Mapping[str, Mapping[str, float]], ids: Sequence[str], tasks: Sequence[str]) -> Array:
    array = np.full((len(ids), len(tasks)), np.nan)
    row = {e: i for i, e in enumerate(ids)}
    for column, task in enumerate(tasks):
        for expert, value in given.get(task, {}).items():
            array[row[expert], column] = value
    return array


@dataclass(frozen=True)
class Measured:
    """A result of fine-tuning from an expert on the very task of a query.

    Attributes:
        accuracy: as it was measured on `n` items.
        origin: the run, or the file, that it is from; of a race how far the run went.
        raced: whether it is of a short fine-tune, on validation items.
        lift: log-odds that the later rungs of the race added for the experts that went on.
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
    """Return the accuracies that were measured on a task, by expert.

    Of several full fine-tunes the latest counts; where there is none, the last rung of a race. Trials of a
    tuning search are left out: its settings differ; and what is only claimed.

    Args:
        store: the registry.
        task: of the results.
        rungs: how many rungs of races are looked at; None for all.
    """
    edges = [
        e
        for e in store.edges("transfer", target=task.id)
        if e.metric == "accuracy" and e.method != AUTO and not e.is_claim
    ]
    full = {
        e.source: Measured(e.weight, e.n or ASSUMED_ITEMS, e.run or str(e.meta.get("origin", e.method)))
        for e in edges
        if not _of_rung(e)
    }
    raced = [e for e in edges if _of_rung(e) and (rungs is None or int(e.meta["rung"]) < rungs)]
    return _raced(raced) | full


def results_of_removed(store: Store, task: Task) -> list[str]:
    """Say, in a line or none, that removed experts have results on a task, and how these count again."""
    sources = [edge.source for edge in store.edges("transfer", target=task.id)]
    registered = {expert.id for expert in store.experts(where={"id": set(sources)})}
    left = [source for source in sources if source not in registered]
    if not left:
        return []
    gone = list(dict.fromkeys(left))
    kept = store.removed(gone)
    places = [place for expert in gone if (place := kept.get(expert, {}).get("from"))]
    it = "it" if len(gone) == 1 else "them"
    again = f"; register {it} again with: expertise-graph register {shlex.join(places)}" if places else ""
    what = f"{count(len(left), 'result')} of {count(len(gone), 'removed expert')}"
    return [f"{what} on this task {'is' if len(left) == 1 else 'are'} not counted{again}"]


def _of_rung(edge: Edge) -> bool:
    """Tell whether an edge is of a race here; an imported one has no rung."""
    return edge.method == RACE and "rung" in edge.meta


def _raced(edges: Sequence[Edge]) -> dict[str, Measured]:
    """Return the last rung of each expert, comparable to those that went further."""
    last = {e.source: e for e in sorted(edges, key=lambda e: int(e.meta["rung"]))}
    return {
        expert: Measured(e.weight, e.n or ASSUMED_ITEMS, _how_far(e), raced=True, lift=_lift(edges, e))
        for expert, e in last.items()
    }


def _how_far(edge: Edge) -> str:
    after = f"after {count(int(edge.meta['epochs']), 'epoch')}"
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
    return log_odds(edge.weight, edge.n or ASSUMED_ITEMS)
