"""What it takes to run an expert on this machine, predicted from what others and it took before."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from expertise_graph import features
from expertise_graph.core import Expert, Stopwatch
from expertise_graph.data import Inputs
from expertise_graph.store import Arrays, Store, Timing, features_key

# Before anything was timed: five milliseconds an item at five million parameters, within a factor of
# about three, and time that grows as the power 0.8 of size; experts of one size differ by half. The starter
# experts come out within a factor of three of it after two were timed (tests/features/test_cost.py).
_SIZE = 5e6
_PRIOR = np.array([math.log(5e-3), 0.8])
_PRIOR_DEVIATION = np.array([1.2, 0.2])
_SPREAD = 0.4

# Seconds of runs from which on they tell how fast the machine is; shorter ones are mostly their beginning.
_LEAST_RUN = 0.1

# Forward passes on record may have been timed on a machine that was as busy: where no expert that is on
# record was run in this call, they are slowed down by so much at most.
_BUSIER = 2.0

# Loading an expert: constant and per megabyte of weights, of a file that is in the page cache. If too
# small, a budget in seconds is overrun by that much.
_OPENING_SECONDS = 0.05
_SECONDS_PER_MB = 0.003


class Timings:
    """How long experts took on this machine; `note` adds to it and to the registry.

    What is on record may have been measured while the machine was busy, or idle. After `mark`, runs of this
    process say how it is now: see `measured` and `pace`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], Timing] = {}
        self._on_record: dict[str, list[Timing]] = {}
        self._before: dict[tuple[str, str], Timing] | None = {}
        self._seen = -1
        self._fits: dict[str, Fit] = {}
        self._watch, self._slowdown = Stopwatch(), 0.0

    def mark(self) -> None:
        """Tell runs from now on apart from those on record, and measure how busy the machine is."""
        # Of all machines: which one this is takes torch to say, and no expert may be run after all.
        self._on_record, self._before = self._store.timings_everywhere(), None
        self._watch, self._slowdown = Stopwatch(), 0.0

    @property
    def _marked(self) -> dict[tuple[str, str], Timing]:
        """What was on record of this machine at `mark`."""
        if self._before is None:
            there = self._on_record.get(features.machine(), ()) if self._on_record else ()
            self._before = {(t.weights_sha, t.preprocessing_sha): t for t in there}
        return self._before

    @property
    def slowdown(self) -> float:
        """How many times as long work takes as on an idle machine, by what was first done since `mark`.

        What is done later may be waiting, for another process or a download.
        """
        self._slowdown = self._slowdown or self._watch.slowdown or 0.0
        return self._slowdown or 1.0

    def measured(self, expert: Expert) -> float | None:
        """Return the mean seconds an item of an expert's runs since `mark`, None where there was none."""
        key = _key(expert)
        now = self._all().get(key)
        if now is None:
            return None
        items, seconds = _since(now, self._marked.get(key))
        return seconds / items if items else None

    @property
    def pace(self) -> float | None:
        """How many times as long runs took since `mark` as on record before; None where too little tells."""
        took = expected = 0.0
        for key, before in self._marked.items():
            now = self._all().get(key)
            if now is not None:
                items, seconds = _since(now, before)
                took += seconds
                expected += items * before.seconds / before.items
        return took / expected if took > _LEAST_RUN and expected > 0 else None

    def note(self, expert: Expert, items: float, seconds: float) -> None:
        """Add that an expert, once loaded, took `seconds` for inputs worth `items` usual ones."""
        if items <= 0 or not 0 < seconds < math.inf:
            return
        self._store.add_timing(expert, features.machine(), items=max(1, round(items)), seconds=seconds)

    def seconds_now(self, expert: Expert, slowdown: float) -> float:
        """Return the seconds an item on this machine as it is now.

        That is the mean of the expert's runs since `mark`; else what is on record or likely, by the pace of
        the runs since then, or as many times as long as other work takes.
        """
        known = self.measured(expert)
        if known is not None:
            return known
        return self.seconds_per_item(expert) * (self.pace or min(slowdown, _BUSIER))

    def seconds_per_item(self, expert: Expert) -> float:
        """Return the mean of an expert's own runs, or what its size and kind make likely.

        After `mark` that is what was on record then, where anything was.
        """
        known = {**self._all(), **self._marked}
        own = known.get(_key(expert))
        if own is not None:
            return own.seconds / own.items
        if expert.modality not in self._fits:
            of_modality = [t for t in known.values() if t.modality == expert.modality]
            self._fits[expert.modality] = Fit.of(of_modality)
        return self._fits[expert.modality].seconds_per_item(expert)

    def _all(self) -> dict[tuple[str, str], Timing]:
        """Return all timings, read again when any was added to the store."""
        if self._seen != self._store.timings_added:
            self._seen = self._store.timings_added
            timings = self._store.timings(features.machine())
            self._known = {(t.weights_sha, t.preprocessing_sha): t for t in timings}
            self._fits.clear()
        return self._known


