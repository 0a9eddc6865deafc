"""Federated averaging by deltas: clients train where their data is, only differences travel."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from expertise_graph.data import LabelledData, modalities
from expertise_graph.errors import InvalidInputError
from expertise_graph.merging.apply import combine
from expertise_graph.merging.delta import make_delta
from expertise_graph.merging.deltafile import read_delta, write_delta
from expertise_graph.merging.models import Head, Model
from expertise_graph.merging.packing import PLAIN, Packing
from expertise_graph.merging.states import weights_of
from expertise_graph.probing import extract
from expertise_graph.types import IntArray
from expertise_graph.warmstart.inputs import Inputs, even_batches, training_order

Client = Callable[[Model], Model]
"""Gets the global model and gives back its own, trained from it, with `items` set."""

BACKBONE_LR = 0.3


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one round of federated averaging left.

    Attributes:
        model: the new global model.
        bytes: size of the delta that each client sent.
        errors: what packing lost of each, as a relative error.
        weights: the share of each client.
    """

    model: Model
    bytes: tuple[int, ...]
    errors: tuple[float, ...]
    weights: tuple[float, ...]


def federated_round(
    parent: Model, clients: Sequence[Client], *, folder: Path, packing: Packing = PLAIN
) -> Round:
    """Let each client train from `parent`, and average what they learnt, weighted by their items.

    Every delta goes through a file in `folder`, written and checked as ``delta make`` and
    ``delta apply`` do, so that the sizes are those of what would be sent.

    Args:
        parent: the global model.
        clients: at least one.
        folder: where the deltas are written, ``client-0.safetensors`` and so on.
        packing: how they are written.

    Returns:
        The new global model, in memory; its parent is the old one's.

    Raises:
        InvalidInputError: when a client gives back a model that is none of the parent's children.

    References:
        McMahan et al., arXiv:1602.05629, algorithm 1.
    """
    if not clients:
        raise InvalidInputError("a round without clients has nothing to average")
    deltas, sizes, errors = [], [], []
    for number, client in enumerate(clients):
        delta, error = make_delta(parent, client(parent), packing=packing)
        path = folder / f"client-{number}.safetensors"
        sizes.append(write_delta(delta, path))
        errors.append(error)
        deltas.append(read_delta(path, parent))
    items = [delta.about.items for delta in deltas]
    module, head = combine(parent, deltas)
    return Round(
        model=changed(parent, module, head, items=sum(items)),
        bytes=tuple(sizes),
        errors=tuple(errors),
        weights=tuple(n / sum(items) for n in items),
    )


def changed(model: Model, module: nn.Module, head: Head | None, *, items: int) -> Model:
    """Return a model with another network and head in place of its own."""
    return dataclasses.replace(
        model,
        backbone=dataclasses.replace(model.backbone, module=module),
        weights=weights_of(module, model.expert.name),
        head=head,
        items=items,
    )


def blank_head(model: Model, classes: Sequence[str]) -> Model:
    """Return the model with a head of zeros for `classes`, which all clients then share."""
    dim = model.backbone.dim
    head = Head(weight=torch.zeros(len(classes), dim), bias=torch.zeros(len(classes)), classes=tuple(classes))
    return dataclasses.replace(model, head=head)


def train_locally(
    model: Model,
    data: LabelledData,
    *,
    epochs: int,
    lr: float = 1e-3,
    batch_size: int = 32,
    seed: int = 0,
    own_classes: bool = True,
) -> Model:
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
        InvalidInputError: when the model has no head for these classes, or training diverges.

    References:
        Li and Zhan, FedRS: Federated Learning with Restricted Softmax, KDD 2021, at alpha = 0.
    """
    if model.head is None or not model.head.knows(data.classes):
        raise InvalidInputError(f"{model.name} has no head for the classes of {data.name}: see blank_head")
    module = copy.deepcopy(model.backbone.module).float().train()
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.eval()
    head = {k: t.clone().requires_grad_() for k, t in model.head.ordered(data.classes).state.items()}
    optimizer = torch.optim.AdamW(
        [
            {"params": list(_moving(module)), "lr": BACKBONE_LR * lr},
            {"params": list(head.values()), "lr": lr},
        ],
        weight_decay=0.01,
    )
    labels = torch.from_numpy(np.asarray(data.labels, dtype=np.int64))
    absent = torch.bincount(labels, minlength=len(data.classes)) == 0
    inputs = Inputs(data.items, decode=modalities[data.modality].decode, collate=model.backbone.collate)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for rows in _batches(len(data), epochs, batch_size=batch_size, seed=seed):
            logits = functional.linear(module(**inputs.batch(rows)).float(), head["weight"], head["bias"])
            if own_classes:
                logits = logits.masked_fill(absent, -torch.inf)
            loss = functional.cross_entropy(logits, labels[rows])
            if not bool(torch.isfinite(loss)):
                raise InvalidInputError(f"the loss on {data.name} is {loss.item()}: lower lr")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    trained = Head(weight=head["weight"].detach(), bias=head["bias"].detach(), classes=data.classes)
    return changed(model, module.eval(), trained.ordered(model.head.classes), items=len(data))


def accuracy_of(model: Model, data: LabelledData) -> float:
    """Return the fraction of items of `data` whose class the model and its head name.

    Raises:
        InvalidInputError: when the model has no head for these classes.
    """
    if model.head is None or not model.head.knows(data.classes):
        raise InvalidInputError(f"{model.name} has no head for the classes of {data.name}")
    features = torch.from_numpy(extract(model.backbone, data.items))
    head = model.head.ordered(data.classes)
    guesses = functional.linear(features, head.weight, head.bias).argmax(dim=1)
    return float((guesses.numpy() == np.asarray(data.labels)).mean())


def _moving(module: nn.Module) -> Iterator[nn.Parameter]:
    """Return the parameters to train: all but token embeddings."""
    frozen = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    for parameter in module.parameters():
        parameter.requires_grad_(id(parameter) not in frozen)
        if parameter.requires_grad:
            yield parameter


def _batches(n: int, epochs: int, *, batch_size: int, seed: int) -> Iterator[IntArray]:
    for epoch in range(epochs):
        yield from even_batches(training_order(np.arange(n), seed=seed, epoch=epoch), batch_size)
