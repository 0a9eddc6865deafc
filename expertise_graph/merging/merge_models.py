"""Merging children of one parent: judged on validation, measured on test, registered with its lineage."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from expertise_graph.core import Run, count
from expertise_graph.data import LabelledData
from expertise_graph.features import Context
from expertise_graph.merging.candidates import MergeCandidate, Merger
from expertise_graph.merging.evaluator import Evaluator
from expertise_graph.merging.loaded_model import LoadedModel, license_of
from expertise_graph.merging.methods import DENSITY
from expertise_graph.merging.plan import MergePlan, make_plan, open_parent
from expertise_graph.merging.registration import (
    RULE,
    MadeModel,
    Origin,
    datasets_of,
    recording,
    strictest,
)
from expertise_graph.merging.settings import ChildResult, MergeResult, MergeSettings
from expertise_graph.models import (
    FinishedCard,
    Head,
    LearntItems,
    ModelDescription,
    RunFolder,
    pipeline_tag,
    write_learnt_items,
    write_model,
)
from expertise_graph.store import Store, now


def merge(
    context: Context, children: Sequence[str], data: LabelledData, *, out: Path, settings: MergeSettings
) -> MergeResult:
    """Merge models into one, measure it on `data` beside its children, and register it.

    The validation split decides (scale, soup, statistics); the test split is looked at once at the
    end. The same command again reads back what is done. Of a greedy soup that keeps one child
    nothing is written or registered.

    Args:
        context: registry, prober and what is trusted.
        children: registered experts (id, name) or folders of finished runs.
        data: labelled inputs of their modality.
        out: folder to write, new or empty.
        settings: method and numbers.

    Raises:
        InvalidInputError: when the models do not fit each other or the data, or `out` is taken.
        NotFoundError: for a name that is not there.
        DatasetError: when a split is empty.
    """
    started = time.perf_counter()
    plan = make_plan(context, children, data, out=out, settings=settings)
    recorded = RunFolder(plan.out).result_of(plan.identity)
    if recorded is None:
        result, candidate = _measure(context, plan)
        result = dataclasses.replace(result, seconds=time.perf_counter() - started)
        if candidate is None:
            return result
    else:
        result, candidate = MergeResult.from_dict(recorded), None
    with recording(context, _made(plan, result)) as record:
        if candidate is not None:
            _write(plan, result, candidate)
        expert = record()
    return dataclasses.replace(result, expert=expert.id)


def _measure(context: Context, plan: MergePlan) -> tuple[MergeResult, MergeCandidate | None]:
    """Return what the children and their merge reach, and the merge unless it is one child."""
    models, settings = plan.models, plan.settings
    evaluator = Evaluator(plan.data, models[0].backbone, plan.seed, splits=plan.splits)
    own_heads = [model.head_for(evaluator.classes, evaluator.kind) for model in models]
    own = all(own_heads)
    heads = [
        head or evaluator.probe(model.backbone.module) for model, head in zip(models, own_heads, strict=True)
    ]
    results = [
        _child(model, head, evaluator, own=mine is not None)
        for model, head, mine in zip(models, heads, own_heads, strict=True)
    ]
    needs_parent = settings.method in ("task-arithmetic", "ties")
    parent = open_parent(context, models, plan.parent) if needs_parent else None
    merger = Merger(models, heads, own=own, parent=parent, evaluator=evaluator, settings=settings)
    candidate = merger.best([child.validation_accuracy for child in results])
    alone = len(candidate.rows) == 1
    winner = results[candidate.rows[0]]
    accuracy = winner.accuracy if alone else evaluator.measure(candidate.module, candidate.head, "test")[0]
    result = MergeResult(
        run=plan.run_id,
        expert=None,
        parent=plan.parent,
        method=settings.method,
        metric=evaluator.metric,
        scale=candidate.scale,
        density=(settings.density or DENSITY) if settings.method == "ties" else None,
        weights=settings.weights,
        children=tuple(
            dataclasses.replace(child, kept=row in candidate.rows) for row, child in enumerate(results)
        ),
        head="merged" if own else "probe",
        statistics=candidate.statistics,
        statistics_accuracy=dict(candidate.accuracies),
        validation_accuracy=winner.validation_accuracy if alone else candidate.accuracy,
        accuracy=accuracy,
        n_test=len(evaluator.rows["test"]),
        seed=plan.seed,
        license=strictest(_licences(context.store, plan)),
        seconds=0.0,
        path=None if alone else str(plan.out),
        task=plan.data.task.id,
        notes=_notes(plan, alone=winner.name if alone else None),
    )
    return result, None if alone else candidate


def _child(model: LoadedModel, head: Head, evaluator: Evaluator, *, own: bool) -> ChildResult:
    module = model.backbone.module
    return ChildResult(
        expert=model.expert.id,
        name=model.name,
        head="own" if own else "probe",
        validation_accuracy=evaluator.measure(module, head, "validation")[0],
        accuracy=evaluator.measure(module, head, "test")[0],
    )


def _licences(store: Store, plan: MergePlan) -> list[str]:
    parent = store.known_expert(plan.parent) if plan.parent else None
    return [*map(license_of, plan.models), *([parent.license] if parent else [])]


def _notes(plan: MergePlan, *, alone: str | None) -> tuple[str, ...]:
    notes = []
    if alone:
        notes.append(f"no average was as good on validation as {alone} alone: nothing was written")
    if plan.parent is None:
        notes.append("the models have no parent in common: the average was forced")
    if plan.left_out:
        notes.append(
            f"left out: {count(plan.left_out, 'validation or test item')} that the models were trained on or "
            "validated with"
        )
    seeds = {seed for model in plan.models for task, seed in model.seen if task == plan.data.task.id}
    if seeds - {plan.seed} and "validation" not in plan.data.splits:
        notes.append("some children were trained on validation items of others: validation flatters them")
    return tuple(notes)


def _write(plan: MergePlan, result: MergeResult, candidate: MergeCandidate) -> None:
    """Write the folder of a merge: the form of a finished warm start, there as a whole or not at all."""
    first = plan.models[0]
    description = ModelDescription(
        classes=candidate.head.classes,
        kind=candidate.head.kind,
        trusted_code=any(m.expert.trusted_code for m in plan.models),
        modality=first.backbone.modality,
        dim=first.backbone.dim,
        metric=result.metric,
        accuracy=result.accuracy,
        task=result.task,
        expert=plan.parent,
        strategy=plan.method,
        columns=plan.data.columns.given,
    )
    with RunFolder(plan.out).written_whole() as folder:
        write_model(folder, first.backbone, candidate.module, head=candidate.head, description=description)
        write_learnt_items(folder, _learnt(plan))
        folder.write_card(_card(plan, result).text)
        folder.finish(plan.identity, result.as_dict())


def _learnt(plan: MergePlan) -> LearntItems:
    """Return what a merge has learnt from: as its children, and from the items it was chosen by."""
    digests = plan.data.digests
    rows = np.concatenate([plan.splits.train, plan.splits.validation]) if digests else ()
    return LearntItems.of([digests[i] for i in rows]).and_also(*(model.learnt for model in plan.models))


def _card(plan: MergePlan, result: MergeResult) -> FinishedCard:
    best, metric = result.best_child, result.metric.replace("_", " ")
    statistics = ", ".join(f"{name} {value:.4f}" for name, value in result.statistics_accuracy.items())
    rows: dict[str, object] = {
        f"test {metric}": f"{result.accuracy:.4f} ({result.n_test} items)",
        f"validation {metric}": f"{result.validation_accuracy:.4f}",
        "best child by validation": f"{best.name}, test {metric} {best.accuracy:.4f}",
        "parent": result.parent or "none in common",
        "method": result.method,
        "scale": result.scale,
        "density": result.density,
        "weights": result.weights,
        "head": result.head,
        "batch-norm statistics": f"{result.statistics} (validation {metric}: {statistics})",
        "seed of the splits": result.seed,
    }
    rows |= {
        f"child {c.name}": f"{c.accuracy:.4f}, {'kept' if c.kept else 'left out'}" for c in result.children
    }
    return FinishedCard(
        title=f"{result.method} of {len(result.children)} models for {plan.data.name}",
        license=result.license,
        base_model=[child.expert for child in result.children if child.kept],
        relation="merge",
        tags=["merge"],
        datasets=datasets_of([m.expert for m in plan.models], plan.data.name),
        pipeline=pipeline_tag(plan.data.modality, plan.data.kind),
        metric=result.metric,
        rows=rows,
        prose=[
            "The test split took no part in any choice. `model/` holds the backbone, `head.safetensors` the",
            f"linear classifier, `head.json` its classes. Licence: {RULE}",
            *(f"Note: {note}." for note in result.notes),
        ],
    )


def _made(plan: MergePlan, result: MergeResult) -> MadeModel:
    """Return what the registry is to hold of a merge: its lineage to all it was made of, and its result."""
    kept = [child.expert for child in result.children if child.kept]
    origin = Origin(
        parent=plan.parent,
        sources=tuple(s for s in (plan.parent, *kept) if s),
        method=plan.method,
        relation="merge",
        run=plan.run_id,
        name=f"{plan.data.name}-{plan.settings.method}-of-{len(kept)}",
        license=result.license,
        modality=plan.data.modality,
        datasets=datasets_of([m.expert for m in plan.models], plan.data.name),
        seed=plan.seed,
    )
    run = Run(
        id=plan.run_id,
        expert=plan.parent or result.best_child.expert,
        task=result.task,
        child=None,
        status="done",
        strategy=plan.method,
        seed=plan.seed,
        path=str(plan.out),
        config=plan.settings.as_dict(),
        result={
            "metric": result.metric,
            "accuracy": result.accuracy,
            "best_child_accuracy": result.best_child.accuracy,
            "seconds": result.seconds,
            "n_test": result.n_test,
        },
        started_at=now(),
        finished_at=now(),
    )
    return MadeModel(
        folder=plan.out,
        identity=plan.identity,
        origin=origin,
        task=plan.data.task,
        run=run,
        n_test=result.n_test,
    )
