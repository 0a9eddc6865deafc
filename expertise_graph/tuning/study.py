"""Which settings to try next, and which trials to stop early: TPE and successive halving, by optuna.

References:
    Akiba et al., arXiv:1907.10902, optuna; Li et al., arXiv:1810.05934, asynchronous successive halving.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna

from expertise_graph.tuning.space import Between, Dimension

# Epochs after which a trial is compared with the others after as many: halving among a dozen trials of 10 to
# 40 epochs; before the third epoch it is mostly the warm-up of the learning rate that is compared.
RUNGS = (3, 7, 15, 31)
# Trials at random before TPE models them; most budgets allow a dozen trials, so fewer than optuna's default
# of 10.
RANDOM_TRIALS = 8


class Study:
    """A seeded search in memory: the same losses lead to the same suggestions."""

    def __init__(self, dimensions: Mapping[str, Dimension], seed: int) -> None:
        self._distributions = {name: _distribution(d) for name, d in dimensions.items()}
        with _quietly():
            self._study = optuna.create_study(
                sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS),
                pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=RUNGS[0], reduction_factor=2),
            )

    def enqueue(self, params: Mapping[str, Any]) -> None:
        """Let these parameters be suggested next, after those that were enqueued before."""
        with _quietly():
            self._study.enqueue_trial(dict(params))

    def ask(self) -> Suggestion:
        """Return the next parameters to try."""
        with _quietly():
            return Suggestion(self._study, self._study.ask(self._distributions))


class Suggestion:
    """Parameters to try; it is told how the trial goes and how it ended."""

    def __init__(self, study: optuna.Study, trial: optuna.Trial) -> None:
        self._study, self._trial = study, trial

    @property
    def params(self) -> dict[str, Any]:
        """The parameters by name."""
        return dict(self._trial.params)

    def should_prune(self, epochs: int, loss: float) -> bool:
        """Report the loss after so many epochs; return whether enough others were better after as many."""
        if epochs not in RUNGS:
            return False
        self._trial.report(loss, epochs)
        return bool(self._trial.should_prune())

    def tell(self, loss: float | None, *, pruned: bool = False) -> None:
        """End the trial with its loss, None when it failed."""
        with _quietly():
            if loss is None:
                self._study.tell(self._trial, state=optuna.trial.TrialState.FAIL)
            elif pruned:
                self._study.tell(self._trial, state=optuna.trial.TrialState.PRUNED)
            else:
                self._study.tell(self._trial, loss)


def _distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    if isinstance(dimension, Between):
        return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    return optuna.distributions.CategoricalDistribution(dimension.values)


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence optuna's log of each step, and leave its verbosity as it was."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
