"""The back-test itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Z_80, InvalidInputError, Progress, silent
from expertise_graph.retrieval.backtesting.baselines import MEAN, RANK, simple_methods
from expertise_graph.retrieval.backtesting.metrics import (
    ORACLE,
    OURS,
    RESERVED,
    differences,
    mean_table,
    metrics_of,
)
from expertise_graph.retrieval.backtesting.plan import Backtest, Plan, Task
from expertise_graph.retrieval.history import History, standardised_columns
from expertise_graph.retrieval.portfolio import complementary, outcome_draws
from expertise_graph.retrieval.predict import Prediction, predict

Array = NDArray[np.float64]

_FEWEST = 3
_SET = 5


@dataclass(frozen=True, kw_only=True)
class _Outlook:
    """What was predicted of all experts on one task."""

    mean: Array
    deviation: Array
    others: dict[str, Array]
    first: tuple[int, ...] = ()


def backtest(history: History, plan: Plan, progress: Progress = silent) -> Backtest:
    """Predict each task from the others and compare with what was measured.

    Raises:
        InvalidInputError: when fewer than two tasks have results of at least three experts, or a
            task asked for is not among them.
    """
    columns = _columns(history, plan)
    tasks = []
    for done, column in enumerate(columns, 1):
        tasks.append(_held_out(history, plan, column))
        progress("back-test", done, len(columns))
    per_task = [metrics_of(task) for task in tasks]
    return Backtest(
        by=plan.by,
        tasks=tuple(tasks),
        metrics=tuple(per_task),
        table=mean_table(per_task),
        difference=differences(per_task, plan.seed),
        folds=_folds_by_name(history, plan) if plan.by == "expert" else (),
    )


def _columns(history: History, plan: Plan) -> list[int]:
    """Return the tasks to hold out."""
    enough = (~np.isnan(plan.truth) & ~plan.seen).sum(axis=0) >= _FEWEST
    usable = [int(c) for c in np.flatnonzero(enough)]
    if len(usable) < 2:
        raise InvalidInputError(
            f"{len(usable)} of {len(history.tasks)} tasks have measured results of at least {_FEWEST} "
            "experts, a back-test needs two; add some with: expertise-graph history import FILE.csv, or "
            "warm-start"
        )
    names = {plan.names.get(history.tasks[c], history.tasks[c]): c for c in usable}
    for task in plan.only:
        if task not in {history.tasks[c] for c in usable}:
            raise InvalidInputError(
                f"{plan.names.get(task, task)} has measured results of fewer than {_FEWEST} experts that "
                f"were not trained on it; tasks to hold out are: {', '.join(sorted(names)[:5])}"
            )
    return [c for c in usable if not plan.only or history.tasks[c] in plan.only]


def _held_out(history: History, plan: Plan, column: int) -> Task:
    rows = np.flatnonzero(~np.isnan(plan.truth[:, column]) & ~plan.seen[:, column])
    look = _warm if plan.by == "task" else _cold
    found = look(history, plan, column, rows)
    mean, deviation, truth = found.mean[rows], found.deviation[rows], plan.truth[rows, column]
    others = {name: values[rows] for name, values in found.others.items() if name not in RESERVED}
    return Task(
        id=history.tasks[column],
        name=plan.names.get(history.tasks[column], history.tasks[column]),
        experts=tuple(history.experts[i] for i in rows),
        truth=truth,
        predicted={OURS: mean, **others, ORACLE: truth},
        standing=standardised_columns(history.outcomes[rows][:, [column]])[0][:, 0],
        low=mean - Z_80 * deviation,
        high=mean + Z_80 * deviation,
        first=found.first,
        baseline=plan.baseline.get(history.tasks[column]),
    )


def _warm(history: History, plan: Plan, column: int, rows: NDArray[np.intp]) -> _Outlook:
    """Predict from the experts' own results on the other tasks, and all else."""
    found = predict(history, column)
    return _Outlook(
        mean=found.mean,
        deviation=found.deviation,
        others=simple_methods(history.without(column), plan.parameters, column),
        first=_first(history, column, found, rows, plan.seed),
    )


def _first(
    history: History, column: int, found: Prediction, rows: NDArray[np.intp], seed: int
) -> tuple[int, ...]:
    draws = outcome_draws(
        history, column, mean=found.mean, covariance=found.covariance, noise=found.noise, seed=seed
    )
    return tuple(complementary(found.mean[rows], draws[:, rows], _SET))


def _cold(history: History, plan: Plan, column: int, rows: NDArray[np.intp]) -> _Outlook:
    """Predict every expert as if nothing had ever been measured of it, one fold at a time."""
    fold = fold_of_experts(len(history.experts), plan)
    mean, deviation = np.zeros(len(fold)), np.ones(len(fold))
    others: dict[str, Array] = {}
    for number in np.unique(fold[rows]):
        inside = fold == number
        known = history.without_experts(inside)
        found = predict(known, column)
        mean[inside], deviation[inside] = found.mean[inside], found.deviation[inside]
        for name, values in simple_methods(known.without(column), plan.parameters, column).items():
            # Of an expert without results there is no history mean.
            if name not in (MEAN, RANK):
                others.setdefault(name, np.zeros(len(fold)))[inside] = values[inside]
    return _Outlook(mean=mean, deviation=deviation, others=others)


def fold_of_experts(experts: int, plan: Plan) -> NDArray[np.int64]:
    """Return the fold of each expert, (E,), drawn by the plan's seed."""
    return np.random.default_rng(plan.seed).permutation(experts) % min(plan.folds, experts)


def _folds_by_name(history: History, plan: Plan) -> tuple[tuple[str, ...], ...]:
    fold = fold_of_experts(len(history.experts), plan)
    return tuple(tuple(history.experts[i] for i in np.flatnonzero(fold == n)) for n in np.unique(fold))
