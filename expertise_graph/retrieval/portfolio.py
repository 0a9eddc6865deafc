"""Which few experts to try together: the set whose best member is expected to be best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expertise_graph.retrieval.forecast import forecast
from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.predict import gaussian_draws
from expertise_graph.retrieval.units import standardised_columns

Array = NDArray[np.float64]

# Complete tasks that it takes to draw from what they left unpredicted; of fewer the same surprises repeat.
# Such draws gave the best of five 3.35 points on model-recycling, Gaussian ones 3.10 (LOG.md).
_FEWEST_TASKS = 8
# Gaussian draws: the mean of the best of a set is known to a twentieth of a deviation.
_DRAWS = 512


def complementary(mean: Array, draws: Array, k: int) -> list[int]:
    """Return up to k experts, each chosen to raise the expected best of the set the most.

    Args:
        mean: (E,) predicted; the first choice among equals.
        draws: (draws, E) of the results, in the unit that counts.
        k: how many.

    References:
        Greedy maximisation of a submodular function: Nemhauser, Wolsey, Fisher 1978.
    """
    chosen: list[int] = []
    best = np.full(len(draws), -np.inf)
    for _ in range(min(k, draws.shape[1])):
        reached = np.maximum(best[:, None], draws).mean(axis=0)
        reached[chosen] = -np.inf
        ties = np.flatnonzero(reached >= reached.max() - 1e-12)
        chosen.append(int(ties[np.argmax(mean[ties])]))
        best = np.maximum(best, draws[:, chosen[-1]])
    return chosen


def outcome_draws(
    history: History, target: int, *, mean: Array, covariance: Array, noise: float, seed: int
) -> Array:
    """Return draws (draws, E) of the results on the target, up to the task's level.

    With enough complete tasks in the history a draw is the prediction plus what another task left
    unpredicted, in that task's unit: experts that surprise together, and tasks on which much is to
    be gained, are as history has them. Else draws come from the Gaussian posterior.

    Args:
        history: its results on the target are not looked at.
        target: column of the task.
        mean: (E,) predicted, in standard units.
        covariance: (E, E) of the experts' worth.
        noise: variance of a measured result around that.
        seed: of the Gaussian draws.
    """
    hidden = history.without(target)
    values, _, _ = standardised_columns(hidden.outcomes)
    tried = ~np.isnan(values).all(axis=1)
    complete = [t for t in range(values.shape[1]) if t != target and not np.isnan(values[tried, t]).any()]
    if len(complete) >= _FEWEST_TASKS and tried.any():
        spread = standardised_columns(_in_unit(hidden))[2]
        left = [values[:, t] - forecast(hidden, t).mean for t in complete]
        rests = [np.nan_to_num(rest) for rest in left]
        return np.stack([spread[t] * (mean + rest) for t, rest in zip(complete, rests, strict=True)])
    rng = np.random.default_rng(seed)
    worth = gaussian_draws(mean, covariance, _DRAWS, rng)
    return np.asarray(worth + np.sqrt(noise) * rng.standard_normal(worth.shape))


def _in_unit(history: History) -> Array:
    """Return log-odds as fractions again; what counts in the end is accuracy."""
    fractions = 1.0 / (1.0 + np.exp(-history.accuracies))
    return np.where(np.isnan(fractions), history.outcomes, fractions)
