"""Metrics of every method on every held-out task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from expertise_graph.backtest.baselines import MEAN
from expertise_graph.backtest.plan import Task
from expertise_graph.evaluate import (
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

OURS, SET, RANDOM, ORACLE = "ours", "ours, complementary set", "random", "oracle"


def metrics_of(task: Task) -> dict[str, dict[str, float]]:
    """Return the metrics of each method on one task."""
    found = {name: _ranking_metrics(task, predicted) for name, predicted in task.predicted.items()}
    found[OURS]["coverage"] = coverage(task.low, task.high, task.standing)
    found[RANDOM] = _at_random(task)
    if task.first and task.baseline is not None:
        place = np.zeros(len(task.truth))
        place[list(task.first)] = -np.arange(1.0, len(task.first) + 1) + 1 + len(task.first)
        found[SET] = {f"gain@{k}": gain(place, task.truth, k=k, baseline=task.baseline) for k in (1, 5)}
    return found


def _ranking_metrics(task: Task, predicted: Array) -> dict[str, float]:
    truth = task.truth
    found = {"pearson": pearson(predicted, truth), "tau_w": weighted_tau(predicted, truth)}
    found["ndcg"] = ndcg(predicted, truth)
    if truth.max() > 0:
        regrets = {f"regret@{k}": regret(predicted, truth, k=k) for k in (1, 3, 5)}
        found |= {"rel@1": 1.0 - regrets["regret@1"]} | regrets
    if task.baseline is not None:
        found |= {f"gain@{k}": gain(predicted, truth, k=k, baseline=task.baseline) for k in (1, 5)}
    return found


def _at_random(task: Task) -> dict[str, float]:
    truth = task.truth
    found = {"pearson": 0.0, "tau_w": 0.0, "ndcg": ndcg_at_random(truth)}
    if truth.max() > 0:
        regrets = {f"regret@{k}": regret_at_random(truth, k=k) for k in (1, 3, 5)}
        found |= {"rel@1": 1.0 - regrets["regret@1"]} | regrets
    if task.baseline is not None:
        found |= {f"gain@{k}": gain_at_random(truth, k=k, baseline=task.baseline) for k in (1, 5)}
    return found


def mean_table(per_task: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Return metric by method, each the plain mean over the tasks that have it."""
    table: dict[str, dict[str, float]] = {}
    for method in dict.fromkeys(name for found in per_task for name in found):
        metrics = dict.fromkeys(m for found in per_task for m in found.get(method, {}))
        table[method] = {
            m: float(np.mean([f[method][m] for f in per_task if m in f.get(method, {})])) for m in metrics
        }
    return table


def differences(
    per_task: Sequence[Mapping[str, Mapping[str, float]]], seed: int
) -> dict[str, tuple[float, float]]:
    """Return how ours differs from the history mean, task by task."""
    found = {}
    for metric in per_task[0][OURS]:
        pairs = [
            f[OURS][metric] - f[MEAN][metric]
            for f in per_task
            if MEAN in f and metric in f[MEAN] and math.isfinite(f[OURS].get(metric, math.nan))
        ]
        if pairs:
            found[metric] = bootstrap_interval(np.array(pairs), seed=seed)
    return found
