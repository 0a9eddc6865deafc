"""Memory and minutes of a training on the data that a query is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from expertise_graph import features
from expertise_graph.core import Query, byte_size, count, setting
from expertise_graph.data import LabelledData, holdout
from expertise_graph.features import Plan, Workload
from expertise_graph.store import Store

PlanOf = Callable[[Mapping[str, Any]], Plan | None]
"""Returns what of a training's settings decides how much memory and time it takes, where they are known."""

# Texts whose lengths are looked at: the longest of a thousand is near the longest of all.
_TEXTS = 1000


def usual_plan(_: Mapping[str, Any]) -> Plan:
    """Return the plan of a training by the default settings."""
    return Plan()


def estimates_for(
    store: Store, data: LabelledData, query: Query, *, plan_of: PlanOf, may_calibrate: bool
) -> features.Estimates:
    """Return what fine-tuning on a dataset takes on this machine, as a function of the expert.

    Args:
        store: keeps the speed of the machine, and has runs that estimates are corrected by.
        data: the dataset.
        query: its strategy and seed count.
        plan_of: what of a training's settings decides how much memory and time it takes.
        may_calibrate: whether the machine may be timed now, for a second or two, where it was not yet.
    """
    workload = _workload(data, query.seed)
    speed = features.speed_of(store, may_calibrate=may_calibrate)
    lengths = {data.task.id: workload.lengths}
    return features.Estimates(
        plan=plan_of({"strategy": query.strategy}) or Plan(),
        workload=workload,
        speed=speed,
        corrections=features.corrections_from(store, plan_of, lengths=lengths, speed=speed),
    )


def left_out(excluded: Mapping[str, tuple[str, ...]], free: float) -> list[str]:
    """Return a line on the published models that too little memory alone keeps out, if there are any."""
    alone = sum(reasons == (setting("fits"),) for reasons in excluded.values())
    if not alone:
        return []
    are = "is" if alone == 1 else "are"
    return [
        f"{count(alone, 'published model')} {are} left out: fine-tuning is estimated to take more than the "
        f"{byte_size(free)} of memory that are free ({setting('fits', False)} ranks them)"
    ]


def _workload(data: LabelledData, seed: int) -> Workload:
    splits = holdout(data, seed=seed)
    texts = [item for item in data.items[:: max(1, len(data.items) // _TEXTS)] if isinstance(item, str)]
    return Workload(
        train=len(splits.train),
        validation=len(splits.validation),
        test=len(splits.test),
        lengths=tuple(len(text.encode("utf-8", "replace")) for text in texts),
    )
