"""Before the first epoch: a linear probe becomes the head, a teacher labels the training items."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from expertise_graph.core import IntArray
from expertise_graph.data import CLASS
from expertise_graph.models import RawInput
from expertise_graph.training.augmentation import mirroring_harms
from expertise_graph.training.linear_probe import LinearHead, fit_probe, initial_scale
from expertise_graph.training.trainable import TrainableModel

Rows = Mapping[str, IntArray]
"""Indices of the items of each split."""


def probe(model: TrainableModel, rows: Rows, module: nn.Module) -> tuple[LinearHead, torch.Tensor]:
    """Return a linear probe on a backbone, and the features (n, d) by item that it was fitted on."""
    train, validation = rows["train"], rows["validation"]
    both = np.concatenate([train, validation[~np.isin(validation, train)]])
    features = model.features(module, both)
    counts = isinstance(module, RawInput) and module.counts
    head = fit_probe(features, model.objective, train=train, validation=validation, counts=counts)
    return head, features


def ask_teacher(model: TrainableModel, rows: Rows, teacher: nn.Module | None) -> None:
    """Let a teacher, with a linear probe as its head, give soft labels to the training items."""
    if teacher is None:
        return
    head, features = probe(model, rows, copy.deepcopy(teacher).to(model.accelerator.device))
    soft = head.logits(features[rows["train"]])
    model.teacher_logits = torch.full((len(features), soft.shape[1]), math.nan)
    model.teacher_logits[rows["train"]] = soft


def prepare_head(model: TrainableModel, rows: Rows, expert: nn.Module | None) -> float:
    """Make the head a linear probe where the strategy wants one, and decide whether images are mirrored.

    Args:
        model: what is trained.
        rows: indices of the items of each split.
        expert: the pretrained backbone, where it is not the one that is trained.

    Returns:
        The factor of the probe's weights that training starts from.

    Raises:
        SourceError: when features are not finite.
    """
    way, one_class, scale = model.config.way, model.objective.kind == CLASS, 1.0
    may_mirror = model.augment and one_class
    if not (way.probe or may_mirror):
        return scale
    module = model.classifier.backbone
    if expert is not None:
        module = copy.deepcopy(expert).to(model.accelerator.device)
    head, features = probe(model, rows, module)
    if may_mirror:
        model.mirror = not _mirroring_harms(model, rows["validation"], module, head, features)
    if way.probe:
        # Values and several labels were not tried with a smaller head.
        if way.fine_tunes and one_class and not model.augment:
            scale = _initial_scale(model, rows["train"], head, features)
        set_head(model, head, scale=scale)
    return scale


def set_head(model: TrainableModel, head: LinearHead, *, scale: float = 1.0) -> None:
    """Copy `scale` times the weights of a linear probe into the classifier."""
    with torch.no_grad():
        model.classifier.head.weight.copy_(scale * head.weight)
        model.classifier.head.bias.copy_(scale * head.bias)


def _mirroring_harms(
    model: TrainableModel, rows: IntArray, module: nn.Module, head: LinearHead, features: torch.Tensor
) -> bool:
    targets = model.objective.targets[rows]
    plain, flipped = features[rows], model.predict(rows, module=module, flip=True)
    return mirroring_harms(*(head.logits(f).argmax(dim=1) == targets for f in (plain, flipped)))


def _initial_scale(model: TrainableModel, rows: IntArray, head: LinearHead, features: torch.Tensor) -> float:
    objective = model.objective
    loss = objective.measure(head.logits(features[rows]), objective.targets[rows]).item()
    return initial_scale(model.agreed(loss), objective.outputs)
