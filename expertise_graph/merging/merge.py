"""Merging children of one parent: judged on validation, measured on test, registered with its lineage."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from expertise_graph.data import LabelledData
from expertise_graph.errors import InvalidInputError
from expertise_graph.merging.blend import Blend, Blender
from expertise_graph.merging.family import check_compatible, open_parent, parent_of
from expertise_graph.merging.licences import RULE, strictest
from expertise_graph.merging.methods import DENSITY, normalised
from expertise_graph.merging.models import Head, Model, license_of, open_model
from expertise_graph.merging.output import check_free, new_folder, read_record, write_card, write_model
from expertise_graph.merging.record import Origin, datasets_of, put_result, register_model
from expertise_graph.merging.settings import ChildResult, MergeResult, MergeSettings
from expertise_graph.merging.yardstick import Yardstick
from expertise_graph.probing import Prober
from expertise_graph.store import Store, now
from expertise_graph.types import Run
from expertise_graph.warmstart.folder import write_json

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be merged on which data, where to, and how."""

    models: tuple[Model, ...]
    parent: str | None
    data: LabelledData
    out: Path
    settings: MergeSettings
    seed: int
    trust_code: bool = False

    @property
    def identity(self) -> dict[str, object]:
        """What makes a merge the same merge."""
        return {
            "models": [m.expert.id for m in self.models],
            "data": self.data.sha256,
            "parent": self.parent,
            "config": {**self.settings.as_dict(), "seed": self.seed},
        }

    @property
    def run_id(self) -> str:
        """The same plan has the same id."""
        text = json.dumps([self.identity, str(self.out)], sort_keys=True)
        return f"run:{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def method(self) -> str:
        """The method as edges and cards name it."""
        return f"merge:{self.settings.method}"


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
    recorded = read_record(plan.out, plan.identity)
    if recorded is None:
        check_free(plan.out)
        result, blend = _measure(store, plan)
        result = dataclasses.replace(result, seconds=time.perf_counter() - started)
        if blend is None:
            return result
        _write(plan, result, blend)
    else:
        result = MergeResult.from_dict(recorded)
    return _record(store, prober, plan, result)


def make_plan(
    store: Store,
    children: Sequence[str],
    data: LabelledData,
    *,
    out: Path,
    settings: MergeSettings,
    trust_code: bool = False,
) -> Plan:
    """Open the models and check that they fit each other, the data and the settings; see `merge`."""
    models = tuple(open_model(store, text, trust_code=trust_code) for text in children)
    check_compatible(models, force=settings.force)
    if settings.weights is not None:
        normalised(settings.weights, len(models))
    if data.modality != models[0].expert.modality:
        raise InvalidInputError(
            f"{data.name} holds {data.modality} and the models take {models[0].expert.modality}"
        )
    given = store.find_expert(settings.parent).id if settings.parent else None
    parent = given or parent_of(models, force=settings.force)
    seeds = [seed for model in models for task, seed in model.seen if task == data.task.id]
    seed = settings.seed if settings.seed is not None else (seeds or [0])[0]
    if not settings.force:
        check_unseen(models, data, seed)
    return Plan(
        models=models,
        parent=parent,
        data=data,
        out=out.absolute(),
        settings=settings,
        seed=seed,
        trust_code=trust_code,
    )


def check_unseen(models: Sequence[Model], data: LabelledData, seed: int) -> None:
    """Refuse to measure models on test items that they were trained on.

    Without a declared test split the items held out depend on the seed.

    Raises:
        InvalidInputError: naming the model and its seed.
    """
    if {"train", "test"} <= set(data.splits):
        return
    for model in models:
        for task, other in model.seen:
            if task == data.task.id and other != seed:
                raise InvalidInputError(
                    f"{model.name} was trained on {data.name} with --seed {other}, which holds out other "
                    f"items than --seed {seed}: train the children with one seed, or declare a test split"
                )


def _measure(store: Store, plan: Plan) -> tuple[MergeResult, Blend | None]:
    """Return what the children and their merge reach, and the merge unless it is one child."""
    models, settings = plan.models, plan.settings
    yardstick = Yardstick(plan.data, models[0].backbone, plan.seed)
    classes = yardstick.classes
    own = all(m.head is not None and m.head.knows(classes) for m in models)
    heads = [_head(model, yardstick) for model in models]
    results = [_child(m, h, yardstick) for m, h in zip(models, heads, strict=True)]
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


def _head(model: Model, yardstick: Yardstick) -> Head:
    """Return the model's head for the classes of the data, else a probe."""
    if model.head is not None and model.head.knows(yardstick.classes):
        return model.head.ordered(yardstick.classes)
    return yardstick.probe(model.backbone.module)


def _child(model: Model, head: Head, yardstick: Yardstick) -> ChildResult:
    module = model.backbone.module
    own = model.head is not None and model.head.knows(yardstick.classes)
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


def _write(plan: Plan, result: MergeResult, blend: Blend) -> None:
    first = plan.models[0]
    description = {
        "accuracy": result.accuracy,
        "task": result.task,
        "expert": plan.parent,
        "strategy": plan.method,
        "trusted_code": any(m.expert.trusted_code for m in plan.models),
    }
    with new_folder(plan.out) as folder:
        write_model(folder, first.backbone, blend.module, head=blend.head, description=description)
        _write_card(folder, plan, result)
        write_json(folder / "run.json", {"identity": plan.identity, "result": result.as_dict()})


def _write_card(folder: Path, plan: Plan, result: MergeResult) -> None:
    title = f"{result.method} of {len(result.children)} models for {plan.data.name}"
    best = result.best_child
    fields = {
        "license": result.license,
        "base_model": [child.expert for child in result.children if child.kept],
        "base_model_relation": "merge",
        "datasets": list(datasets_of([m.expert for m in plan.models], plan.data.name)),
        "metrics": ["accuracy"],
        "pipeline_tag": f"{plan.data.modality}-classification",
        "tags": ["expertise-graph", "merge"],
    }
    rows: dict[str, object] = {
        f"test accuracy, {n} items": f"{a:.4f}"
        for n, a in [(f"merge on {result.n_test}", result.accuracy)]
    }
    rows |= {
        "validation accuracy": f"{result.validation_accuracy:.4f}",
        "best child by validation": f"{best.name}, test accuracy {best.accuracy:.4f}",
        "parent": result.parent or "none in common",
        "method": result.method,
        "scale": result.scale,
        "density": result.density,
        "weights": result.weights,
        "head": result.head,
        "batch-norm statistics": f"{result.statistics} (validation accuracy {dict(result.statistics_accuracy)})",
        "seed of the splits": result.seed,
    }
    rows |= {f"child {c.name}": f"{c.accuracy:.4f}, {'kept' if c.kept else 'left out'}" for c in result.children}
    shown = {name: value for name, value in rows.items() if value is not None}
    prose = [
        "The test split took no part in any choice. `model/` holds the backbone, `head.safetensors` the linear",
        f"classifier, `head.json` its classes. Licence: {RULE}",
        *(f"Note: {note}." for note in result.notes),
    ]
    write_card(folder, title, fields, shown, prose)


def _record(store: Store, prober: Prober, plan: Plan, result: MergeResult) -> MergeResult:
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
