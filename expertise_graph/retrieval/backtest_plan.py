"""What a back-test holds out, what it returns, and the baseline that gains are measured from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import UNKNOWN, Expert, InvalidInputError, listed, number
from expertise_graph.registry import File, read_table
from expertise_graph.retrieval.history import SEEN, History, read_history, trained_by_declaration
from expertise_graph.retrieval.knowledge import Knowledge
from expertise_graph.retrieval.results import Results, outcomes_of, results_by_task
from expertise_graph.store import Store

Array = NDArray[np.float64]

# Names of covariates that give the number of parameters, as published tables call it.
SIZES = ("params", "parameters", "number_of_parameters", "num_parameters", "size")


@dataclass(frozen=True, kw_only=True)
class HeldOutTask:
    """One held-out task: the experts with a result on it, and what each method predicted.

    Attributes:
        experts: n ids.
        truth: (n,) results in their own unit, higher is better.
        predicted: (n,) by method.
        standing: (n,) results in units of the task's deviation.
        low, high: (n,) ends of the 80 % interval of the standing.
        listing: (n,) by what a query sorts them, the highest first.
        first: places of the complementary set, in order.
        baseline: what starting from the vanilla model gives, or None.
    """

    id: str
    name: str
    experts: tuple[str, ...]
    truth: Array
    predicted: Mapping[str, Array]
    standing: Array
    low: Array
    high: Array
    listing: Array
    first: tuple[int, ...]
    baseline: float | None = None

    @property
    def pick(self) -> str:
        """The expert that is predicted to be best."""
        return self.experts[int(self.listing.argmax())]

    @property
    def best(self) -> str:
        """The expert that was best."""
        return self.experts[int(self.truth.argmax())]


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """Metrics by method, mean over tasks, and how far ours is above each of the others.

    Attributes:
        by: task, or expert for experts without any history.
        tasks: the held-out tasks.
        metrics: metric by method, of each task.
        table: metric by method, mean over the tasks that have it.
        difference: by method and metric, 95 % paired bootstrap interval of ours minus the method.
        folds: ids of the experts held out together; empty where only tasks are held out.
    """

    by: str
    tasks: tuple[HeldOutTask, ...]
    metrics: tuple[Mapping[str, Mapping[str, float]], ...]
    table: Mapping[str, Mapping[str, float]]
    difference: Mapping[str, Mapping[str, tuple[float, float]]]
    folds: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class BacktestPlan:
    """What is held out, and what is left out of the comparison.

    Attributes:
        by: task or expert.
        folds: of experts, where those are held out.
        seed: of the folds and the bootstrap.
        names: of the tasks, by id.
        parameters: (E,) number of parameters, NaN where unknown.
        truth: (E, T) results in their own unit, higher is better.
        only: tasks to hold out; all if empty.
        seen: (E, T) true where an expert was trained on the task.
        baseline: value of the vanilla start by task id, higher is better.
    """

    by: str = "task"
    folds: int = 5
    seed: int = 0
    names: Mapping[str, str]
    parameters: Array
    truth: Array
    seen: NDArray[np.bool_]
    only: Sequence[str] = ()
    baseline: Mapping[str, float] = field(default_factory=dict)


def read_plan(
    store: Store,
    *,
    by: str = "task",
    folds: int = 5,
    seed: int = 0,
    baseline: Mapping[str, float] | None = None,
    only: Sequence[str] = (),
) -> tuple[History, BacktestPlan]:
    """Return everything the registry knows, and the plan of a back-test over it.

    Args:
        store: the registry; only read.
        by: task or expert.
        folds: of experts.
        seed: of the folds and intervals.
        baseline: value of the vanilla start by task id or name, as measured.
        only: ids of the tasks to hold out; all if empty.

    Raises:
        InvalidInputError: when the baseline fits none of the tasks.
    """
    results = results_by_task(edge for edge in store.edges("transfer") if not edge.is_claim)
    history = read_history(Knowledge(store, None, UNKNOWN, claims=False), [])
    names = store.names(history.tasks)
    plan = BacktestPlan(
        by=by,
        folds=folds,
        seed=seed,
        names=names,
        parameters=_parameters(store, history),
        truth=outcomes_of(results, history.experts, history.tasks),
        only=tuple(only),
        seen=_seen(store, history),
        baseline=oriented_baseline(baseline or {}, results, names),
    )
    return history, plan


def _parameters(store: Store, history: History) -> Array:
    nodes: dict[str, Expert] = {e.id: e for e in store.experts(where={"id": history.experts})}
    written = store.covariates(history.experts, names=SIZES)
    found = []
    for expert in history.experts:
        given = [written.get(expert, {}).get(name) for name in SIZES]
        size = next((v for v in given if isinstance(v, float)), 0.0)
        found.append(size or (float(nodes[expert].params) if expert in nodes else 0.0))
    return np.array([size if size > 0 else np.nan for size in found])


def _seen(store: Store, history: History) -> NDArray[np.bool_]:
    """Tell which expert was trained on which task: by a run, a declared covariate, or an ancestor."""
    seen = np.zeros((len(history.experts), len(history.tasks)), dtype=bool)
    covariates = store.covariates(names=SEEN)
    tasks = {t.id: t for t in store.tasks()}
    for column, task in enumerate(history.tasks):
        direct = {r.child for r in store.runs(task=task) if r.child}
        direct |= trained_by_declaration(covariates, tasks[task]) if task in tasks else set()
        found = store.with_descendants(direct)
        seen[:, column] = [expert in found for expert in history.experts]
    return seen


def read_baseline(file: File, column: str = "value") -> dict[str, float]:
    """Return the value of the vanilla start by task, as a table has it.

    Args:
        file: CSV or TSV with the columns `task` and `column`.
        column: where the values are.

    Raises:
        InvalidInputError: when a column is not there, a value is no number, or a task comes twice.
    """
    table = read_table(file)
    value_column = table.find("value", {"value": column})
    task_column = table.find("task", {})
    if task_column is None or value_column is None:
        raise InvalidInputError(f"{table.name} has no column 'task'; {table.there_are}; rename the one meant")
    found: dict[str, float] = {}
    texts = zip(table.texts(task_column), table.texts(value_column, numbers=True), strict=True)
    for line, (task, text) in zip(table.lines, texts, strict=True):
        value = number(text)
        if not task or value is None:
            raise InvalidInputError(f"{table.name} line {line}: {task!r} with {column} {text!r}; correct it")
        if task in found:
            raise InvalidInputError(f"{table.name} line {line}: {task!r} comes twice; keep one line per task")
        found[task] = value
    return found


def oriented_baseline(
    given: Mapping[str, float], results: Mapping[str, Results], names: Mapping[str, str]
) -> dict[str, float]:
    """Return the baseline by task id, such that higher is better as in the results.

    Args:
        given: by task id or name; other tasks than those with results are ignored.
        results: by task id.
        names: of the tasks, by id.

    Raises:
        InvalidInputError: when it names none of the tasks, or is in percent and the results are not.
    """
    found: dict[str, float] = {}
    for task, measured in results.items():
        name = next((n for n in (task, names.get(task, task)) if n in given), None)
        if name is None:
            continue
        value = given[name]
        fractions = all(0.0 <= v <= 1.0 for v in measured.values.values())
        if fractions and 1.0 < value <= 100.0 and not measured.lower_is_better:
            raise InvalidInputError(
                f"the baseline of {name} is {value:g} but its results are fractions; divide it by 100"
            )
        found[task] = -value if measured.lower_is_better else value
    if given and not found:
        some = sorted(names.get(t, t) for t in results)
        raise InvalidInputError(f"the baseline names none of the tasks with results: {listed(some)}")
    return found
