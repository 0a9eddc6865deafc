"""What a source of experts has to provide, and what a loaded expert is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from expertise_graph.core import Expert, Registry, percent, setting

if TYPE_CHECKING:
    import torch


ALIASES = "aliases"
"""In the meta of an expert: other names and places of the same one."""

BASES, RELATION = "base_models", "base_model_relation"
"""In the meta of an expert: all base models that its card names, and what it says it is to them."""

Batch = dict[str, "torch.Tensor"]
"""What a network is called with: tensors by the name of its input."""


def _nothing() -> None:
    """Find nothing wrong."""


@dataclass
class TextLengths:
    """How many texts were cut.

    Attributes:
        limit: tokens that texts are cut to.
        model: tokens that the model could take.
        seen: texts so far, each as often as it was read.
        cut: those of them that were longer.
    """

    limit: int
    model: int
    seen: int = 0
    cut: int = 0

    @property
    def note(self) -> str:
        """One line on what share was cut; empty where none was."""
        if not self.cut:
            return ""
        more = f"; registered with {setting('max_tokens', self.model)} it reads all that it can"
        return (
            f"{percent(self.cut / self.seen)} of the texts are longer than the {self.limit:,} tokens that it "
            f"reads, and were cut{more if self.model > self.limit else ''}"
        )


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
        lengths: how many texts were cut; None for other inputs.
        check: raises SourceError where the parts do not fit each other on inputs that are rare.
    """

    module: torch.nn.Module
    collate: Callable[[Sequence[Any]], dict[str, torch.Tensor]]
    dim: int
    modality: str
    fresh: Callable[[int], torch.nn.Module]
    save: Callable[[torch.nn.Module, Path], None]
    lengths: TextLengths | None = None
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
    """What the user allowed or declared for one registration.

    Attributes:
        max_tokens: texts are cut to so many tokens, if the model takes as many; by default 512.
        prompt: put before each text: the name of a prompt of the model, or any text.
    """

    trust_code: bool = False
    revision: str | None = None
    weights: str | None = None
    input: InputSpec | None = None
    modality: str | None = None
    max_tokens: int | None = None
    prompt: str | None = None
    name: str | None = None
    license: str | None = None
    tags: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_settings(self) -> bool:
        """Whether something was asked for that changes the features."""
        return self.max_tokens is not None or self.prompt is not None


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


@runtime_checkable
class Fetching(Protocol):
    """A source that can download what it reads beforehand: there is a limit of time for the rest only."""

    def fetch(self, locator: str, options: SourceOptions) -> Path | None:
        """Bring what is read to this machine; return where, or None where more may be downloaded later."""
        ...


@runtime_checkable
class OnHub(Protocol):
    """A source whose models are repositories of the Hub, so that several can be downloaded at a time."""

    def repository(self, locator: str, options: SourceOptions) -> tuple[str, str | None] | None:
        """Return the repository and the revision, None for main, that a locator names.

        None where it is not to be downloaded as a whole.
        """
        ...


@runtime_checkable
class Matching(Protocol):
    """A source whose locators may be patterns with the wildcards of a shell."""

    def matching(self, pattern: str) -> list[str]:
        """Return the locators that a pattern means, sorted.

        Raises:
            NotFoundError: for none, naming the nearest.
        """
        ...


@runtime_checkable
class OnDisk(Protocol):
    """A source that knows in which files the weights of an expert are."""

    def weight_files(self, expert: Expert) -> Sequence[Path]:
        """Return the safetensors files of an expert on this machine; none where they would be downloaded."""
        ...


sources: Registry[Source] = Registry("source")
