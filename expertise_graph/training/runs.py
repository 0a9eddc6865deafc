"""A warm start in the registry: the run, the fine-tuned child, its lineage and the measured result."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from expertise_graph.core import Edge, Expert, FailedError, Run, WarmStart, expert_errors
from expertise_graph.data import LabelledData, holdout
from expertise_graph.features import Context, Timings, predicted_seconds, probe_sets, remembered
from expertise_graph.models import RunFolder, SourceOptions, load, resolve
from expertise_graph.registry import learnt_from, register
from expertise_graph.store import Store, now
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.launcher import launch
from expertise_graph.training.result import OnProgress, TrainingProgress
from expertise_graph.training.spec import RunSpec, WarmCold, train_by_spec

VERSION = "1"
# Seconds of work that writing, registering and recording a child take beside running it, and how often it is
# read again: for its hash, and in the form of its library.
RECORDING, READ_AGAIN = 1.0, 3


def warm_start(
    context: Context, data: LabelledData, spec: RunSpec, progress: OnProgress | None = None
) -> WarmStart:
    """Train by a specification, and register the child, its lineage and the result.

    An interrupted run is resumed, a finished one is read back; recording either again changes
    nothing. A run is recorded once training has begun: one that is refused leaves no trace.

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

    def begin(step: TrainingProgress | None = None) -> None:
        nonlocal begun
        if not begun:
            begun = True
            store.put_task(data.task)
            _put_run(store, data, spec, "running")
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
            _put_run(store, data, spec, status, result={"error": f"{type(error).__name__}: {error}"})
        raise
    if backbone.lengths is not None and backbone.lengths.cut:
        note = "; ".join(filter(None, [result.warm.note, backbone.lengths.note]))
        result = dataclasses.replace(result, warm=dataclasses.replace(result.warm, note=note))
    child = _register_child(context, data, spec, result)
    _record(store, data, spec, result, child)
    return _answer(data, spec, result, child)


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


def expert_of_run(store: Store, data: LabelledData, out: Path, config: TrainConfig) -> Expert | None:
    """Return the expert that the same run in `out` was started from, if there is one.

    Its result changes the ranking, so a query could now name another expert; the same command
    continues with the same expert.
    """
    if not RunFolder(out).is_run:
        return None
    runs = store.runs(task=data.task.id, path=str(out))
    same = [run for run in runs if dict(run.config) == config.as_dict()]
    known = [expert for run in same if (expert := store.known_expert(run.expert)) is not None]
    return known[-1] if known else None


def _seen(store: Store, data: LabelledData, spec: RunSpec) -> int:
    """Return how many test items the expert, or one that it descends from, was trained on."""
    if not data.digests or not spec.config.way.pretrained:
        return 0
    test = holdout(data, seed=spec.config.seed).test
    seen = store.seen([data.digests[i] for i in test])
    return learnt_from(store, spec.expert.id, seen=seen)


def _register_child(context: Context, data: LabelledData, spec: RunSpec, result: WarmCold) -> Expert:
    """Register the trained backbone; one that was frozen, or kept as it was, is the expert itself."""
    pretrained, expert = spec.config.way.pretrained, spec.expert
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
        name=_child_name(context.store, data.name, expert.name if pretrained else "scratch", child.id),
        base_model=expert.id if pretrained else None,
        datasets=(*expert.datasets, data.name),
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


def _record(store: Store, data: LabelledData, spec: RunSpec, result: WarmCold, child: Expert) -> None:
    changed = child.id != spec.expert.id
    # The accuracy on items that the expert was trained on says nothing about new ones.
    edges = [_transfer(data, spec, result)] if spec.measures_expert and not result.warm.seen else []
    if changed and spec.config.way.pretrained:
        edges.append(_lineage(data, spec, child))
    with store.transaction():
        store.put_task(data.task)
        store.drop_run_edges(spec.run_id(data))
        # The run's own edge says more than the lineage that registration read off the child.
        store.drop_declared_lineage(spec.expert.id, child.id)
        store.put_edges(edges)
        # An unchanged expert has no child: it has seen nothing, and stays a candidate for the task.
        if changed and data.digests:
            splits = holdout(data, seed=spec.config.seed)
            rows = np.concatenate([splits.train, splits.validation])
            store.put_seen(data.task.id, spec.config.seed, [data.digests[i] for i in rows])
        summary = _summary(result)
        _put_run(store, data, spec, "done", result=summary, child=child.id if changed else None)


def _transfer(data: LabelledData, spec: RunSpec, result: WarmCold) -> Edge:
    warm = result.warm
    return Edge(
        kind="transfer",
        source=spec.expert.id,
        target=data.task.id,
        weight=warm.accuracy,
        metric=warm.metric,
        method=warm.strategy,
        version=VERSION,
        seed=warm.seed,
        n=warm.n_test,
        seconds=warm.seconds,
        run=spec.run_id(data),
        meta=_summary(result),
    )


def _lineage(data: LabelledData, spec: RunSpec, child: Expert) -> Edge:
    config = spec.config
    return Edge(
        kind="lineage",
        source=spec.expert.id,
        target=child.id,
        weight=1.0,
        method=config.strategy,
        version=VERSION,
        seed=config.seed,
        run=spec.run_id(data),
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
    }


def _put_run(
    store: Store,
    data: LabelledData,
    spec: RunSpec,
    status: str,
    *,
    result: dict[str, Any] | None = None,
    child: str | None = None,
) -> None:
    run_id = spec.run_id(data)
    before = store.run(run_id)
    store.put_run(
        Run(
            id=run_id,
            expert=spec.expert.id,
            task=data.task.id,
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


def _answer(data: LabelledData, spec: RunSpec, result: WarmCold, child: Expert) -> WarmStart:
    warm = result.warm
    return WarmStart(
        run=spec.run_id(data),
        expert=spec.expert.id,
        child=child.id,
        task=data.task.id,
        strategy=warm.strategy,
        metric=warm.metric,
        accuracy=warm.accuracy,
        cold_accuracy=result.cold.accuracy if result.cold else None,
        seed=warm.seed,
        epochs=warm.epochs,
        seconds=warm.seconds,
        path=str(spec.out),
        note=warm.note,
    )
