"""The time budget of a run."""

from __future__ import annotations

import time

MARGIN = 1.1
"""Predicted times are multiplied by this: with less a slow epoch overruns the budget, more wastes time."""
BACKWARD_COST = 3.0
"""A training step takes as long as this many forward passes, until an epoch has been measured.

The backward pass costs about two forward passes.
"""


class TimeBudget:
    """Counts the seconds of a run, those before it was resumed included, and predicts the next ones.

    Attributes:
        forward: measured seconds of one forward pass of one item.
        longest: measured seconds of the longest epoch with its checkpoint.
        saving: measured seconds of the longest checkpoint.
        since: seconds at which fine-tuning began.
        sizes: number of items of each split.
    """

    def __init__(self, budget: float | None = None) -> None:
        self.budget = budget
        self.forward = self.longest = self.saving = self.since = 0.0
        self.sizes: dict[str, int] = {}
        self._earlier = 0.0
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds spent on the run."""
        return self._earlier + time.perf_counter() - self._started

    def as_dict(self) -> dict[str, float]:
        """Return the measured times, for a checkpoint."""
        names = ("seconds", "forward", "longest", "saving", "since")
        return {name: getattr(self, name) for name in names}

    def resume(self, recorded: dict[str, float]) -> None:
        """Continue from the measured times of a checkpoint."""
        self._earlier = recorded["seconds"]
        self.forward, self.longest = recorded["forward"], recorded["longest"]
        self.saving, self.since = recorded["saving"], recorded["since"]

    def fraction(self) -> float:
        """Return how much of the time for fine-tuning has passed, 0 without a budget."""
        if self.budget is None:
            return 0.0
        return min(1.0, (self.seconds - self.since) / max(1e-9, self.budget - self.since))

    def room_for_epoch(self) -> bool:
        """Tell whether one more epoch and the end of the run still fit."""
        guess = self.forward * (BACKWARD_COST * self.sizes["train"] + self.sizes["validation"])
        return self._fits(self.longest or guess + self.saving)

    def room_for_step(self) -> bool:
        """Tell whether, in the midst of an epoch, its validation and the end of the run still fit."""
        return self._fits(self.forward * self.sizes["validation"] + self.saving)

    def _fits(self, needed: float) -> bool:
        ending = self.forward * (self.sizes["validation"] + self.sizes["test"]) + self.saving
        return self.budget is None or self.seconds + MARGIN * (needed + ending) <= self.budget
