"""What a finished model is, whatever it is made of."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import FloatArray, InvalidInputError, Progress, sigmoid, silent, softmax
from expertise_graph.data import Item

if TYPE_CHECKING:
    from expertise_graph.inference.network import Network

CHUNK = 1024
"""Items whose features are in memory at the same time."""


@dataclass(frozen=True, kw_only=True)
class Model(ABC):
    """A finished model, ready to be used.

    Attributes:
        folder: where it was read from.
        classes: names of the classes, in the order of the logits.
        kind: class (one an item), labels (several) or value (a number).
        temperature: what logits are divided by before they become probabilities.
        identity: what the run recorded about itself (config, data); empty where run.json is missing.
        accuracy: on the test split of its own data, as the run recorded it.
        seen: items of that split that its expert had learnt from before.
    """

    folder: Path
    classes: tuple[str, ...]
    kind: str
    temperature: float
    identity: Mapping[str, Any]
    accuracy: float | None
    seen: int = 0

    @property
    @abstractmethod
    def networks(self) -> tuple[Network, ...]:
        """The networks that it runs."""

    @property
    @abstractmethod
    def factors(self) -> tuple[float, ...]:
        """What the logits of each network are multiplied by before they are added."""

    @property
    def modality(self) -> str:
        """Name of the modality of its inputs."""
        return self.networks[0].backbone.modality

    @abstractmethod
    def logits(self, items: Sequence[Item], *, progress: Progress = silent) -> NDArray[np.float32]:
        """Return logits (n, classes) of undecoded items, in their order.

        Raises:
            DatasetError: when an item cannot be decoded.
            SourceError: when the model cannot be run, or gives NaN or infinity.
        """

    def probabilities(self, logits: FloatArray) -> FloatArray:
        """Return probabilities (n, classes) of logits: of one class an item, or of each label by itself."""
        scaled = np.asarray(logits, dtype=np.float64) / self.temperature
        return sigmoid(scaled) if self.kind == "labels" else softmax(scaled)


def is_positive(value: object) -> bool:
    """Tell whether what a file gives is a finite number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def noted_score(path: Path, value: object) -> float | None:
    """Return the score that a file notes, if any.

    Raises:
        InvalidInputError: when it is no finite number.
    """
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise InvalidInputError(f"{path} has the accuracy {value!r}; a number is needed")


def shifted(progress: Progress, start: int, total: int) -> Progress:
    """Return what to tell about a part that begins at `start` of `total`."""
    return lambda label, done, _: progress(label, start + done, total)
