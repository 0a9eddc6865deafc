"""Features of experts: from the cache, or by running the expert."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expertise_graph import features, models
from expertise_graph.core import Expert, FailedError, Progress, expert_errors, silent
from expertise_graph.data import Inputs
from expertise_graph.store import Arrays, features_key


def _ignore(expert: Expert, items: int, seconds: float) -> None:
    """Do nothing with the time that an expert took."""


@dataclass(frozen=True, kw_only=True)
class Prober:
    """Gives features of experts, running each expert on the same inputs only once.

    What is in the cache is given without torch.

    Attributes:
        arrays: where features are kept.
        trust_code: whether experts built by code of the user may be loaded.
        progress: called after every batch.
        ran: called with the expert, the number of items and the seconds when an expert was really run.
    """

    arrays: Arrays
    trust_code: bool = False
    progress: Progress = silent
    ran: Callable[[Expert, int, float], None] = _ignore

    def features(self, expert: Expert, inputs: Inputs, *, new: bool = False) -> NDArray[np.float32]:
        """Return features (n, d) of `inputs`, from the cache or by running the expert.

        Args:
            expert: any expert with weights.
            inputs: of its modality.
            new: whether it is about to be registered: it is tried on unlike inputs before it is run.

        Raises:
            SourceError: when the expert cannot be loaded.
            FailedError: when it raises something, or gives NaN or infinity.
        """
        key = features_key(expert, inputs.sha256)
        stored = self.arrays.get(key)
        if stored is not None and len(stored) == len(inputs.items):
            return stored
        with expert_errors(expert.name):
            backbone = models.load(expert, trust_code=self.trust_code)
            if new:
                features.try_out(backbone)
            start = time.perf_counter()
            given = features.extract(backbone, inputs.items, label=expert.name, progress=self.progress)
            seconds = time.perf_counter() - start
        if not np.isfinite(given).all():
            raise FailedError(
                f"{expert.name} failed: it gives NaN or infinite features; its weights are not usable"
            )
        self.ran(expert, len(inputs.items), seconds)
        note = backbone.lengths.note if backbone.lengths else ""
        self.arrays.put(key, given, note=note and f"{expert.name}: {note}")
        return given

    def note(self, expert: Expert, inputs: Inputs) -> str:
        """Return what is to be said about features in the cache: what share of the texts was cut."""
        return self.arrays.note(features_key(expert, inputs.sha256))
