"""Where experts are run: here, in this process; `isolation` does the same in a process of their own."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from expertise_graph import features, models
from expertise_graph.core import Expert, Progress, expert_errors
from expertise_graph.data import Item, known_modalities
from expertise_graph.models import SourceOptions

# Seconds of work that importing torch and the models of transformers takes: 1.8 to 2.3 and 3 to 4.4 measured.
LIBRARY_SECONDS = {"torch": 2.0, "transformers.modeling_utils": 4.0}


@dataclass(frozen=True, kw_only=True)
class Computed:
    """Features (n, d) float32, the seconds they took once the expert was loaded, and what is to be said."""

    features: NDArray[np.float32]
    seconds: float
    note: str = ""


class Executor(Protocol):
    """Does what needs an expert from outside: its description, its features, its latency.

    What goes wrong with the expert is a SourceError, UntrustedError, NotFoundError or MissingExtraError.
    """

    def resolve(self, reference: str, options: SourceOptions) -> list[Expert]:
        """Return the experts that a reference names, as `models.resolve_all`."""

    def features(
        self, expert: Expert, items: Sequence[Item], *, trust_code: bool, new: bool, progress: Progress
    ) -> Computed:
        """Return features of undecoded items; a `new` expert is tried on unlike inputs before."""

    def latency(self, expert: Expert, item: Item, *, trust_code: bool, repeats: int) -> float:
        """Return the median milliseconds that an item takes."""

    def starting_seconds(self) -> float:
        """Return the seconds of work that come before the first expert."""


class Here:
    """Runs experts in this process, without limits."""

    def resolve(self, reference: str, options: SourceOptions) -> list[Expert]:
        """Return the experts that a reference names, as `models.resolve_all`."""
        return models.resolve_all(reference, options)

    def features(
        self, expert: Expert, items: Sequence[Item], *, trust_code: bool, new: bool, progress: Progress
    ) -> Computed:
        """Return features of undecoded items; a `new` expert is tried on unlike inputs before."""
        with expert_errors(expert.name):
            backbone = models.load(expert, trust_code=trust_code)
            if new:
                features.try_out(backbone)
            start = time.perf_counter()
            given = features.extract(backbone, items, label=expert.name, progress=progress)
            seconds = time.perf_counter() - start
        note = backbone.lengths.note if backbone.lengths else ""
        return Computed(features=given, seconds=seconds, note=note)

    def latency(self, expert: Expert, item: Item, *, trust_code: bool, repeats: int) -> float:
        """Return the median milliseconds that an item takes."""
        with expert_errors(expert.name):
            decoded = known_modalities[expert.modality].decode(item)
            return features.timed(models.load(expert, trust_code=trust_code), decoded, repeats)

    def starting_seconds(self) -> float:
        """Return the seconds of work that come before the first expert."""
        return sum(seconds for name, seconds in LIBRARY_SECONDS.items() if name not in sys.modules)