@dataclass(frozen=True)
class Fit:
    """Log seconds per item as a straight line in log parameters, and a step for each architecture."""

    level: float
    slope: float
    steps: dict[str, float]

    @classmethod
    def of(cls, timings: Iterable[Timing]) -> Fit:
        """Return the posterior mean of a Bayesian linear regression; without timings, its prior."""
        known = list(timings)
        x = np.array([[1.0, _log_size(t.params)] for t in known]).reshape(-1, 2)
        y = np.array([math.log(t.seconds / t.items) for t in known])
        precision = np.diag(_PRIOR_DEVIATION**-2) + x.T @ x / _SPREAD**2
        beta = _PRIOR + np.linalg.solve(precision, x.T @ (y - x @ _PRIOR) / _SPREAD**2)
        left: dict[str, list[float]] = {}
        for timing, residual in zip(known, y - x @ beta, strict=True):
            left.setdefault(timing.architecture, []).append(float(residual))
        # Shrunk as if one more expert of the architecture were on the line.
        steps = {name: sum(values) / (len(values) + 1) for name, values in left.items()}
        return cls(float(beta[0]), float(beta[1]), steps)

    def seconds_per_item(self, expert: Expert) -> float:
        """Return the prediction for an expert."""
        step = self.steps.get(expert.architecture, 0.0)
        return math.exp(self.level + self.slope * _log_size(expert.params) + step)


def predicted_seconds(expert: Expert, n_items: float, timings: Timings) -> float:
    """Return how long it is likely to take to load an expert and run it on `n_items` usual inputs."""
    return _loading(expert) + n_items * timings.seconds_per_item(expert)


def seconds_now(expert: Expert, n_items: float, timings: Timings, *, starting: float) -> float:
    """Return `predicted_seconds` on this machine as busy as it is now.

    Args:
        expert: to be run.
        n_items: usual inputs.
        timings: marked when the call began.
        starting: seconds of work before any expert can be run.
    """
    slowdown = timings.slowdown
    return (starting + _loading(expert)) * slowdown + n_items * timings.seconds_now(expert, slowdown)


def _loading(expert: Expert) -> float:
    return _OPENING_SECONDS + _SECONDS_PER_MB * expert.bytes / 1e6


def cached(expert: Expert, inputs: Inputs, arrays: Arrays) -> bool:
    """Tell whether the features of the inputs are stored, so that running the expert costs nothing."""
    return arrays.path(features_key(expert, inputs.sha256)).is_file()


def _key(expert: Expert) -> tuple[str, str]:
    return expert.weights_sha, expert.preprocessing_sha


def _since(now: Timing, before: Timing | None) -> tuple[int, float]:
    """Return items and seconds that were added to a timing."""
    return (
        (now.items, now.seconds)
        if before is None
        else (now.items - before.items, now.seconds - before.seconds)
    )


def _log_size(params: int) -> float:
    """Return the logarithm of the size; an unknown one counts as the usual one."""
    return math.log(params / _SIZE) if params > 0 else 0.0
