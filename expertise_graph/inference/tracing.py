"""A model as one graph of tensor operations, with real inputs to check what was made of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from expertise_graph.core import InvalidInputError, SourceError, first_line
from expertise_graph.data import known_modalities, plural_of, read_probe_set
from expertise_graph.inference.model import Model, Network
from expertise_graph.models import Batch, Classifier, RawInput
from expertise_graph.starter import probe_files

BATCH, TOKENS = "batch", "tokens"
TOKEN_INPUTS = ("input_ids", "attention_mask")
# Inputs that a file is checked on: one alone and a batch of eleven, so that the batch size must really vary.
CHECKED = 12


@dataclass(frozen=True, kw_only=True)
class Traced:
    """A model as torch.export sees it.

    Attributes:
        program: takes the inputs in the order of `names` and gives logits (n, classes).
        names: of the inputs.
        dynamic: for each input the sizes that vary, by dimension.
        longest: tokens at most, for texts.
        batches: real inputs, of several sizes.
        expected: the logits of each batch by the model itself.
    """

    program: torch.export.ExportedProgram
    names: tuple[str, ...]
    dynamic: tuple[dict[int, Any], ...]
    longest: int | None
    batches: tuple[tuple[torch.Tensor, ...], ...]
    expected: tuple[NDArray[np.float32], ...]


class _Ordered(nn.Module):
    """The classifiers of a model, that take their inputs by place."""

    def __init__(self, model: Model, names: tuple[str, ...]) -> None:
        super().__init__()
        self.classifiers = nn.ModuleList(_classifier_of(network) for network in model.networks)
        self.factors = model.factors
        self.names = names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes)."""
        batch = dict(zip(self.names, tensors, strict=True))
        parts = [f * c(**batch) for f, c in zip(self.factors, self.classifiers, strict=True)]
        return torch.stack(parts).sum(dim=0)


def trace(model: Model) -> Traced:
    """Turn a model into one graph whose batch size, and number of tokens, may vary.

    Raises:
        InvalidInputError: when the networks of an ensemble take different inputs.
        SourceError: when a network does what such a graph cannot hold.
    """
    if any(isinstance(network.backbone.module, RawInput) for network in model.networks):
        raise InvalidInputError(
            f"{model.folder} describes raw inputs by code of this package, which no graph holds: use predict"
        )
    raw = _real_batches(model)
    names = tuple(name for name in TOKEN_INPUTS if name in raw[0]) or tuple(raw[0])
    longest = _longest(model, names[0])
    dynamic = _dynamic(names, longest)
    batches = tuple(tuple(batch[name] for name in names) for batch in raw)
    try:
        with torch.no_grad(), quiet():
            program = torch.export.export(
                _Ordered(model, names).eval(), batches[-1], dynamic_shapes=(dynamic,)
            )
    except Exception as error:  # networks of unknown authors fail in any way
        raise SourceError(f"{model.folder} cannot be exported: {first_line(error)}") from error
    # By all that the preprocessing gives: an input that is left out must make no difference.
    everything = _Ordered(model, tuple(raw[0])).eval()
    with torch.inference_mode():
        expected = tuple(everything(*batch.values()).numpy() for batch in raw)
    return Traced(
        program=program, names=names, dynamic=dynamic, longest=longest, batches=batches, expected=expected
    )


def _classifier_of(network: Network) -> Classifier:
    """Return backbone and head as one module on the processor."""
    return Classifier(network.backbone.module.cpu(), network.head.cpu()).eval()


def _real_batches(model: Model) -> tuple[Batch, Batch]:
    """Return one, and then eleven, inputs of the shipped probe set of the model's modality."""
    probes = (read_probe_set(path) for path in probe_files())
    items = next((p.items for p in probes if p.probe_set.modality == model.modality), None)
    if items is None:
        raise InvalidInputError(
            f"models of {plural_of(model.modality)} cannot be exported: no inputs to check them on"
        )
    decoded = [known_modalities[model.modality].decode(item) for item in items[:CHECKED]]
    collated = [(n.backbone.collate(decoded[:1]), n.backbone.collate(decoded[1:])) for n in model.networks]
    for network, pair in zip(model.networks, collated, strict=True):
        if not all(_same(own, first) for own, first in zip(pair, collated[0], strict=True)):
            raise _different(model, network)
    return collated[0]


def _longest(model: Model, name: str) -> int | None:
    """Return how many tokens the tensor called `name` is cut to, None for inputs of one shape."""
    overlong = known_modalities[model.modality].overlong
    if overlong is None:
        return None
    lengths = [n.backbone.collate([overlong])[name].shape[1] for n in model.networks]
    for network, length in zip(model.networks, lengths, strict=True):
        if length != lengths[0]:
            raise _different(model, network)
    return int(lengths[0])


def _same(own: Batch, other: Batch) -> bool:
    return own.keys() == other.keys() and all(torch.equal(own[name], other[name]) for name in own)


def _different(model: Model, network: Network) -> InvalidInputError:
    return InvalidInputError(
        f"{model.folder} is an ensemble whose networks take different inputs: export them one by one, "
        f"{network.folder} for example"
    )


def _dynamic(names: tuple[str, ...], longest: int | None) -> tuple[dict[int, Any], ...]:
    sizes: dict[int, Any] = {0: torch.export.Dim(BATCH, min=1)}
    if longest is not None:
        sizes[1] = torch.export.Dim(TOKENS, min=1, max=longest)
    return tuple(dict(sizes) for _ in names)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep torch's warnings about its own insides from the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
