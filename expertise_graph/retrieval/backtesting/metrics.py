"""Metrics of every method on every held-out task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from expertise_graph.retrieval.backtesting.plan import Task
from expertise_graph.retrieval.ranking_metrics import (
    bootstrap_interval,
    coverage,
    gain,
    gain_at_random,
    ndcg,
    ndcg_at_random,
    pearson,
    regret,
    regret_at_random,
    weighted_tau,
)

Array = NDArray[np.float64]
Metrics = Mapping[str, Mapping[str, float]]

OURS, SET, RANDOM, ORACLE = "ours", "ours, complementary set", "random", "oracle"
RESERVED = frozenset({OURS, SET, RANDOM, ORACLE})
"""Names of methods that an estimator of the same name does not take."""

_REGRETS, _GAINS = (1, 3, 5), (1, 5)


def metrics_of(task: Task) -> dict[str, dict[str, float]]:
    """Return the metrics of each method on one task.

    Those relative to the best result are left out where that is not positive, as of negated losses.
    """
    found = {OURS: _ranking_metrics(task, task.predicted[OURS])}
    found[OURS]["coverage"] = coverage(task.low, task.high, task.standing)
    if task.first and task.baseline is not None:
        place = np.zeros(len(task.truth))
        place[list(task.first)] = np.arange(len(task.first), 0, -1)
        found[SET] = {f"gain@{k}": gain(place, task.truth, k=k, baseline=task.baseline) for k in _GAINS}
    others = {name: values for name, values in task.predicted.items() if name != OURS}
    return (
        found | {name: _ranking_metrics(task, v) for name, v in others.items()} | {RANDOM: _at_random(task)}
    )


def _ranking_metrics(task: Task, predicted: Array) -> dict[str, float]:
    truth = task.truth
    found = {"pearson": pearson(predicted, truth), "tau_w": weighted_tau(predicted, truth)}
    found["ndcg"] = ndcg(predicted, truth)
    if truth.max() > 0:
        regrets = {f"regret@{k}": regret(predicted, truth, k=k) for k in _REGRETS}
        found |= {"rel@1": 1.0 - regrets["regret@1"]} | regrets
    if task.baseline is not None:
        found |= {f"gain@{k}": gain(predicted, truth, k=k, baseline=task.baseline) for k in _GAINS}
    return found


def _at_random(task: Task) -> dict[str, float]:
    truth = task.truth
    found = {"pearson": 0.0, "tau_w": 0.0, "ndcg": ndcg_at_random(truth)}
    if truth.max() > 0:
        regrets = {f"regret@{k}": regret_at_random(truth, k=k) for k in _REGRETS}
        found |= {"rel@1": 1.0 - regrets["regret@1"]} | regrets
    if task.baseline is not None:
        found |= {f"gain@{k}": gain_at_random(truth, k=k, baseline=task.baseline) for k in _GAINS}
    return found


def mean_table(per_task: Sequence[Metrics]) -> dict[str, dict[str, float]]:
    """Return metric by method, each the plain mean over the tasks that have it."""
    table: dict[str, dict[str, float]] = {}
    for method in dict.fromkeys(name for found in per_task for name in found):
        metrics = dict.fromkeys(m for found in per_task for m in found.get(method, {}))
        table[method] = {
            m: float(np.mean([f[method][m] for f in per_task if m in f.get(method, {})])) for m in metrics
        }
    return table


def differences(per_task: Sequence[Metrics], seed: int) -> dict[str, dict[str, tuple[float, float]]]:
    """Return for each other method by how much ours is above it, a 95 % interval by metric.

    Only tasks on which both have the metric count.
    """
    methods = dict.fromkeys(name for found in per_task for name in found)
    found = {m: _above(per_task, m, seed) for m in methods if m not in (OURS, SET, ORACLE)}
    return {method: by_metric for method, by_metric in found.items() if by_metric}


def _above(per_task: Sequence[Metrics], method: str, seed: int) -> dict[str, tuple[float, float]]:
    found = {}
    for metric in dict.fromkeys(m for by in per_task for m in by[OURS]):
        pairs = [by[OURS][metric] - by[method][metric] for by in per_task if metric in by.get(method, {})]
        if pairs:
            found[metric] = bootstrap_interval(np.array(pairs), seed=seed)
    return found
