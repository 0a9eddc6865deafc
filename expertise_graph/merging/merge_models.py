"""Merging children of one parent: judged on validation, measured on test, registered with its lineage."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from expertise_graph.data import LabelledData
from expertise_graph.features import Prober
from expertise_graph.merging.candidates import Blend, Blender
from expertise_graph.merging.compatibility import open_parent
from expertise_graph.merging.evaluator import Yardstick
from expertise_graph.merging.finish import record_merge, write_merge
from expertise_graph.merging.licences import strictest
from expertise_graph.merging.methods import DENSITY
from expertise_graph.merging.models import Model, license_of
from expertise_graph.merging.plan import Plan, make_plan
from expertise_graph.merging.settings import ChildResult, MergeResult, MergeSettings
from expertise_graph.models import Head, RunFolder
from expertise_graph.store import Store


def merge(
    store: Store,
    prober: Prober,
    children: Sequence[str],
    data: LabelledData,
    *,
    out: Path,
    settings: MergeSettings,
    trust_code: bool = False,
) -> MergeResult:
    """Merge models into one, measure it on `data` beside its children, and register it.

    The validation split decides (scale, soup, statistics); the test split is looked at once at the
    end. The same command again reads back what is done. Of a greedy soup that keeps one child
    nothing is written or registered.

    Args:
        store: the registry.
        prober: runs the new expert on the probe set.
        children: registered experts (id, name) or folders of finished runs.
        data: labelled inputs of their modality.
        out: folder to write, new or empty.
        settings: method and numbers.
        trust_code: whether networks built by code of the user may be loaded.

    Raises:
        InvalidInputError: when the models do not fit each other or the data, or `out` is taken.
        NotFoundError: for a name that is not there.
        DatasetError: when a split is empty.
    """
    started = time.perf_counter()
    plan = make_plan(store, children, data, out=out, settings=settings, trust_code=trust_code)
    recorded = RunFolder(plan.out).result_of(plan.identity)
    if recorded is None:
        result, blend = _measure(store, plan)
        result = dataclasses.replace(result, seconds=time.perf_counter() - started)
        if blend is None:
            return result
        write_merge(plan, result, blend)
    else:
        result = MergeResult.from_dict(recorded)
    return record_merge(store, prober, plan, result)


def _measure(store: Store, plan: Plan) -> tuple[MergeResult, Blend | None]:
    """Return what the children and their merge reach, and the merge unless it is one child."""
    models, settings = plan.models, plan.settings
    yardstick = Yardstick(plan.data, models[0].backbone, plan.seed)
    found = [model.head_for(yardstick.classes, yardstick.kind) for model in models]
    own = all(found)
    heads = [
        head or yardstick.probe(model.backbone.module) for model, head in zip(models, found, strict=True)
    ]
    results = [
        _child(model, head, yardstick, own=mine is not None)
        for model, head, mine in zip(models, heads, found, strict=True)
    ]
    needs_parent = settings.method in ("task-arithmetic", "ties")
    parent = open_parent(store, models, plan.parent, trust_code=plan.trust_code) if needs_parent else None
    blender = Blender(models, heads, own=own, parent=parent, yardstick=yardstick, settings=settings)
    blend = blender.best([child.validation_accuracy for child in results])
    alone = len(blend.rows) == 1
    winner = results[blend.rows[0]]
    accuracy = winner.accuracy if alone else yardstick.measure(blend.module, blend.head, "test")[0]
    result = MergeResult(
        run=plan.run_id,
        expert=None,
        parent=plan.parent,
        method=settings.method,
        metric=yardstick.metric,
        scale=blend.scale,
        density=(settings.density or DENSITY) if settings.method == "ties" else None,
        weights=settings.weights,
        children=tuple(
            dataclasses.replace(child, kept=row in blend.rows) for row, child in enumerate(results)
        ),
        head="merged" if own else "probe",
        statistics=blend.statistics,
        statistics_accuracy=dict(blend.accuracies),
        validation_accuracy=winner.validation_accuracy if alone else blend.accuracy,
        accuracy=accuracy,
        n_test=len(yardstick.rows["test"]),
        seed=plan.seed,
        license=strictest(_licences(store, plan)),
        seconds=0.0,
        path=None if alone else str(plan.out),
        task=plan.data.task.id,
        notes=_notes(plan, alone=winner.name if alone else None),
    )
    return result, None if alone else blend


def _child(model: Model, head: Head, yardstick: Yardstick, *, own: bool) -> ChildResult:
    module = model.backbone.module
    return ChildResult(
        expert=model.expert.id,
        name=model.name,
        head="own" if own else "probe",
        validation_accuracy=yardstick.measure(module, head, "validation")[0],
        accuracy=yardstick.measure(module, head, "test")[0],
    )


def _licences(store: Store, plan: Plan) -> list[str]:
    parents = [e.license for e in store.experts(plan.data.modality) if e.id == plan.parent]
    return [*map(license_of, plan.models), *parents]


def _notes(plan: Plan, *, alone: str | None) -> tuple[str, ...]:
    notes = []
    if alone:
        notes.append(f"no average was as good on validation as {alone} alone: nothing was written")
    if plan.parent is None:
        notes.append("the models have no parent in common: the average was forced")
    seeds = {seed for model in plan.models for task, seed in model.seen if task == plan.data.task.id}
    if seeds - {plan.seed} and "validation" not in plan.data.splits:
        notes.append("some children were trained on validation items of others: validation flatters them")
    return tuple(notes)
