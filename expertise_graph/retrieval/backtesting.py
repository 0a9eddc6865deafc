"""Back-tests: measured results predicted from everything else, by the posterior and by simple methods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Z_80, InvalidInputError, Progress, count, listed, silent
from expertise_graph.retrieval.backtest_plan import Backtest, BacktestPlan, HeldOutTask
from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.predict import complementary, listing, outcome_draws, predict
from expertise_graph.retrieval.ranking_metrics import (
    ORACLE,
    OURS,
    RESERVED,
    differences,
    mean_table,
    metrics_of,
    weighted_tau,
)
from expertise_graph.retrieval.reliability import UNRUN
from expertise_graph.retrieval.scale import standardised_columns

Array = NDArray[np.float64]

PARAMETERS, MEAN, RANK = "parameters", "history mean", "history mean rank"
ESTIMATOR = "best single estimator"

# Experts with a result that a task needs to be held out, or to count in choosing the best estimator: of two a
# ranking is right or wrong by chance.
_FEWEST = 3
# Experts in the complementary set: as many as gain@5 looks at.
_SET = 5


@dataclass(frozen=True, kw_only=True)
class _Outlook:
    """What was predicted of all experts on one task, and how those with a result on it are listed."""

    mean: Array
    deviation: Array
    others: dict[str, Array]
    listing: Array
    first: tuple[int, ...] = ()


def backtest(history: History, plan: BacktestPlan, progress: Progress = silent) -> Backtest:
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


def _columns(history: History, plan: BacktestPlan) -> list[int]:
    """Return the tasks to hold out."""
    enough = (~np.isnan(plan.truth) & ~plan.seen).sum(axis=0) >= _FEWEST
    usable = [int(c) for c in np.flatnonzero(enough)]
    if len(usable) < 2:
        raise InvalidInputError(
            f"{len(usable)} of {count(len(history.tasks), 'task')} with measured results of at least "
            f"{_FEWEST} experts, a back-test needs two; import results (history import), or fine-tune "
            "experts (warm-start)"
        )
    names = {plan.names.get(history.tasks[c], history.tasks[c]): c for c in usable}
    for task in plan.only:
        if task not in {history.tasks[c] for c in usable}:
            raise InvalidInputError(
                f"{plan.names.get(task, task)} has measured results of fewer than {_FEWEST} experts that "
                f"were not trained on it; hold out one of: {listed(sorted(names))}"
            )
    return [c for c in usable if not plan.only or history.tasks[c] in plan.only]


def _held_out(history: History, plan: BacktestPlan, column: int) -> HeldOutTask:
    rows = np.flatnonzero(~np.isnan(plan.truth[:, column]) & ~plan.seen[:, column])
    look = _warm if plan.by == "task" else _cold
    found = look(history, plan, column, rows)
    mean, deviation, truth = found.mean[rows], found.deviation[rows], plan.truth[rows, column]
    others = {name: values[rows] for name, values in found.others.items() if name not in RESERVED}
    return HeldOutTask(
        id=history.tasks[column],
        name=plan.names.get(history.tasks[column], history.tasks[column]),
        experts=tuple(history.experts[i] for i in rows),
        truth=truth,
        predicted={OURS: mean, **others, ORACLE: truth},
        standing=standardised_columns(history.outcomes[rows][:, [column]])[0][:, 0],
        low=mean - Z_80 * deviation,
        high=mean + Z_80 * deviation,
        listing=found.listing,
        first=found.first,
        baseline=plan.baseline.get(history.tasks[column]),
    )


def _warm(history: History, plan: BacktestPlan, column: int, rows: NDArray[np.intp]) -> _Outlook:
    """Predict from the experts' own results on the other tasks, and all else."""
    found = predict(history, column)
    mean = found.mean[rows]
    draws = outcome_draws(mean, found.covariance[np.ix_(rows, rows)], found.noise, plan.seed)
    return _Outlook(
        mean=found.mean,
        deviation=found.deviation,
        others=simple_methods(history.without(column), plan.parameters, column),
        listing=listing(mean, draws),
        first=tuple(complementary(mean, draws, _SET)),
    )


def _cold(history: History, plan: BacktestPlan, column: int, rows: NDArray[np.intp]) -> _Outlook:
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
    # Experts of different folds have no joint posterior.
    return _Outlook(mean=mean, deviation=deviation, others=others, listing=mean[rows])


def fold_of_experts(experts: int, plan: BacktestPlan) -> NDArray[np.int64]:
    """Return the fold of each expert, (E,), drawn by the plan's seed."""
    return np.random.default_rng(plan.seed).permutation(experts) % min(plan.folds, experts)


def _folds_by_name(history: History, plan: BacktestPlan) -> tuple[tuple[str, ...], ...]:
    fold = fold_of_experts(len(history.experts), plan)
    return tuple(tuple(history.experts[i] for i in np.flatnonzero(fold == n)) for n in np.unique(fold))


def simple_methods(known: History, parameters: Array, column: int) -> dict[str, Array]:
    """Return what the methods to beat predict of every expert, by method.

    A method without anything to go by is left out. An expert of which it knows nothing is given
    the middle of the others.

    Args:
        known: with everything hidden that a prediction may not see, the task's results among it.
        parameters: (E,) number of parameters, NaN where unknown.
        column: of the task.
    """
    scores = {name: array[:, column] for name, array in known.scores.items()}
    found = {name: _with_middle(here) for name, here in scores.items() if not np.isnan(here).all()}
    values, _, _ = standardised_columns(known.outcomes)
    if not np.isnan(values).all():
        found[MEAN] = _row_mean(values)
        found[RANK] = _row_mean(_ranks(values))
    if not np.isnan(parameters).all():
        found[PARAMETERS] = _with_middle(parameters)
    name = _best_estimator(known, column)
    if name is not None:
        found[ESTIMATOR] = _with_middle(known.scores[name][:, column])
    return found


def _with_middle(values: Array) -> Array:
    return np.where(np.isnan(values), float(np.nanmedian(values)), values)


def _row_mean(values: Array) -> Array:
    known = ~np.isnan(values)
    return np.asarray(np.where(known, values, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1))


def _ranks(values: Array) -> Array:
    """Return by column the share of experts that each one is better than, minus one half; ties share."""
    ranks = np.full_like(values, np.nan)
    for column in range(values.shape[1]):
        known = ~np.isnan(values[:, column])
        x = values[known, column]
        if len(x):
            below = (x[:, None] > x[None, :]).mean(axis=1) + 0.5 * (x[:, None] == x[None, :]).mean(axis=1)
            ranks[known, column] = below - 0.5
    return ranks


def _best_estimator(known: History, column: int) -> str | None:
    """Return the estimator with scores on this task that ranked the other tasks best.

    Only what was computed from an expert's features counts: affinity and nearness of the source
    data are parts of ours.
    """
    merit = {
        name: float(np.mean([0.0, *_taus(scores, known.outcomes, skip=column)]))
        for name, scores in known.scores.items()
        if name not in UNRUN and not np.isnan(scores[:, column]).all()
    }
    return max(sorted(merit), key=merit.__getitem__) if merit else None


def _taus(scores: Array, results: Array, *, skip: int) -> list[float]:
    found = []
    for t in range(results.shape[1]):
        both = ~np.isnan(scores[:, t]) & ~np.isnan(results[:, t])
        if t != skip and both.sum() >= _FEWEST:
            found.append(weighted_tau(scores[both, t], results[both, t]))
    return found
