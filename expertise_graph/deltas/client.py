"""What one client of a federation does with its own items: class sums, training, accuracy."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from expertise_graph.core import InvalidInputError, setting
from expertise_graph.data import CLASS, LabelledData, known_modalities
from expertise_graph.features import extract
from expertise_graph.merging import LoadedModel, changed
from expertise_graph.models import Classifier, Head
from expertise_graph.training import (
    BatchLoader,
    Objective,
    TrainableModel,
    TrainConfig,
    Trainer,
    objective_of,
    private_rng,
    training_order,
    unfreeze,
)

STRATEGY = "lp-ft"
"""All weights are trained, the backbone at this strategy's fraction of the learning rate."""
WEIGHT_DECAY = 0.01
"""Of AdamW, as in a warm start."""
# Length of a row of the prototype head over the mean distance of the class means: logits of some units, so
# that the softmax is neither flat, as with 1, nor one-hot, as with 100. Not tuned.
SHARPNESS = 10.0


def blank_head(model: LoadedModel, classes: Sequence[str]) -> LoadedModel:
    """Return the model with a head of zeros for `classes`, which all clients then share.

    Where clients have different classes `prototype_head` is much the better start.
    """
    dim = model.backbone.dim
    head = Head(weight=torch.zeros(len(classes), dim), bias=torch.zeros(len(classes)), classes=tuple(classes))
    return dataclasses.replace(model, head=head)


@dataclass(frozen=True, kw_only=True)
class ClassSums:
    """Sums (classes, d) of the features of each class at one client, and counts (classes,) of its items."""

    sums: torch.Tensor
    counts: torch.Tensor

    @property
    def bytes(self) -> int:
        """What would be sent: the rows of the classes that the client has, and all counts."""
        return int((self.counts > 0).sum()) * self.sums.shape[1] * 4 + len(self.counts) * 4


def class_sums(model: LoadedModel, data: LabelledData) -> ClassSums:
    """Return what a client tells of its items before the first round, see `prototype_head`.

    Of a class with one item that is the item's features: give it more, or leave it out.
    """
    features = torch.from_numpy(extract(model.backbone, data.items))
    labels = torch.from_numpy(np.asarray(data.labels, dtype=np.int64))
    sums = torch.zeros(len(data.classes), features.shape[1]).index_add_(0, labels, features)
    return ClassSums(sums=sums, counts=torch.bincount(labels, minlength=len(data.classes)).float())


def prototype_head(model: LoadedModel, classes: Sequence[str], told: Sequence[ClassSums]) -> LoadedModel:
    """Return the model with a head made of the class means over all clients, to start the rounds from.

    Row c is the direction from the mean of all items to the mean of class c, scaled so that rows have
    the length 10 over the mean distance. The sums are exact: no client need have every class, and the
    head is the one that the pooled data would give. A class that nobody has gets zeros.

    Args:
        model: the expert.
        classes: names in the order of the rows.
        told: the sums of each client.

    Raises:
        InvalidInputError: when there are no items, or sums do not fit the model and the classes.

    References:
        Legate et al., arXiv:2306.03937, nearest class means, then federated fine-tuning.
    """
    shape = (len(classes), model.backbone.dim)
    for one in told:
        if (
            tuple(one.sums.shape) != shape
            or len(one.counts) != shape[0]
            or not bool(one.sums.isfinite().all())
        ):
            raise InvalidInputError(f"class sums of shape {tuple(one.sums.shape)} do not fit {shape}")
    sums, counts = sum(one.sums.double() for one in told), sum(one.counts.double() for one in told)
    if not isinstance(sums, torch.Tensor) or not isinstance(counts, torch.Tensor) or not counts.sum() > 0:
        raise InvalidInputError("no client has any items: there are no class means")
    centre = sums.sum(dim=0) / counts.sum()
    away = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None] - centre, 0.0)
    lengths = away.norm(dim=1, keepdim=True)
    mean_length = lengths[counts > 0].mean().clamp(min=1e-12)
    weight = SHARPNESS / mean_length * away / lengths.clamp(min=1e-12)
    head = Head(weight=weight.float(), bias=-(weight @ centre).float(), classes=tuple(classes))
    return dataclasses.replace(model, head=head)


