"""The search itself, by optuna: what to try next, and what to give up.

References:
    Akiba et al., arXiv:1907.10902, optuna; Li et al., arXiv:1810.05934, asynchronous successive halving.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna

from expertise_graph.tuning.space import Between, Dimension

RUNGS = (3, 7, 15, 31)
"""Epochs after which a trial is compared with the others after as many."""
RANDOM_TRIALS = 8
"""So many trials are drawn at random before the search learns from them."""


class Study:
    """A seeded search in memory; the same answers lead to the same questions."""

    def __init__(self, dimensions: Mapping[str, Dimension], seed: int) -> None:
        self._distributions = {name: _distribution(d) for name, d in dimensions.items()}
        with _quietly():
            self._study = optuna.create_study(
                sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS),
                pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=RUNGS[0], reduction_factor=2),
            )

    def propose(self, params: Mapping[str, Any]) -> None:
        """Let these parameters be the next but for those proposed before."""
        with _quietly():
            self._study.enqueue_trial(dict(params))

    def ask(self) -> Question:
        """Return the next parameters to try."""
        with _quietly():
            return Question(self._study, self._study.ask(self._distributions))


class Question:
    """Parameters to try, and what becomes of them."""

    def __init__(self, study: optuna.Study, trial: optuna.Trial) -> None:
        self._study, self._trial = study, trial

    @property
    def params(self) -> dict[str, Any]:
        """The parameters by name."""
        return dict(self._trial.params)

    def hopeless(self, epochs: int, loss: float) -> bool:
        """Report the loss after so many epochs; tell whether others were better after as many."""
        if epochs not in RUNGS:
            return False
        self._trial.report(loss, epochs)
        return bool(self._trial.should_prune())

    def answer(self, loss: float | None, *, pruned: bool = False) -> None:
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
    """Keep optuna from telling each step, and leave its verbosity as it was."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
