"""The back-test itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from expertise_graph.backtest.baselines import simple_methods
from expertise_graph.backtest.metrics import ORACLE, OURS, differences, mean_table, metrics_of
from expertise_graph.backtest.plan import Backtest, Plan, Task
from expertise_graph.errors import InvalidInputError
from expertise_graph.retrieval.history import History, standardised_columns
from expertise_graph.retrieval.portfolio import complementary, outcome_draws
from expertise_graph.retrieval.predict import Prediction, predict

Array = NDArray[np.float64]
Progress = Callable[[str, int, int], None]

_Z80 = 1.2816
_FEWEST = 3


def silent(label: str, done: int, total: int) -> None:
    """Show nothing."""


def backtest(history: History, plan: Plan, progress: Progress = silent) -> Backtest:
    """Predict each task from the others and compare with what was measured.

    Raises:
        InvalidInputError: when fewer than two tasks have results of at least three experts.
    """
    usable = np.flatnonzero((~np.isnan(plan.truth) & ~plan.seen).sum(axis=0) >= _FEWEST)
    if len(usable) < 2:
        raise InvalidInputError(
            f"{len(usable)} tasks have measured results of at least {_FEWEST} experts, a back-test needs "
            "two; add some with: expertise-graph history import FILE.csv, or warm-start"
        )
    if plan.only:
        usable = np.array([c for c in usable if history.tasks[c] in plan.only], dtype=np.intp)
    tasks = []
    for done, column in enumerate(usable, 1):
        tasks.append(_held_out(history, plan, int(column)))
        progress("back-test", done, len(usable))
    per_task = [metrics_of(task) for task in tasks]
    table = mean_table(per_task)
    return Backtest(by=plan.by, tasks=tuple(tasks), table=table, difference=differences(per_task, plan.seed))


def _held_out(history: History, plan: Plan, column: int) -> Task:
    rows = np.flatnonzero(~np.isnan(plan.truth[:, column]) & ~plan.seen[:, column])
    if plan.by == "task":
        found = predict(history, column)
        mean, deviation = found.mean, found.deviation
        first = _first(history, column, found, rows, plan.seed)
        known = history.without(column)
        others = simple_methods(known, plan, column)
    else:
        mean, deviation, others, first = _cold(history, plan, column)
    standing = standardised_columns(history.outcomes[rows][:, [column]])[0][:, 0]
    truth = plan.truth[rows, column]
    predicted = {OURS: mean[rows]} | {name: values[rows] for name, values in others.items()}
    return Task(
        id=history.tasks[column],
        name=plan.names.get(history.tasks[column], history.tasks[column]),
        experts=tuple(history.experts[i] for i in rows),
        truth=truth,
        predicted=predicted | {ORACLE: truth},
        standing=standing,
        low=mean[rows] - _Z80 * deviation[rows],
        high=mean[rows] + _Z80 * deviation[rows],
        first=tuple(first),
        baseline=plan.baseline.get(history.tasks[column]),
    )


def _first(history: History, column: int, found: Prediction, rows: NDArray[np.intp], seed: int) -> list[int]:
    draws = outcome_draws(
        history, column, mean=found.mean, covariance=found.covariance, noise=found.noise, seed=seed
    )
    return complementary(found.mean[rows], draws[:, rows], 5)


def _cold(history: History, plan: Plan, column: int) -> tuple[Array, Array, dict[str, Array], list[int]]:
    """Predict every expert as if nothing had ever been measured of it, one fold at a time."""
    fold = np.random.default_rng(plan.seed).permutation(len(history.experts)) % plan.folds
    mean, deviation = np.zeros(len(fold)), np.ones(len(fold))
    for number in range(plan.folds):
        inside = fold == number
        found = predict(history.without_experts(inside), column)
        mean[inside], deviation[inside] = found.mean[inside], found.deviation[inside]
    others = simple_methods(history.without_experts(np.ones(len(fold), dtype=bool)), plan, column)
    return mean, deviation, others, []