def train_locally(
    model: LoadedModel,
    data: LabelledData,
    *,
    epochs: int,
    lr: float = 1e-3,
    batch_size: int = 32,
    seed: int = 0,
    own_classes: bool = True,
) -> LoadedModel:
    """Fine-tune a model and its head on all items of `data`, as a client does between two averages.

    AdamW with a constant learning rate, the backbone at 0.3 of the head's; batch normalisation and
    token embeddings stay as they are. Nothing is held out.

    Args:
        model: with a head for the classes of `data`.
        data: labelled inputs; it may lack items of some classes.
        epochs: passes over the items.
        lr: learning rate of the head.
        batch_size: items a step.
        seed: of the order of the items.
        own_classes: leave classes without items out of the softmax, so that a client does not unlearn
            what the others know.

    Raises:
        InvalidInputError: when the model has no head for these classes, the data have not one class an
            item, or training diverges.

    References:
        Li and Zhan, FedRS: Federated Learning with Restricted Softmax, KDD 2021, at alpha = 0.
    """
    head = _head_for(model, data)
    if model.head is None or head is None:
        raise InvalidInputError(f"{model.name} has no head for the classes of {data.name}: see blank_head")
    config = TrainConfig(
        strategy=STRATEGY,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        augment=False,
        precision="no",
    )
    with private_rng(seed):
        trainer = _trainer(model, head, data, config, own_classes=own_classes)
        trainer.run_epochs()
    if trainer.state.stopped == "nan":
        raise InvalidInputError(
            f"training on {data.name} diverged ({trainer.state.note}): lower {setting('lr')}"
        )
    classifier = trainer.model.classifier.eval().cpu()
    trained = Head(
        weight=classifier.head.weight.detach(), bias=classifier.head.bias.detach(), classes=data.classes
    )
    return changed(model, classifier.backbone, trained.ordered(model.head.classes), items=len(data))


def _trainer(
    model: LoadedModel, head: Head, data: LabelledData, config: TrainConfig, *, own_classes: bool
) -> Trainer:
    """Return the training of a copy of the model on all items: constant rates, no clipping, no validation."""
    classifier = Classifier(
        copy.deepcopy(model.backbone.module).float(), nn.Linear(model.backbone.dim, len(data.classes))
    )
    unfreeze(classifier.backbone, STRATEGY, rank=1)
    with torch.no_grad():
        classifier.head.weight.copy_(head.weight)
        classifier.head.bias.copy_(head.bias)
    optimizer = torch.optim.AdamW(
        [
            {"params": list(parameters), "peak": rate, "opens": 0.0}
            for parameters, rate in (
                (
                    (p for p in classifier.backbone.parameters() if p.requires_grad),
                    config.way.lr * config.peak_lr,
                ),
                (classifier.head.parameters(), config.peak_lr),
            )
        ],
        weight_decay=WEIGHT_DECAY,
    )
    batches = BatchLoader(
        data.items, decode=known_modalities[data.modality].decode, collate=model.backbone.collate
    )
    objective = _own_objective(data, own_classes=own_classes)
    rows, none = np.arange(len(data)), np.arange(0)
    return Trainer(
        model=TrainableModel(classifier, objective, batches, config, optimizer=optimizer, clip=math.inf),
        rows={"train": rows, "validation": none, "test": none},
        order=lambda epoch: training_order(rows, seed=config.seed, epoch=epoch - 1),
        schedule=lambda fraction: 1.0,
    )


def _own_objective(data: LabelledData, *, own_classes: bool) -> Objective:
    """Return cross-entropy without class weights; with `own_classes` over the classes that have items."""
    rows = np.arange(len(data))
    objective = objective_of(data, rows, rows)
    absent = torch.bincount(objective.targets, minlength=objective.outputs) == 0

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if own_classes:
            logits = logits.masked_fill(absent.to(logits.device), -torch.inf)
        return functional.cross_entropy(logits, targets)

    return dataclasses.replace(objective, loss_of=loss, class_weights=None)


def accuracy_of(model: LoadedModel, data: LabelledData) -> float:
    """Return the fraction of items of `data` whose class the model and its head name.

    Raises:
        InvalidInputError: when the model has no head for these classes.
    """
    head = _head_for(model, data)
    if head is None:
        raise InvalidInputError(f"{model.name} has no head for the classes of {data.name}")
    features = torch.from_numpy(extract(model.backbone, data.items))
    guesses = functional.linear(features, head.weight, head.bias).argmax(dim=1)
    return float((guesses.numpy() == np.asarray(data.labels)).mean())


def _head_for(model: LoadedModel, data: LabelledData) -> Head | None:
    return model.head_for(data.classes, CLASS) if data.kind == CLASS else None
