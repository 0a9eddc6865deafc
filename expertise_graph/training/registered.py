"""A warm start as the registry sees it: the run, the child it leaves, and the measured result."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from expertise_graph.core import Edge, Expert, Run, WarmStart
from expertise_graph.data import Columns, LabelledData, holdout
from expertise_graph.features import Prober
from expertise_graph.models import RunFolder, SourceOptions, load, resolve
from expertise_graph.registry import learnt_from, register
from expertise_graph.store import Store, now
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.launcher import Job, launch
from expertise_graph.training.result import TrainingProgress, TrainResult
from expertise_graph.training.start import Start, WarmCold, warm_start

Report = Callable[[TrainingProgress], None]

VERSION = "1"
_NO_COLUMNS = Columns()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan(Start):
    """What is to be trained from what, on which data, and where to.

    Attributes:
        launcher: arguments for ``accelerate launch``; None to train in this process.
        columns: by which the data were read, so that other processes read the same.
    """

    data: LabelledData
    out: Path
    launcher: tuple[str, ...] | None = None
    columns: Columns = _NO_COLUMNS

    @property
    def measures_expert(self) -> bool:
        """Whether the result is one of the expert, and not of random weights or of a smaller network."""
        return self.config.way.pretrained and self.config.into is None

    @property
    def run_id(self) -> str:
        """The same plan has the same id, so that the same command goes on with the same run."""
        parts = (self.expert.id, self.data.task.id, self.config.digest(), str(self.out.absolute()))
        return f"run:{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:16]}"


@dataclasses.dataclass
class _Notice:
    """Enters a run into the registry once training has begun; a plan that is refused leaves nothing."""

    store: Store
    plan: Plan
    report: Report | None
    begun: bool = False

    def begin(self) -> None:
        """Enter the run, if that was not done."""
        if not self.begun:
            self.begun = True
            self.store.put_task(self.plan.data.task)
            _note(self.store, self.plan, "running", {})

    def __call__(self, progress: TrainingProgress) -> None:
        self.begin()
        if self.report is not None:
            self.report(progress)


def execute(store: Store, prober: Prober, plan: Plan, report: Report | None) -> WarmStart:
    """Train as planned, and leave the child, its lineage and the result in the registry.

    A plan that was interrupted is resumed, one that is done is read back; recording either again
    changes nothing.

    Raises:
        SourceError: when the expert cannot be loaded.
        InvalidInputError: when the folder holds something else.
    """
    backbone = load(plan.expert, trust_code=plan.trust_code)
    plan = dataclasses.replace(plan, seen=_seen(store, plan))
    notice = _Notice(store, plan, report)
    try:
        if plan.launcher is not None:
            notice.begin()
            launch(_job(plan), plan.launcher)
        # What the processes have trained is read back here.
        result = warm_start(backbone, plan.data, plan, out=plan.out, progress=notice)
    except BaseException as error:
        if notice.begun:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            _note(store, plan, status, {"error": f"{type(error).__name__}: {error}"})
        raise
    child = _register_child(store, prober, plan, result)
    _record(store, plan, result, child)
    return _answer(plan, result, child)


def _seen(store: Store, plan: Plan) -> int:
    """Return how many test items the expert, or one that it descends from, has learnt from."""
    if not plan.data.digests or not plan.config.way.pretrained:
        return 0
    test = holdout(plan.data, seed=plan.config.seed).test
    found = store.seen([plan.data.digests[i] for i in test])
    return learnt_from(store, plan.expert.id, seen=found)


def _job(plan: Plan) -> Job:
    return Job(
        **{field.name: getattr(plan, field.name) for field in dataclasses.fields(Start)},
        locator=plan.data.locator,
        columns=plan.columns,
        sha256=plan.data.sha256,
        out=str(plan.out),
    )


def begun_from(store: Store, data: LabelledData, out: Path, config: TrainConfig) -> Expert | None:
    """Return the expert that a run like this was begun from in `out`, if one was.

    What a run measured moves the next query's answer; the same command goes on with the same expert.
    """
    if not RunFolder(out).is_run:
        return None
    zoo = {e.id: e for e in store.experts()}
    wanted = (data.task.id, str(out), config.as_dict())
    begun = [r for r in store.runs() if (r.task, r.path, dict(r.config)) == wanted and r.expert in zoo]
    return zoo[begun[-1].expert] if begun else None


def _register_child(store: Store, prober: Prober, plan: Plan, result: WarmCold) -> Expert:
    """Register the trained backbone; one that was frozen, or kept as it was, is the expert itself."""
    way = plan.config.way
    if plan.measures_expert and not result.warm.kept_epoch:
        return plan.expert
    options = SourceOptions(
        trust_code=plan.trust_code,
        name=f"{plan.data.name}-from-{plan.expert.name if way.pretrained else 'scratch'}",
        license=plan.expert.license,
        modality=plan.expert.modality,
        tags=("warm-start" if way.pretrained else "from-scratch",),
    )
    child = resolve(f"dir:{plan.out / 'model'}", options)
    if child.id == plan.expert.id:
        return plan.expert
    parent = plan.expert.id if way.pretrained else None
    return register(
        store,
        prober,
        dataclasses.replace(child, base_model=parent, datasets=(*plan.expert.datasets, plan.data.name)),
    )


def _record(store: Store, plan: Plan, result: WarmCold, child: Expert) -> None:
    # What an expert had learnt from before says nothing of what it is worth for new items.
    edges = [_transfer(plan, result)] if plan.measures_expert and not result.warm.seen else []
    if child.id != plan.expert.id and plan.config.way.pretrained:
        edges.append(_lineage(plan, child))
    with store.transaction():
        store.put_task(plan.data.task)
        store.drop_run_edges(plan.run_id)
        # The run's own edge says more than the lineage that registration read off the child.
        store.drop_declared_lineage(plan.expert.id, child.id)
        store.put_edges(edges)
        # An expert left as it was has no child: it has seen nothing, and stays a candidate for the task.
        changed = child.id != plan.expert.id
        if changed and plan.data.digests:
            splits = holdout(plan.data, seed=plan.config.seed)
            learnt = np.concatenate([splits.train, splits.validation])
            store.put_seen(plan.data.task.id, plan.config.seed, [plan.data.digests[i] for i in learnt])
        _note(store, plan, "done", _summary(result), child=child.id if changed else None)


def _transfer(plan: Plan, result: WarmCold) -> Edge:
    warm = result.warm
    return Edge(
        kind="transfer",
        source=plan.expert.id,
        target=plan.data.task.id,
        weight=warm.accuracy,
        metric=warm.metric,
        method=warm.strategy,
        version=VERSION,
        seed=warm.seed,
        n=warm.n_test,
        seconds=warm.seconds,
        run=plan.run_id,
        meta=_summary(result),
    )


def _lineage(plan: Plan, child: Expert) -> Edge:
    return Edge(
        kind="lineage",
        source=plan.expert.id,
        target=child.id,
        weight=1.0,
        method=plan.config.strategy,
        version=VERSION,
        seed=plan.config.seed,
        run=plan.run_id,
        meta={"into": plan.config.into} if plan.config.into else {},
    )


def _summary(result: WarmCold) -> dict[str, Any]:
    return {
        "metric": result.warm.metric,
        "accuracy": result.warm.accuracy,
        "cold_accuracy": result.cold.accuracy if result.cold else None,
        "transfer_gain": result.transfer_gain,
        "epochs": result.warm.epochs,
        "n_train": result.warm.n_train,
        "n_test": result.warm.n_test,
        "seconds": result.warm.seconds,
        "stopped": result.warm.stopped,
    }


def _note(store: Store, plan: Plan, status: str, result: dict[str, Any], child: str | None = None) -> None:
    started = next((r.started_at for r in store.runs() if r.id == plan.run_id), now())
    store.put_run(
        Run(
            id=plan.run_id,
            expert=plan.expert.id,
            task=plan.data.task.id,
            child=child,
            status=status,
            strategy=plan.config.strategy,
            seed=plan.config.seed,
            path=str(plan.out),
            config=plan.config.as_dict(),
            result=result,
            started_at=started,
            finished_at=None if status == "running" else now(),
        )
    )


def _answer(plan: Plan, result: WarmCold, child: Expert) -> WarmStart:
    warm: TrainResult = result.warm
    return WarmStart(
        run=plan.run_id,
        expert=plan.expert.id,
        child=child.id,
        task=plan.data.task.id,
        strategy=warm.strategy,
        metric=warm.metric,
        accuracy=warm.accuracy,
        cold_accuracy=result.cold.accuracy if result.cold else None,
        seed=warm.seed,
        epochs=warm.epochs,
        seconds=warm.seconds,
        path=str(plan.out),
        note=warm.note,
    )
