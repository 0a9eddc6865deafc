"""Which trials answer together with the chosen one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from expertise_graph.core import FloatArray, Query
from expertise_graph.tuning.model_selection import Tried, compare

SHARPNESS = 15.0
"""An answer expected to be right a tenth less often counts exp(-1.5), less than a quarter.

Of 3 to 30, 15 was best, or within .001 of it, with small experts (14 tuning tasks, two seeds: .653; equal
weights .652, the chosen network alone .627) and with a published one among them (19 runs: .733; .714, .726).
"""
LEAST_WEIGHT = 0.05
"""Networks that count less are not worth their time."""
_LEAST = 1e-6


def weights_of(chosen: Tried, tried: Sequence[Tried], *, raw: float | None) -> dict[str, float]:
    """Return how much each usable trial's answer counts, by run, where that of the chosen one counts 1.

    That is exp(`SHARPNESS` x a), a being how much better it is expected to be by all that is known.

    Args:
        chosen: one of the trials.
        tried: all trials.
        raw: accuracy of a ridge on the raw input; None where the query predicts no accuracies.
    """
    incumbent, *others = (t for t in tried if t.usable)
    advantages = {incumbent.run: 0.0, **{t.run: compare(incumbent, t, raw=raw).advantage for t in others}}
    own = advantages[chosen.run]
    return {run: math.exp(SHARPNESS * (advantage - own)) for run, advantage in advantages.items()}


def select(
    first: Tried,
    tried: Sequence[Tried],
    *,
    weights: Mapping[str, float],
    allowed: Callable[[Sequence[Tried]], bool],
) -> list[Tried]:
    """Return the chosen trial and those that make an ensemble with it, in the order they help.

    The next is always the one with which the mean of the probabilities has the lowest log loss on
    the validation items. It is not asked to lower it, as networks that differ help more than a dozen
    items show; but when together they are surely worse than the first alone, it ends. An expert
    counts once: its trials are alike, and share their luck with those items.

    Measured on 14 tuning tasks in LOG.md, 2026-11-22: accuracy by number of networks and by rule.

    Args:
        first: the chosen trial.
        tried: all trials, of the same validation items.
        weights: how much the answer of each usable trial counts, by run.
        allowed: tells whether these trials together are within the limits.

    References:
        Caruana et al., ICML 2004, ensemble selection from libraries of models.
    """
    team, alone = [first], _loss([first], weights)
    others = [t for t in tried if t.usable and t is not first and weights[t.run] >= LEAST_WEIGHT]
    while True:
        possible = [t for t in others if _origin(t) not in map(_origin, team) and allowed([*team, t])]
        if not possible:
            return team
        found = min(possible, key=lambda t: float(_loss([*team, t], weights).mean()))
        worse = _loss([*team, found], weights) - alone
        if worse.mean() > _standard_error(worse):
            return team
        team.append(found)
        others.remove(found)


def within(query: Query, team: Sequence[Tried]) -> bool:
    """Tell whether several networks together are within the limits of one expert."""
    experts = [t.entrant.expert for t in team]
    params, size = sum(e.params for e in experts), sum(e.bytes for e in experts)
    small = params <= (query.max_params or math.inf) and size <= (query.max_bytes or math.inf)
    return small and query.max_latency is None


def _origin(tried: Tried) -> str:
    """Return what the weights came from: an expert or, from random ones, nothing that others share."""
    return tried.entrant.expert.id if tried.config.way.pretrained else tried.run


def _loss(team: Sequence[Tried], weights: Mapping[str, float]) -> FloatArray:
    """Return the log loss (n,) of the mean of the probabilities."""
    mean = np.average([t.outcome.fits for t in team], axis=0, weights=[weights[t.run] for t in team])
    found: FloatArray = -np.log(np.maximum(mean, _LEAST))
    return found


def _standard_error(values: FloatArray) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
