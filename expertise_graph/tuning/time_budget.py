"""The time budget: what is left, what it was spent on, and how long trainings are going to take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from expertise_graph.core import Expert, Stopwatch
from expertise_graph.features import Timings, predicted_seconds
from expertise_graph.models import RAW
from expertise_graph.training import BACKWARD_COST, SLOW, TrainConfig

# Seconds of work that opening, writing and registering a small model take, and the end of the program.
OVERHEAD, EXIT = 0.5, 0.3
# A model is written, read back in the form of its library and hashed: so often as long as loading it.
WRITING = 4
# Seconds of work that fitting a linear head takes, its strength chosen among seven: a constant, and for each
# weight and item. 150 items of 384 features and 15 classes: .7 to 1.0; 250 of 128 and 25: .6; 160 of 320 and
# 16: 1.4.
FITTING, FITTING_EACH = 0.2, 1e-6
# Before it was measured: a description of the raw input takes a fraction of this.
RAW_SECONDS = 2e-3
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
        self._first = self._last = Stopwatch()
        self.spent: dict[str, float] = {"start": self.passed}

    @property
    def passed(self) -> float:
        """Seconds since the call began."""
        return time.perf_counter() - self._started

    @property
    def left(self) -> float:
        """Seconds that are left; negative when there are none."""
        return self.seconds - self.passed

    @property
    def slowdown(self) -> float:
        """How many times as long things take as on an idle machine: seconds that passed by seconds of work.

        Of the whole call or, where that is more, since the last phase began.
        """
        return max(self._first.slowdown or 1.0, self._last.slowdown or 1.0)

    @contextmanager
    def spending(self, what: str) -> Iterator[None]:
        """Book the time inside the block under `what`."""
        started, self._last = time.perf_counter(), Stopwatch()
        try:
            yield
        finally:
            self.spent[what] = self.spent.get(what, 0.0) + time.perf_counter() - started


class TrainingSpeed:
    """How long trainings of an expert take here, from those that were run, else from its forward pass.

    A forward pass takes what it took in this call, be it in a trial or in the query; else what is on record,
    by the pace of those that were run in this call: the record may be of a busier, or idler, machine.

    Args:
        timings: how long experts took on this machine, marked when the call began.
        budget: knows how busy the machine is.
        train: items to train on.
        measured: items of the validation and test splits.
        probes: items that a new expert is embedded by.
        work: how many times the work of a usual input, as a probe is, an item is.
        outputs: width of a head.
    """

    def __init__(
        self,
        timings: Timings,
        budget: SearchBudget,
        *,
        train: int,
        measured: int,
        probes: int,
        outputs: int,
        work: float = 1.0,
    ) -> None:
        self.timings, self.budget, self.work = timings, budget, work
        self.train, self.measured, self.outputs = train, measured, outputs
        self.probes = probes / work
        self._epoch: dict[str, float] = {}
        self._item: dict[str, float] = {}

    def add(self, expert: Expert, *, epochs: int, seconds: float, forward: float) -> None:
        """Add that a training took `seconds` for `epochs`, its beginning included, `forward` an item."""
        if epochs:
            self._epoch[expert.id] = max(SLOW * self._epoch.get(expert.id, 0.0), seconds / epochs)
        self._item[expert.id] = max(SLOW * self._item.get(expert.id, 0.0), forward)

    def item_seconds(self, expert: Expert) -> float:
        """Return the seconds that the features of one more item are expected to take."""
        known, slowdown = self._item.get(expert.id), self.budget.slowdown
        if known is not None:
            return known
        if expert.source == RAW:
            return RAW_SECONDS * slowdown
        return self.work * self.timings.seconds_now(expert, slowdown)

    def epoch_seconds(self, expert: Expert) -> float:
        """Return the seconds that an epoch is expected to take."""
        known = self._epoch.get(expert.id)
        return self.item_seconds(expert) * BACKWARD_COST * self.train if known is None else known

    def head_seconds(self, expert: Expert, items: int) -> float:
        """Return the seconds that loading an expert, its features of so many items and a head are to take."""
        # Where items are fewer than features, the head is a combination of them.
        fitting = FITTING + FITTING_EACH * self.train * min(expert.dim, self.train) * self.outputs
        work = (self._loading_seconds(expert) + fitting) * self.budget.slowdown
        return MARGIN * (work + items * self.item_seconds(expert))

    def finishing_seconds(self, *ensemble: tuple[Expert, TrainConfig]) -> float:
        """Return the seconds to keep for measuring, writing and registering the final model.

        The first of several networks is registered. An expert that was left as it is has been embedded
        before.
        """
        seconds = EXIT * self.budget.slowdown
        for place, (expert, config) in enumerate(ensemble):
            embedded = self.probes if not place and config.way.fine_tunes else 0
            work = OVERHEAD + WRITING * self._loading_seconds(expert)
            items = self.measured + embedded
            seconds += MARGIN * (work * self.budget.slowdown + items * self.item_seconds(expert))
        return seconds

    def trial_seconds(self, expert: Expert, config: TrainConfig, epochs: float, *, known: int = 0) -> float:
        """Return the seconds that a trial of so many epochs and all after it are expected to take.

        Its features of `known` items to train on are there.
        """
        head = self.head_seconds(expert, max(self.train - known, 0))
        return head + epochs * self.epoch_seconds(expert) + self.finishing_seconds((expert, config))

    def _loading_seconds(self, expert: Expert) -> float:
        return 0.0 if expert.source == RAW else predicted_seconds(expert, 0, self.timings)
