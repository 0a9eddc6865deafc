"""A warm start in the registry: the run, the fine-tuned child, its lineage and the measured result."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expertise_graph.core import (
    KEY_DIGITS,
    Edge,
    Expert,
    FailedError,
    InvalidInputError,
    Run,
    Task,
    WarmStart,
    expert_errors,
    setting,
)
from expertise_graph.data import LabelledData, holdout
from expertise_graph.features import Context, Timings, predicted_seconds, probe_sets, remembered
from expertise_graph.models import RunFolder, SourceOptions, learnt_by, load, resolve
from expertise_graph.registry import learnt_from, register
from expertise_graph.store import Pending, Store, now
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.launcher import launch
from expertise_graph.training.result import OnProgress, TrainingProgress, TrainResult
from expertise_graph.training.spec import RunSpec, WarmCold, train_by_spec
from expertise_graph.training.strategy import LINEAR_PROBE

VERSION = "1"
# Seconds of work that writing, registering and recording a child take beside running it, and how often it is
# read again: for its hash, and in the form of its library.
RECORDING, READ_AGAIN = 1.0, 3
TRAINED = "training"
"""Kind of the work that `finish_run` finishes."""


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """All that is to be recorded of a run once its folder has a result.

    Attributes:
        id: of the run.
        spec: expert, settings and folder.
        task: what it learns.
        digests: of the items that it learns from; empty where the data have none.
    """

    id: str
    spec: RunSpec
    task: Task
    digests: tuple[str, ...]

    @classmethod
    def of(cls, data: LabelledData, spec: RunSpec) -> TrainedRun:
        """Return what a run on some data is."""
        digests: tuple[str, ...] = ()
        if data.digests:
            splits = holdout(data, seed=spec.config.seed)
            digests = tuple(data.digests[i] for i in np.concatenate([splits.train, splits.validation]))
        return cls(id=spec.run_id(data), spec=spec, task=data.task, digests=digests)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; of digests what the registry keeps of them."""
        task, digests = dataclasses.asdict(self.task), [digest[:KEY_DIGITS] for digest in self.digests]
        return {"id": self.id, "spec": self.spec.as_dict(), "task": task, "digests": digests}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainedRun:
        """Return what `as_dict` gave, even after it was JSON."""
        task = Task(**{**values["task"], "classes": tuple(values["task"]["classes"])})
        spec, digests = RunSpec.from_dict(values["spec"]), tuple(values["digests"])
        return cls(id=values["id"], spec=spec, task=task, digests=digests)


def warm_start(
    context: Context, data: LabelledData, spec: RunSpec, progress: OnProgress | None = None
) -> WarmStart:
    """Train by a specification, and register the child, its lineage and the result.

    An interrupted run is resumed, a finished one is read back; recording either again changes
    nothing. A run is recorded once training has begun: one that is refused leaves no trace; what is to be
    recorded of its result is noted then, so that after a kill another process can do it.

    Args:
        context: registry, prober, and whether code that comes with an expert may be run.
        data: labelled inputs.
        spec: expert, settings and folder.
        progress: called after each step and phase.

    Raises:
        SourceError: when the expert cannot be loaded.
        InvalidInputError: when the folder holds something else.
    """
    store, trust_code = context.store, context.trust_code
    with expert_errors(spec.expert.name):
        backbone = load(spec.expert, trust_code=trust_code)
    seen, begun = _seen(store, data, spec), False
    if spec.started is not None:
        spec = dataclasses.replace(
            spec, started=spec.started - _seconds_after(store, data, spec, spec.started)
        )
    trained = TrainedRun.of(data, spec)

    def begin(step: TrainingProgress | None = None) -> None:
        nonlocal begun
        if not begun:
            begun = True
            with store.transaction():
                store.put_task(data.task)
                _put_run(store, trained, "running")
                store.put_pending(TRAINED, trained.id, trained.as_dict())
        if step is not None and progress is not None:
            progress(step)

    try:
        if spec.launcher is not None:
            begin()
            launch(spec, data, seen=seen, trust_code=trust_code)
        # The result of the launched processes is read back here.
        with _failing(store, data, spec), expert_errors(spec.expert.name):
            result = train_by_spec(backbone, data, spec, trust_code=trust_code, seen=seen, progress=begin)
    except BaseException as error:
        if begun:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            _put_run(store, trained, status, result={"error": f"{type(error).__name__}: {error}"})
            store.drop_pending(TRAINED, trained.id)
        raise
    if backbone.lengths is not None and backbone.lengths.cut:
        note = "; ".join(filter(None, [result.warm.note, backbone.lengths.note]))
        result = dataclasses.replace(result, warm=dataclasses.replace(result.warm, note=note))
    with store.pending(TRAINED, trained.id, trained.as_dict()):
        child = _recorded(context, trained, result)
    return _answer(trained.id, spec.expert.id, child.id, trained.task, spec.out, result)


