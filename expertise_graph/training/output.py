"""What a finished training leaves: backbone, head, history and a model card."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from expertise_graph.core import UNKNOWN, Expert, inline
from expertise_graph.data import CLASS, LabelledData, holdout
from expertise_graph.models import (
    Backbone,
    Classifier,
    FinishedCard,
    Head,
    LearntItems,
    ModelDescription,
    RawInput,
    RunFolder,
    learnt_by,
    pipeline_tag,
    write_learnt_items,
    write_model,
    write_tensors,
)
from expertise_graph.training.result import TrainResult
from expertise_graph.training.strategy import Strategy, strategies


def write_outputs(
    folder: RunFolder,
    backbone: Backbone,
    classifier: Classifier,
    *,
    result: TrainResult,
    tested: torch.Tensor,
    data: LabelledData,
    expert: Expert | None,
) -> None:
    """Write the model, its logits (n, k) of the test items, the history and the card.

    Of strategies that leave the expert's weights alone, only what stands beside them is written.
    """
    beside, classes, linear = _beside(strategies[result.strategy], expert), data.outputs, classifier.head
    note = write_model(
        folder,
        backbone,
        classifier.backbone,
        head=Head(weight=linear.weight.detach(), bias=linear.bias.detach(), classes=classes, kind=data.kind),
        description=ModelDescription(
            classes=classes,
            kind=data.kind,
            temperature=result.temperature,
            trusted_code=bool(expert and expert.trusted_code),
            modality=data.modality,
            dim=backbone.dim,
            metric=result.metric,
            accuracy=result.accuracy,
            seen=result.seen,
            task=data.task.id,
            expert=expert.id if expert else None,
            strategy=result.strategy,
            columns=data.columns.given,
        ),
        save=beside,
    )
    if isinstance(backbone.module, RawInput):
        note = "It is a linear model on the raw input, without a network; `model/` says how that is read."
    if beside is not None and expert is not None:
        note = f"It is an adapter: it is loaded beside the weights of its parent, {inline(expert.name)}."
    write_tensors(folder.tested, {"logits": tested})
    write_learnt_items(folder, _learnt(result, data, expert))
    folder.write_history(result.history)
    folder.write_card(model_card(result, data, expert, note=note))


def _learnt(result: TrainResult, data: LabelledData, expert: Expert | None) -> LearntItems:
    """Return what the model has learnt from, itself and by its weights, if they are those of an expert."""
    splits = holdout(data, seed=result.seed)
    rows = np.concatenate([splits.train, splits.validation])
    own = LearntItems.of([data.digests[i] for i in rows] if data.digests else [])
    pretrained = expert is not None and strategies[result.strategy].pretrained
    return own.and_also(learnt_by(expert)) if expert and pretrained else own


def _beside(way: Strategy, expert: Expert | None) -> Callable[[nn.Module, Path], None] | None:
    """Return what writes only what a strategy puts beside the weights of an expert, if it does so."""
    save = way.save
    if save is None or expert is None:
        return None
    return lambda module, path: save(module, expert, path)


def model_card(result: TrainResult, data: LabelledData, expert: Expert | None, *, note: str = "") -> str:
    """Return the model card of a training.

    Args:
        result: what training reached.
        data: what it was trained on.
        expert: what it was trained from.
        note: a sentence on how to load it.
    """
    way = strategies[result.strategy]
    return FinishedCard(
        title=f"{expert.name if expert else 'model'} for {data.name}",
        license=expert.license if expert else UNKNOWN,
        base_model=_base_model(expert) if way.pretrained else None,
        relation=("finetune" if way.save is None else "adapter") if expert and way.pretrained else None,
        datasets=[data.name],
        pipeline=pipeline_tag(data.modality, data.kind),
        metric=result.metric,
        score=result.accuracy,
        rows=_rows(result, data, expert),
        prose=[
            *([f"{inline(result.note)}.", ""] if result.note else []),
            "The test split took no part in this training or in the choice of its epoch. `model/` holds the",
            "backbone, `head.safetensors` the linear classifier on it, `head.json` the names of the classes.",
            note,
        ],
    ).text


def _rows(result: TrainResult, data: LabelledData, expert: Expert | None) -> Mapping[str, object]:
    name = result.metric.replace("_", " ")
    return {
        f"{name} on the test split": f"{result.accuracy:.4f} ({result.n_test} items)",
        f"{name} on the validation split": f"{result.validation_accuracy:.4f} ({result.n_validation} items)",
        "items trained on": result.n_train,
        "classes" if data.kind == CLASS else data.kind: len(data.outputs),
        "strategy": f"{result.strategy} ({strategies[result.strategy].summary})",
        **({} if result.lr is None else {"peak learning rate": f"{result.lr:g}"}),
        "augmentation": result.augmentation,
        "temperature": f"{result.temperature:.3f}",
        "architecture from": f"`{expert.id}`" if expert else "no registered expert",
        "epochs run, epoch kept": f"{result.epochs}, {result.kept_epoch}",
        "stopped by": result.stopped,
        "steps": result.steps,
        "seconds": f"{result.seconds:.1f}",
        "peak memory": f"{result.peak_memory / 1e6:.0f} MB",
        "seed": result.seed,
        "data": f"`{data.sha256}`",
        "versions": ", ".join(f"{name} {found}" for name, found in _versions().items()),
    }


def _base_model(expert: Expert | None) -> str | None:
    if expert is None:
        return None
    scheme, _, rest = expert.id.partition(":")
    return rest.split("@")[0] if scheme == "hf" else expert.id


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{n: version(n) for n in ("torch", "accelerate")}}
