"""Which trials answer together with the chosen one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from expertise_graph.auto.choice import Tried, compare
from expertise_graph.types import FloatArray, Query

SHARPNESS = 15.0
"""An answer expected to be right a tenth less often counts exp(-1.5), less than a quarter.

Of 3 to 30, 15 was best, or within .001 of it, with small experts (14 tuning tasks, two seeds: .653; equal
weights .652, the chosen network alone .627) and with a published one among them (19 runs: .733; .714, .726).
"""
LEAST_WEIGHT = 0.05
"""Networks that count less are not worth their time."""
_LEAST = 1e-6


def weigher(chosen: Tried, tried: Sequence[Tried], *, raw: float | None) -> Callable[[Tried], float]:
    """Return what tells how much a trial's answer counts beside that of the chosen one, which counts 1.

    That is exp(`SHARPNESS` x a), a being how much better it is expected to be by all that is known.

    Args:
        chosen: one of the trials.
        tried: all trials.
        raw: accuracy of a ridge on the raw input; None where the query predicts no accuracies.
    """
    incumbent = next(t for t in tried if t.usable)

    def advantage(other: Tried) -> float:
        return 0.0 if other is incumbent else compare(incumbent, other, raw=raw).advantage

    own = advantage(chosen)
    return lambda other: 1.0 if other is chosen else math.exp(SHARPNESS * (advantage(other) - own))


def select(
    first: Tried,
    tried: Sequence[Tried],
    *,
    most: int,
    weight: Callable[[Tried], float],
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
        most: so many networks at most.
        weight: how much a trial's answer counts.
        allowed: tells whether these trials together are within the limits.

    References:
        Caruana et al., ICML 2004, ensemble selection from libraries of models.
    """
    team, alone = [first], _loss([first], weight)
    others = [t for t in tried if t.usable and t is not first and weight(t) >= LEAST_WEIGHT]
    while len(team) < most:
        possible = [t for t in others if _origin(t) not in map(_origin, team) and allowed([*team, t])]
        if not possible:
            break
        found = min(possible, key=lambda t: float(_loss([*team, t], weight).mean()))
        worse = _loss([*team, found], weight) - alone
        if worse.mean() > _standard_error(worse):
            break
        team.append(found)
        others.remove(found)
    return team


def within(query: Query, team: Sequence[Tried]) -> bool:
    """Tell whether several networks together are within the limits of one expert."""
    experts = [t.entrant.expert for t in team]
    params, size = sum(e.params for e in experts), sum(e.bytes for e in experts)
    small = params <= (query.max_params or math.inf) and size <= (query.max_bytes or math.inf)
    return small and query.max_latency is None


def _origin(tried: Tried) -> str:
    """Return what the weights came from: an expert or, from random ones, nothing that others share."""
    return tried.entrant.expert.id if tried.config.way.pretrained else tried.run


def _loss(team: Sequence[Tried], weight: Callable[[Tried], float]) -> FloatArray:
    """Return the log loss (n,) of the mean of the probabilities."""
    mean = np.average([t.outcome.fits for t in team], axis=0, weights=[weight(t) for t in team])
    found: FloatArray = -np.log(np.maximum(mean, _LEAST))
    return found


def _standard_error(values: FloatArray) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