def finish_run(context: Context, one: Pending) -> str:
    """Record a run whose process was killed after its training had ended; see `warm_start`."""
    trained = TrainedRun.from_dict(one.detail)
    spec = trained.spec
    warm = _result_in(spec.out, spec.config, trained.task)
    cold = _result_in(spec.out / "cold", spec.config.cold(), trained.task) if spec.compare_cold else None
    if warm is None or (spec.compare_cold and cold is None):
        return ""  # it is resumed by its own command
    child = _recorded(context, trained, WarmCold(warm=warm, cold=cold))
    return f"finished what was begun: the run in {spec.out} is recorded with {child.short}"


def _result_in(folder: Path, config: TrainConfig, task: Task) -> TrainResult | None:
    """Return the result of a run in a folder; None where it has none, or another run has the folder."""
    record = RunFolder(folder).record()
    same = record and (record.identity.get("digest"), f"task:{record.identity.get('data')}") == (
        config.digest(),
        task.id,
    )
    return TrainResult.from_dict(record.result) if record and same and record.result else None


def warm_start_from_first(
    context: Context,
    data: LabelledData,
    spec: RunSpec,
    experts: Sequence[Expert],
    progress: OnProgress | None = None,
) -> WarmStart:
    """Do a warm start from the first of the experts that can be trained; a note says which failed, and why.

    Args:
        context: as of `warm_start`.
        data: labelled inputs.
        spec: settings and folder; its expert is replaced.
        experts: best first.
        progress: called after each step and phase.

    Raises:
        FailedError: when the last one fails as well.
    """
    *others, last = experts
    failed: list[str] = []

    def started_from(expert: Expert) -> WarmStart:
        done = warm_start(context, data, dataclasses.replace(spec, expert=expert), progress)
        return dataclasses.replace(done, note="; ".join(filter(None, [*failed, done.note])))

    for expert in others:
        try:
            return started_from(expert)
        except FailedError as error:
            failed.append(str(error))
            if RunFolder(spec.out).is_run:
                RunFolder(spec.out).discard()
    return started_from(last)


def _failing(store: Store, data: LabelledData, spec: RunSpec) -> AbstractContextManager[None]:
    """Return what remembers that the expert failed; other networks trained in its place say nothing of it."""
    return remembered(store, spec.expert, data.task.id) if spec.measures_expert else nullcontext()


def _seconds_after(store: Store, data: LabelledData, spec: RunSpec, started: float) -> float:
    """Return the seconds that writing and registering the child take, on a machine as busy as until now."""
    timings, work = Timings(store), RECORDING
    if spec.config.way.fine_tunes:
        work += predicted_seconds(spec.expert, probe_sets.current(store, data.modality).n, timings)
        work += READ_AGAIN * predicted_seconds(spec.expert, 0, timings)
    return work * max(1.0, (time.perf_counter() - started) / time.process_time())


