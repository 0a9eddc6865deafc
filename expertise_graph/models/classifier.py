"""A finished model in memory and on disk: a backbone with a linear head."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import skip_init

from expertise_graph.core import InvalidInputError, NotFoundError, finish_tree, remove
from expertise_graph.data import CLASS
from expertise_graph.models.base import Backbone
from expertise_graph.models.descriptions import ModelDescription
from expertise_graph.models.run_folder import RunFolder
from expertise_graph.models.tensors import write_tensors
from expertise_graph.models.transformers_export import write_native
from expertise_graph.models.weights import inspect


class Classifier(nn.Module):
    """A backbone and a linear head; `forward(**batch)` returns logits (n, classes)."""

    def __init__(self, backbone: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch."""
        features: torch.Tensor = self.backbone(**batch)
        logits: torch.Tensor = self.head(features.float())
        return logits


@dataclass(frozen=True, kw_only=True)
class Head:
    """A linear head: weight (k, d), bias (k,), the names of its k outputs, and what they are.

    Attributes:
        classes: names of classes or labels, or of the value.
        kind: of the target, class, labels or value.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    classes: tuple[str, ...]
    kind: str = CLASS

    @property
    def state(self) -> dict[str, torch.Tensor]:
        """Its tensors by name."""
        return {"weight": self.weight, "bias": self.bias}

    def ordered(self, classes: Sequence[str]) -> Head:
        """Return the same head with its classes in another order."""
        rows = [self.classes.index(name) for name in classes]
        return dataclasses.replace(
            self, weight=self.weight[rows], bias=self.bias[rows], classes=tuple(classes)
        )

    def linear(self) -> nn.Linear:
        """Return it as a layer."""
        # Without random weights first: those would change the caller's random state.
        layer: nn.Linear = skip_init(nn.Linear, self.weight.shape[1], self.weight.shape[0])
        layer.load_state_dict(self.state)
        return layer.eval()


def read_head(folder: RunFolder) -> Head | None:
    """Return the head in the folder of a run, None where there is none.

    Raises:
        NotFoundError: when it is described and its weights are missing.
        SourceError: when its weights are damaged.
        InvalidInputError: when the two do not belong together.
    """
    description = folder.description()
    if description is None:
        return None
    if not folder.head.is_file():
        raise NotFoundError(f"{folder.head} is missing: give the folder of a finished run")
    inspect(folder.head)
    tensors = load_file(folder.head)
    weight, bias = tensors.get("weight"), tensors.get("bias")
    if weight is None or bias is None or len(tensors) != 2 or weight.ndim != 2 or len(weight) != len(bias):
        raise InvalidInputError(f"{folder.head} is not a linear head with weight and bias")
    if len(bias) != len(description.classes):
        raise InvalidInputError(
            f"{folder.path} has a head for {len(bias)} classes and names {len(description.classes)}: train "
            "it again"
        )
    return Head(weight=weight.float(), bias=bias.float(), classes=description.classes, kind=description.kind)


def write_model(
    folder: RunFolder,
    backbone: Backbone,
    module: nn.Module,
    *,
    head: Head | None,
    description: ModelDescription,
    save: Callable[[nn.Module, Path], None] | None = None,
) -> str:
    """Write ``model/`` and, where there is one, the head with its description.

    Where transformers has a classifier that computes the same, ``model/`` is that one.

    Args:
        folder: an existing one.
        backbone: knows how to save its kind of module.
        module: the network.
        head: its classifier.
        description: of the model; written beside a head.
        save: what writes the network instead: as an adapter, for example.

    Returns:
        A sentence on how ``model/`` is loaded without this package, or why it cannot be; empty where that
        was not tried.
    """
    module, note = module.eval().cpu(), ""
    remove(folder.model)
    (save or backbone.save)(module, folder.model)
    if head is not None and save is None:
        form = write_native(module, head.linear(), folder.model, classes=head.classes, kind=head.kind)
        note = f"{form.note[:1].upper()}{form.note[1:]}."
    finish_tree(folder.model)
    if head is not None:
        write_tensors(folder.head, head.state)
        folder.write_description(description)
    return note
