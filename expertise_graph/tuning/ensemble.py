"""Which trials answer together with the chosen one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from expertise_graph.core import FloatArray, Query
from expertise_graph.tuning.model_selection import TrialRecord, compare, incumbent_first

# An answer expected to be right a tenth less often counts exp(-1.5), less than a quarter. Of 3 to 30, 15 was
# best, or within .001 of it, with small experts (14 tuning tasks, two seeds: .653; equal weights .652, the
# chosen network alone .627) and with a published one among them (19 runs: .733; .714, .726).
SHARPNESS = 15.0
# Networks that count less cannot change an answer that is worth their time.
LEAST_WEIGHT = 0.05
# Keeps the logarithm finite where no network gives the right class any probability.
_LEAST = 1e-6


def weights_of(
    chosen: TrialRecord, trials: Sequence[TrialRecord], *, raw_accuracy: float | None
) -> dict[str, float]:
    """Return how much each usable trial's answer counts, by run, where that of the chosen one counts 1.

    That is exp(`SHARPNESS` x a), a being how much better it is expected to be by all that is known.

    Args:
        chosen: one of the trials.
        trials: all trials.
        raw_accuracy: accuracy of a ridge on the raw input; None where the query predicts no accuracies.
    """
    incumbent, *others = incumbent_first(trials)
    advantages = {
        incumbent.run: 0.0,
        **{t.run: compare(incumbent, t, raw_accuracy=raw_accuracy).advantage for t in others},
    }
    own = advantages[chosen.run]
    return {run: math.exp(SHARPNESS * (advantage - own)) for run, advantage in advantages.items()}


def select(
    first: TrialRecord,
    trials: Sequence[TrialRecord],
    *,
    weights: Mapping[str, float],
    allowed: Callable[[Sequence[TrialRecord]], bool],
) -> list[TrialRecord]:
    """Return the chosen trial and those that make an ensemble with it, in the order they help.

    The next is always the one with which the mean of the probabilities has the lowest log loss on
    the validation items. It need not lower the loss, as networks that differ help more than a dozen
    items show; but it ends when together they are surely worse than the first alone. An expert
    counts once: its trials are alike, and share their luck with those items.

    Measured on 14 tuning tasks in LOG.md, 2026-11-22: accuracy by number of networks and by rule.

    Args:
        first: the chosen trial.
        trials: all trials, of the same validation items.
        weights: how much the answer of each usable trial counts, by run.
        allowed: tells whether these trials together are within the limits.

    References:
        Caruana et al., ICML 2004, ensemble selection from libraries of models.
    """
    ensemble, alone = [first], _loss([first], weights)
    others = [t for t in trials if t.usable and t is not first and weights[t.run] >= LEAST_WEIGHT]
    while True:
        possible = [
            t
            for t in others
            if _weights_origin(t) not in map(_weights_origin, ensemble) and allowed([*ensemble, t])
        ]
        if not possible:
            return ensemble
        best = min(possible, key=lambda t: float(_loss([*ensemble, t], weights).mean()))
        worse = _loss([*ensemble, best], weights) - alone
        if worse.mean() > _standard_error(worse):
            return ensemble
        ensemble.append(best)
        others.remove(best)


def within(query: Query, ensemble: Sequence[TrialRecord]) -> bool:
    """Tell whether several networks together are within the limits of one expert."""
    experts = [t.contender.expert for t in ensemble]
    params, size = sum(e.params for e in experts), sum(e.bytes for e in experts)
    small = params <= (query.max_params or math.inf) and size <= (query.max_bytes or math.inf)
    return small and query.max_latency is None


def _weights_origin(trial: TrialRecord) -> str:
    """Return what the weights came from: an expert or, from random ones, nothing that others share."""
    return trial.contender.expert.id if trial.config.way.pretrained else trial.run


def _loss(ensemble: Sequence[TrialRecord], weights: Mapping[str, float]) -> FloatArray:
    """Return the log loss (n,) of the mean of the probabilities."""
    mean = np.average([t.outcome.fits for t in ensemble], axis=0, weights=[weights[t.run] for t in ensemble])
    found: FloatArray = -np.log(np.maximum(mean, _LEAST))
    return found


def _standard_error(values: FloatArray) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