def expert_of_run(store: Store, out: Path) -> Expert | None:
    """Return the expert that the run in `out` was started from, None where there is no run.

    Its result changes the ranking, so a query could now name another expert; the same command
    continues with the same expert.

    Raises:
        InvalidInputError: when that expert is not registered any more.
    """
    started = _started_from(store, out)
    if not started:
        return None
    known = _first_known(store, started)
    if known is None:
        name, again = _name_of_removed(store, started[0])
        raise InvalidInputError(
            f"{out} holds a run from {name}, which is not registered any more: choose another "
            f"{setting('out')}, or register it again{again} to go on with that run"
        )
    return known


def describe_run(store: Store, out: Path) -> str | None:
    """Return a few words about the run in `out`: what it started from, and whether it has finished."""
    record, started = RunFolder(out).record(), _started_from(store, out)
    if record is None or not started:
        return None
    known = _first_known(store, started)
    name = known.short if known else _name_of_removed(store, started[0])[0]
    return f"an unfinished run from {name}" if record.result is None else f"a finished run from {name}"


def _started_from(store: Store, out: Path) -> list[str]:
    """Return the ids that the expert of the run in `out` is or was known by, the likeliest first."""
    record = RunFolder(out).record()
    if record is None:
        return []
    ids = [record.identity.get("expert"), *(run.expert for run in reversed(store.runs(path=str(out))))]
    return [str(expert) for expert in ids if expert]


def _first_known(store: Store, ids: Sequence[str]) -> Expert | None:
    """Return the first of these experts that is registered, None where none is."""
    return next((expert for e in ids if (expert := store.known_expert(e)) is not None), None)


def _name_of_removed(store: Store, expert: str) -> tuple[str, str]:
    """Return what an expert that was removed was called, and how to register it where that is known."""
    kept = store.removed([expert]).get(expert, {})
    place = kept.get("from")
    return str(kept.get("short") or expert), f" with: expertise-graph register {place}" if place else ""


def finished_run(
    store: Store, data: LabelledData, out: Path, config: TrainConfig, *, compare_cold: bool
) -> WarmStart | None:
    """Return the result of the same run in `out` where it has finished and its expert is gone since.

    Where the expert is there, `warm_start` reads the result back.
    """
    if _first_known(store, _started_from(store, out)) is not None:
        return None
    warm = _result_in(out, config, data.task)
    cold = _result_in(out / "cold", config.cold(), data.task) if compare_cold else None
    runs = store.runs(task=data.task.id, path=str(out), status="done")
    if warm is None or not runs or (compare_cold and cold is None):
        return None
    RunFolder(out).check_complete()
    run = runs[-1]
    return _answer(
        run.id, run.expert, run.child or run.expert, data.task, out, WarmCold(warm=warm, cold=cold)
    )


def _seen(store: Store, data: LabelledData, spec: RunSpec) -> int:
    """Return how many test items the expert, or one that it descends from, was trained on."""
    if not data.digests or not spec.config.way.pretrained:
        return 0
    test = [data.digests[i] for i in holdout(data, seed=spec.config.seed).test]
    # An expert that was trained elsewhere brings its own record along, and none in this registry.
    learnt = learnt_from(store, [spec.expert.id], test) | learnt_by(spec.expert).among(test)
    return int(learnt.sum())


def _recorded(context: Context, trained: TrainedRun, result: WarmCold) -> Expert:
    """Register what a run left and record its result; doing it again changes nothing."""
    child = _register_child(context, trained, result)
    _record(context.store, trained, result, child)
    return child


def _register_child(context: Context, trained: TrainedRun, result: WarmCold) -> Expert:
    """Register the trained backbone; one that was frozen, or kept as it was, is the expert itself."""
    spec = trained.spec
    pretrained, expert, data = spec.config.way.pretrained, spec.expert, trained.task.name
    if spec.measures_expert and not result.warm.kept_epoch:
        return expert
    options = SourceOptions(
        trust_code=context.trust_code,
        license=expert.license,
        modality=expert.modality,
        tags=("warm-start" if pretrained else "from-scratch",),
    )
    child = resolve(f"dir:{spec.out / 'model'}", options)
    if child.id == expert.id:
        return expert
    child = dataclasses.replace(
        child,
        name=_child_name(context.store, data, expert.name if pretrained else "scratch", child.id),
        base_model=expert.id if pretrained else None,
        datasets=(*expert.datasets, data),
    )
    return register(context.store, context.prober.here(), child)


