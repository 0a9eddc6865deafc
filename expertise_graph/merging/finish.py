"""What a finished merge leaves: its folder, its card, and its place in the registry."""

from __future__ import annotations

import dataclasses

from expertise_graph.core import Run
from expertise_graph.features import Prober
from expertise_graph.merging.candidates import Blend
from expertise_graph.merging.licences import RULE
from expertise_graph.merging.plan import Plan
from expertise_graph.merging.record import Origin, datasets_of, put_result, register_model
from expertise_graph.merging.settings import MergeResult
from expertise_graph.models import FinishedCard, ModelDescription, RunFolder, pipeline_tag, write_model
from expertise_graph.store import Store, now


def write_merge(plan: Plan, result: MergeResult, blend: Blend) -> None:
    """Write the folder of a merge: the form of a finished warm start, there as a whole or not at all."""
    first = plan.models[0]
    description = ModelDescription(
        classes=blend.head.classes,
        kind=blend.head.kind,
        trusted_code=any(m.expert.trusted_code for m in plan.models),
        modality=first.backbone.modality,
        dim=first.backbone.dim,
        metric=result.metric,
        accuracy=result.accuracy,
        task=result.task,
        expert=plan.parent,
        strategy=plan.method,
    )
    with RunFolder(plan.out).written_whole() as folder:
        write_model(folder, first.backbone, blend.module, head=blend.head, description=description)
        folder.write_card(_card(plan, result).text)
        folder.finish(plan.identity, result.as_dict())


def _card(plan: Plan, result: MergeResult) -> FinishedCard:
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


def record_merge(store: Store, prober: Prober, plan: Plan, result: MergeResult) -> MergeResult:
    """Register the merge with lineage to all it was made of, and its result."""
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
    expert = register_model(store, prober, plan.out, origin, trust_code=plan.trust_code)
    done = dataclasses.replace(result, expert=expert.id)
    start = plan.parent or result.best_child.expert
    run = Run(
        id=plan.run_id,
        expert=start,
        task=result.task,
        child=expert.id,
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
        started_at=next((r.started_at for r in store.runs() if r.id == plan.run_id), now()),
        finished_at=now(),
    )
    put_result(store, plan.data.task, run, n_test=result.n_test, start=start)
    return done
