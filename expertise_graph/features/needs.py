"""What fine-tuning takes on this machine, for each expert: from its footprint, corrected by own runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from expertise_graph import features
from expertise_graph.core import FOOTPRINT, Expert, Footprint, Needs, count, percent
from expertise_graph.features.demand import Demand, Plan, Speed, Workload, estimated
from expertise_graph.features.laws import law, reads_tokens
from expertise_graph.features.processor import rough_speed, speed_key
from expertise_graph.store import Store

RUNS, CONFIGURATION, SIZE = "runs", "configuration", "size"
"""What an estimate rests on, see `Needs`."""

# Shown to users: somewhat above the median errors of benchmarks/fits, .08 and .23, which are of few cells.
MEMORY_ERROR, TIME_ERROR = 0.15, 0.3

# Ratios of measured to estimated beyond these tell of something else, such as a process that did more.
_MOST_RATIO = 4.0
# How many runs that were just as estimated stand against own ones: of all, and of an architecture.
_RUNS_AGAINST = 1.0


def speed_of(store: Store, *, may_calibrate: bool) -> Speed:
    """Return how fast this machine is: as kept, as measured now, or roughly.

    Args:
        store: keeps what was measured.
        may_calibrate: whether what trains may be loaded and timed, for a second or two.
    """
    known = store.speed(speed_key())
    if known is not None:
        try:
            found = Speed(**{**known, "calibrated": True})  # type: ignore[arg-type]
            if all(0 < value < math.inf for value in known.values()):
                return found
        except TypeError:
            pass
    if not may_calibrate:
        return rough_speed()
    measured = features.calibrate()
    store.put_speed(speed_key(), {n: v for n, v in asdict(measured).items() if n != "calibrated"})
    return measured


def footprint_of(expert: Expert) -> tuple[Footprint | None, str]:
    """Return what one input costs an expert, and what that rests on."""
    known = Footprint.from_dict(expert.meta.get(FOOTPRINT))
    if known is not None:
        return known, CONFIGURATION
    return law(expert.modality, expert.params, expert.dim), SIZE


@dataclass(frozen=True, kw_only=True)
class Corrections:
    """By how much own runs differed from their estimates, as logarithms of ratios, shrunk.

    Attributes:
        memory: by architecture; "" for all others.
        seconds: the same.
    """

    memory: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, ratios: Iterable[tuple[str, float, float]]) -> Corrections:
        """Return the corrections from (architecture, ratio of memory, ratio of seconds) of runs."""
        found = [(a, m, s) for a, m, s in ratios]
        return cls(
            memory=_shrunk([(a, m) for a, m, _ in found]), seconds=_shrunk([(a, s) for a, _, s in found])
        )

    def applied(self, estimate: Demand, architecture: str) -> tuple[float, float]:
        """Return (memory, seconds) of an estimate, corrected."""
        factors = (
            math.exp(known.get(architecture, known.get("", 0.0))) for known in (self.memory, self.seconds)
        )
        memory, seconds = factors
        return estimate.memory * memory, estimate.seconds * seconds


def _shrunk(ratios: list[tuple[str, float]]) -> dict[str, float]:
    logs = [(a, math.log(r)) for a, r in ratios if 1 / _MOST_RATIO <= r <= _MOST_RATIO]
    if not logs:
        return {}
    common = sum(value for _, value in logs) / (len(logs) + _RUNS_AGAINST)
    left: dict[str, list[float]] = {}
    for architecture, value in logs:
        left.setdefault(architecture, []).append(value - common)
    return {"": common} | {
        a: common + sum(values) / (len(values) + _RUNS_AGAINST) for a, values in left.items() if a
    }


@dataclass(kw_only=True)
class Estimates:
    """What fine-tuning on one dataset takes on this machine, expert by expert.

    Attributes:
        plan: of the training.
        workload: the data.
        speed: of this machine.
        corrections: from runs here.
    """

    plan: Plan
    workload: Workload
    speed: Speed
    corrections: Corrections = field(default_factory=Corrections)

    def __call__(self, expert: Expert) -> Needs | None:
        """Return what fine-tuning an expert takes; None where not even its size is known."""
        footprint, known_by = footprint_of(expert)
        if footprint is None:
            return None
        estimate = estimated(footprint, plan=self.plan, workload=self.workload, speed=self.speed)
        if expert.architecture in self.corrections.memory:
            known_by = RUNS
        memory, seconds = self.corrections.applied(estimate, expert.architecture)
        return Needs(memory=memory, minutes=seconds / 60, inference=estimate.inference, known_by=known_by)

    def note(self, strategy: str) -> str:
        """Return the line that says what the estimates are for, and how far they may be off."""
        rate = (
            ""
            if self.speed.calibrated
            else "; this machine was not timed yet, so times may be off three-fold"
        )
        epochs = f", {count(self.plan.epochs, 'epoch')}" if self.plan.fine_tunes else ""
        return (
            f"memory and time are estimates for {strategy}{epochs}: from a configuration within some "
            f"{percent(MEMORY_ERROR)} and {percent(TIME_ERROR)}, from size alone within a factor of two{rate}"
        )


def corrections_from(
    store: Store,
    plan_of: Callable[[Mapping[str, Any]], Plan | None],
    *,
    lengths: Mapping[str, tuple[int, ...]],
    speed: Speed,
) -> Corrections:
    """Return by how much the finished runs of a registry differed from what would have been estimated.

    Args:
        store: the registry.
        plan_of: what of a run's settings decides what it takes; None where they are not understood.
        lengths: of texts, by task; runs on other texts do not count.
        speed: of this machine.
    """
    runs = store.runs(status="done")
    experts = {e.id: e for e in store.experts(where={"id": {run.expert for run in runs}})} if runs else {}
    found = []
    for run in runs:
        expert, plan = experts.get(run.expert), plan_of(run.config)
        if expert is None or plan is None or (reads_tokens(expert.modality) and not lengths.get(run.task)):
            continue
        ratios = _ratios(run.result, expert, plan, lengths.get(run.task, ()), speed)
        if ratios is not None:
            found.append((expert.architecture, *ratios))
    return Corrections.of(found)


def _ratios(
    result: Mapping[str, Any], expert: Expert, plan: Plan, lengths: tuple[int, ...], speed: Speed
) -> tuple[float, float] | None:
    """Return measured / estimated memory and seconds of a run; None where too little is known of it."""
    footprint, _ = footprint_of(expert)
    names = ("n_train", "n_validation", "n_test", "epochs", "seconds", "peak_memory")
    values = [result.get(name) for name in names]
    if footprint is None or not all(isinstance(v, int | float) and v >= 0 for v in values):
        return None
    train, validation, test, epochs, seconds, memory = (float(v) for v in values if v is not None)
    if train < 1 or seconds <= 0 or memory <= 0:
        return None
    work = Workload(train=int(train), validation=int(validation), test=int(test), lengths=lengths)
    ran = replace(plan, epochs=int(epochs))
    estimate = estimated(footprint, plan=ran, workload=work, speed=speed)
    return memory / estimate.memory, seconds / estimate.seconds