def _child_name(store: Store, data: str, expert: str, child: str) -> str:
    """Return DATA-from-EXPERT, without what the expert itself is from, numbered where that is taken."""
    name = f"{data}-from-{expert.partition('-from-')[0]}"
    candidates = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    # A child that is registered again keeps its name.
    return next(
        free for free in candidates if all(e.id == child for e in store.experts(where={"name": free}))
    )


def _record(store: Store, trained: TrainedRun, result: WarmCold, child: Expert) -> None:
    spec, changed = trained.spec, child.id != trained.spec.expert.id
    # The accuracy on items that the expert was trained on says nothing about new ones.
    edges = [_transfer(trained, result)] if spec.measures_expert and not result.warm.seen else []
    if changed and spec.config.way.pretrained:
        edges.append(_lineage(trained, child))
    with store.transaction():
        store.put_task(trained.task)
        store.drop_run_edges(trained.id)
        # The run's own edge says more than the lineage that registration read off the child.
        store.drop_declared_lineage(spec.expert.id, child.id)
        store.put_edges(edges)
        # An unchanged expert has no child: it has seen nothing, and stays a candidate for the task.
        if changed and trained.digests:
            store.put_seen(trained.task.id, spec.config.seed, trained.digests)
        _put_run(store, trained, "done", result=_summary(result), child=child.id if changed else None)


def _transfer(trained: TrainedRun, result: WarmCold) -> Edge:
    warm = result.warm
    return Edge(
        kind="transfer",
        source=trained.spec.expert.id,
        target=trained.task.id,
        weight=warm.accuracy,
        metric=warm.metric,
        # Where time ended before the first epoch no fine-tune was measured.
        method=warm.strategy if warm.epochs else LINEAR_PROBE,
        version=VERSION,
        seed=warm.seed,
        n=warm.n_test,
        seconds=warm.seconds,
        run=trained.id,
        meta=_summary(result),
    )


def _lineage(trained: TrainedRun, child: Expert) -> Edge:
    config = trained.spec.config
    return Edge(
        kind="lineage",
        source=trained.spec.expert.id,
        target=child.id,
        weight=1.0,
        method=config.strategy,
        version=VERSION,
        seed=config.seed,
        run=trained.id,
        meta={"into": config.into} if config.into else {},
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
        "lr": result.warm.lr,
    }


def _put_run(
    store: Store,
    trained: TrainedRun,
    status: str,
    *,
    result: dict[str, Any] | None = None,
    child: str | None = None,
) -> None:
    spec, before = trained.spec, store.run(trained.id)
    store.put_run(
        Run(
            id=trained.id,
            expert=spec.expert.id,
            task=trained.task.id,
            child=child,
            status=status,
            strategy=spec.config.strategy,
            seed=spec.config.seed,
            path=str(spec.out),
            config=spec.config.as_dict(),
            result=result or {},
            started_at=before.started_at if before else now(),
            finished_at=None if status == "running" else now(),
        )
    )


def _answer(run: str, expert: str, child: str, task: Task, out: Path, result: WarmCold) -> WarmStart:
    warm = result.warm
    return WarmStart(
        run=run,
        expert=expert,
        child=child,
        task=task.id,
        strategy=warm.strategy,
        metric=warm.metric,
        accuracy=warm.accuracy,
        cold_accuracy=result.cold.accuracy if result.cold else None,
        seed=warm.seed,
        epochs=warm.epochs,
        seconds=warm.seconds,
        path=str(out),
        note=warm.note,
        lr=warm.lr,
        lr_search=warm.lr_search,
    )
