"""The time budget: what is left, what it was spent on, and how long trainings are going to take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from expertise_graph.core import Expert
from expertise_graph.features import Timings, predicted_seconds
from expertise_graph.store import Store
from expertise_graph.training import BACKWARD_COST, TrainConfig

# Seconds that opening, writing and registering a small model take.
OVERHEAD = 0.5
# Predicted seconds are multiplied by this: ending late breaks a promise, ending early costs a part of a
# trial.
MARGIN = 1.2


class SearchBudget:
    """The seconds of one call, counted from `started`, a time of `time.perf_counter`.

    Attributes:
        spent: seconds by what they were spent on; those before now by the start.
    """

    def __init__(self, seconds: float, started: float) -> None:
        self.seconds = seconds
        self._started = started
        self.spent: dict[str, float] = {"start": self.passed}

    @property
    def passed(self) -> float:
        """Seconds since the call began."""
        return time.perf_counter() - self._started

    @property
    def left(self) -> float:
        """Seconds that are left; negative when there are none."""
        return self.seconds - self.passed

    @contextmanager
    def spending(self, what: str) -> Iterator[None]:
        """Book the time inside the block under `what`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.spent[what] = self.spent.get(what, 0.0) + time.perf_counter() - started


class TrainingSpeed:
    """How long trainings of an expert take here, from those that were run, else from its forward pass.

    Args:
        store: knows how long experts took on this machine.
        train: items to train on.
        measured: items of the validation and test splits.
        probes: items that a new expert is embedded by.
    """

    def __init__(self, store: Store, *, train: int, measured: int, probes: int) -> None:
        self.timings = Timings(store)
        self.train, self.measured, self.probes = train, measured, probes
        self._epoch: dict[str, float] = {}
        self._item: dict[str, float] = {}

    def add(self, expert: Expert, epochs: int, seconds: float) -> None:
        """Add that training took `seconds` for `epochs`, its beginning included."""
        if epochs:
            self._epoch[expert.id] = max(self._epoch.get(expert.id, 0.0), seconds / epochs)
            passes = self.train * (1 + epochs * BACKWARD_COST)
            self._item[expert.id] = max(self._item.get(expert.id, 0.0), seconds / passes)

    def epoch_seconds(self, expert: Expert) -> float:
        """Return the seconds that an epoch is expected to take."""
        known = self._epoch.get(expert.id)
        return self.timings.seconds_per_item(expert) * BACKWARD_COST * self.train if known is None else known

    def probe_seconds(self, expert: Expert) -> float:
        """Return the seconds that a linear probe and its final measurement are expected to take."""
        return OVERHEAD + MARGIN * predicted_seconds(expert, self.train + self.measured, self.timings)

    def finishing_seconds(self, *ensemble: tuple[Expert, TrainConfig]) -> float:
        """Return the seconds to keep for measuring, writing and registering the final model.

        The first of several networks is registered. An expert that was left as it is has been embedded
        before.
        """
        seconds = 0.0
        for place, (expert, config) in enumerate(ensemble):
            embedded = self.probes if not place and config.way.fine_tunes else 0
            running = predicted_seconds(expert, self.measured + embedded, self.timings)
            seconds += OVERHEAD + MARGIN * (running + self.measured * self._extra_seconds_per_item(expert))
        return seconds

    def fits_in(self, expert: Expert, config: TrainConfig, epochs: int, seconds: float) -> bool:
        """Tell whether a trial of so many epochs, and all that comes after it, fits into so many seconds."""
        head = MARGIN * predicted_seconds(expert, self.train, self.timings)
        return head + epochs * self.epoch_seconds(expert) + self.finishing_seconds((expert, config)) < seconds

    def _extra_seconds_per_item(self, expert: Expert) -> float:
        """Return how many seconds more an item takes here than on other data, e.g. a longer text."""
        return max(0.0, self._item.get(expert.id, 0.0) - self.timings.seconds_per_item(expert))
