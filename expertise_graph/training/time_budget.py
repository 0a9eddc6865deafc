"""The time budget of a run."""

from __future__ import annotations

import time

from expertise_graph.core import ExpertiseError

MARGIN = 1.1
"""Predicted times are multiplied by this: with less a slow step overruns the budget, more wastes time."""
BACKWARD_COST = 3.0
"""A training step takes as long as this many forward passes, until a step has been measured.

The backward pass costs about two forward passes.
"""
SLOW = 0.7
"""A slow pass counts with this share at the next one: on a shared machine the pace comes and goes."""


class OutOfTime(ExpertiseError):
    """What cannot be cut short would end after the time that it was given."""


class TimeBudget:
    """Counts the seconds of a run, those before it was resumed included, and predicts the next ones.

    Attributes:
        forward: measured seconds of one forward pass of one item.
        step: measured seconds of a training step.
        saving: measured seconds of the longest checkpoint.
        since: seconds at which fine-tuning began.
        sizes: number of items of each split.
    """

    def __init__(self, budget: float | None = None) -> None:
        self.budget = budget
        self.forward = self.step = self.saving = self.since = 0.0
        self.sizes: dict[str, int] = {}
        self._earlier = 0.0
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds spent on the run."""
        return self._earlier + time.perf_counter() - self._started

    def as_dict(self) -> dict[str, float]:
        """Return the measured times, for a checkpoint."""
        names = ("seconds", "forward", "step", "saving", "since")
        return {name: getattr(self, name) for name in names}

    def resume(self, recorded: dict[str, float]) -> None:
        """Continue from the measured times of a checkpoint."""
        self._earlier = recorded["seconds"]
        self.forward, self.step = recorded["forward"], recorded.get("step", 0.0)
        self.saving, self.since = recorded["saving"], recorded["since"]

    def measured(self, *, forward: float | None = None, step: float | None = None) -> None:
        """Take in the seconds of a forward pass of one item, or of a training step."""
        if forward is not None:
            self.forward = max(forward, SLOW * self.forward)
        if step is not None:
            self.step = max(step, SLOW * self.step)

    def fraction(self) -> float:
        """Return how much of the time for training steps has passed, 0 without a budget."""
        if self.budget is None:
            return 0.0
        steps = self.budget - MARGIN * self._ending - self.since
        return min(1.0, (self.seconds - self.since) / steps) if steps > 0 else 1.0

    @property
    def step_seconds(self) -> float:
        """Seconds of a training step, as measured or else as the forward passes tell."""
        return self.step or BACKWARD_COST * self.forward * self.sizes.get("batch", 1)

    def room_for_step(self) -> bool:
        """Tell whether one more step, the validation after it and the end of the run still fit."""
        needed = MARGIN * (self.step_seconds + self._ending)
        return self.budget is None or self.seconds + needed <= self.budget

    def check(self) -> None:
        """Raise OutOfTime when the budget is spent."""
        if self.budget is not None and self.seconds > self.budget:
            raise OutOfTime("there was no time for its linear probe")

    @property
    def _ending(self) -> float:
        """Seconds that come after the last step: its validation and checkpoint, the temperature, the test."""
        return self.forward * (2 * self.sizes["validation"] + self.sizes["test"]) + 2 * self.saving
