"""Features of experts: from the cache, or by running the expert."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expertise_graph import features, models
from expertise_graph.core import Expert, ExpertiseError, Progress, SourceError, first_line, silent
from expertise_graph.data import Inputs, plural_of
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

    def features(self, expert: Expert, inputs: Inputs) -> NDArray[np.float32]:
        """Return features (n, d) of `inputs`, from the cache or by running the expert.

        Raises:
            SourceError: when the expert cannot be loaded, or gives NaN or infinity.
        """
        key = features_key(expert, inputs.sha256)
        stored = self.arrays.get(key)
        if stored is not None and len(stored) == len(inputs.items):
            return stored
        backbone = models.load(expert, trust_code=self.trust_code)
        start = time.perf_counter()
        try:
            given = features.extract(backbone, inputs.items, label=expert.name, progress=self.progress)
        except Exception as error:
            raise not_run(expert, inputs.modality, error) from error
        if not np.isfinite(given).all():
            raise SourceError(f"{expert.name} gives NaN or infinite features; its weights are not usable")
        self.ran(expert, len(inputs.items), time.perf_counter() - start)
        self.arrays.put(key, given)
        return given


def not_run(expert: Expert, modality: str, error: Exception) -> ExpertiseError:
    """Return the error that says why an expert cannot be run: networks of strangers raise anything."""
    if isinstance(error, ExpertiseError):
        return error
    return SourceError(f"{expert.name} cannot be run on {plural_of(modality)}: {first_line(error)}")
