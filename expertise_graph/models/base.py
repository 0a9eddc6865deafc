"""What a source of experts has to provide, and what a loaded expert is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from expertise_graph.core import Expert, Registry

if TYPE_CHECKING:
    import torch


Batch = dict[str, "torch.Tensor"]
"""What a network is called with: tensors by the name of its input."""


def _nothing() -> None:
    """Find nothing wrong."""


@dataclass(kw_only=True)
class Backbone:
    """An expert in memory, ready to give features or to be trained.

    Attributes:
        module: `module(**batch)` returns pooled penultimate features (n, dim) float32.
        collate: decoded items (PIL images, or strings) to a batch of tensors; the model's own
            preprocessing.
        dim: width of the features.
        modality: name of the modality of its inputs.
        fresh: `fresh(seed)` returns the same architecture with random weights.
        save: `save(folder)` writes weights (safetensors), configuration and preprocessing so
            that the ``dir`` source reads the folder back.
        check: raises SourceError where the parts do not fit each other on inputs that are rare.
    """

    module: torch.nn.Module
    collate: Callable[[Sequence[Any]], dict[str, torch.Tensor]]
    dim: int
    modality: str
    fresh: Callable[[int], torch.nn.Module]
    save: Callable[[torch.nn.Module, Path], None]
    check: Callable[[], None] = _nothing


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """How inputs of an expert without a preprocessing file look: square side, channels, scaling."""

    size: int
    channels: int = 3
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    transform: str | None = None


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """What the user allowed or declared for one registration."""

    trust_code: bool = False
    revision: str | None = None
    weights: str | None = None
    input: InputSpec | None = None
    modality: str | None = None
    name: str | None = None
    license: str | None = None
    tags: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pin:
    """Where an expert is found again, always with the same weights.

    Attributes:
        source: the scheme.
        locator: what stands behind it, without a revision.
        revision: the commit, where there is one.
        id: of the expert; None for a hash of what it computes, under the scheme.
    """

    source: str
    locator: str
    revision: str | None = None
    id: str | None = None


class Source(Protocol):
    """A place experts come from, known by the scheme before the colon (``dir:``, ``hf:``)."""

    def resolve(self, locator: str, options: SourceOptions) -> Expert:
        """Read the metadata and pin the weights; runs no code that comes with them."""
        ...

    def load(self, expert: Expert, *, trust_code: bool = False) -> Backbone:
        """Load the weights, after checking that they are the pinned ones."""
        ...


sources: Registry[Source] = Registry("source")
