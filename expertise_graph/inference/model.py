"""A finished model, ready to be used: one network, or several that answer together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from expertise_graph.core import (
    ExpertiseError,
    FloatArray,
    Progress,
    SourceError,
    first_line,
    sigmoid,
    silent,
    softmax,
)
from expertise_graph.data import NO_COLUMNS, Columns, Item, plural_of
from expertise_graph.features import extract
from expertise_graph.models import Backbone, LearntItems

# Items that are decoded, and whose features are kept, at the same time: a thousand photographs are 150 MB.
# Fewer would make the last, smaller batch of a chunk come up more often.
CHUNK = 1024


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
        columns: that were named when its own data were read.
        learnt: the items that it has learnt from, itself or by what it was trained from.
    """

    folder: Path
    classes: tuple[str, ...]
    kind: str
    temperature: float
    identity: Mapping[str, Any]
    accuracy: float | None
    seen: int = 0
    columns: Columns = NO_COLUMNS
    learnt: LearntItems = field(default_factory=LearntItems)

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

    @property
    def cut(self) -> tuple[str, ...]:
        """What share of the texts that it was run on was cut, a line for each network that cut some."""
        texts = (network.backbone.lengths for network in self.networks)
        return tuple(dict.fromkeys(of.note for of in texts if of is not None and of.cut))

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


@dataclass(frozen=True, kw_only=True)
class Network(Model):
    """What one warm start left.

    Attributes:
        backbone: the network that gives features, and its preprocessing.
        head: the linear layer from features to logits.
    """

    backbone: Backbone
    head: torch.nn.Linear

    @property
    def networks(self) -> tuple[Network, ...]:
        """Itself."""
        return (self,)

    @property
    def factors(self) -> tuple[float, ...]:
        """One: logits are as they are."""
        return (1.0,)

    def logits(self, items: Sequence[Item], *, progress: Progress = silent) -> NDArray[np.float32]:
        """Return logits (n, classes) of undecoded items, in their order.

        No more than `CHUNK` items are decoded, and their features kept, at a time.

        Raises:
            DatasetError: when an item cannot be decoded.
            SourceError: when the model cannot be run, or gives NaN or infinity.
        """
        parts = [np.zeros((0, self.head.out_features), dtype=np.float32)]
        for start in range(0, len(items), CHUNK):
            chunk = items[start : start + CHUNK]
            parts.append(self._classify(chunk, shifted(progress, start, len(items))))
        return np.concatenate(parts)

    def _classify(self, items: Sequence[Item], progress: Progress) -> NDArray[np.float32]:
        try:
            features = extract(self.backbone, items, label=self.folder.name, progress=progress)
        except ExpertiseError:
            raise
        except Exception as error:  # networks of unknown authors raise anything
            raise SourceError(
                f"{self.folder} cannot be run on {plural_of(self.modality)}: {first_line(error)}"
            ) from error
        with torch.inference_mode():
            logits: NDArray[np.float32] = self.head(torch.from_numpy(features)).numpy()
        if not np.isfinite(logits).all():
            raise SourceError(f"{self.folder} gives NaN or infinity; its weights are not usable")
        return logits


@dataclass(frozen=True, kw_only=True)
class Ensemble(Model):
    """Networks of the same classes; the answer is the weighted mean of logits, each over its own temperature.

    That is the geometric mean of their probabilities, scaled to sum to 1; of values it is the mean.

    Attributes:
        weights: of the networks; they sum to 1.

    References:
        Hinton, Neural Computation 14(8), 2002, products of experts; Heskes, NIPS 1997, logarithmic
        opinion pools.
    """

    members: tuple[Network, ...]
    weights: tuple[float, ...]

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks that it runs."""
        return self.members

    @property
    def factors(self) -> tuple[float, ...]:
        """The weights, over the temperatures."""
        return tuple(w / m.temperature for w, m in zip(self.weights, self.members, strict=True))

    def logits(self, items: Sequence[Item], *, progress: Progress = silent) -> NDArray[np.float32]:
        """Return mean logits (n, classes) of undecoded items, in their order.

        Raises:
            DatasetError: when an item cannot be decoded.
            SourceError: when a member cannot be run, or gives NaN or infinity.
        """
        total, n = len(items) * len(self.members), len(items)
        parts = [shifted(progress, place * n, total) for place in range(len(self.members))]
        mean = np.zeros((n, len(self.classes)), dtype=np.float32)
        for member, factor, progressed in zip(self.members, self.factors, parts, strict=True):
            mean += member.logits(items, progress=progressed) * np.float32(factor)
        return mean


def shifted(progress: Progress, start: int, total: int) -> Progress:
    """Return what to tell about a part that begins at `start` of `total`."""
    return lambda label, done, _: progress(label, start + done, total)
