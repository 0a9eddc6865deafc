"""Features of experts: from the cache, or by running the expert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Expert, FailedError, Progress, silent
from expertise_graph.data import Inputs, Item, known_modalities
from expertise_graph.features.executors import Executor, Here
from expertise_graph.models import ZOO, SourceOptions, sources
from expertise_graph.store import Arrays, features_key

_HERE = Here()


def _ignore(expert: Expert, items: float, seconds: float) -> None:
    """Do nothing with the time that an expert took."""


@dataclass(frozen=True, kw_only=True)
class Prober:
    """Gives features of experts, running each expert on the same inputs only once.

    What is in the cache is given without torch.

    Attributes:
        arrays: where features are kept.
        trust_code: whether experts built by code of the user may be loaded.
        progress: called after every batch.
        ran: called with the expert, how many usual inputs its items are worth, and the seconds, when an
            expert was really run.
        outside: where experts from outside are run; None for this process.
    """

    arrays: Arrays
    trust_code: bool = False
    progress: Progress = silent
    ran: Callable[[Expert, float, float], None] = _ignore
    outside: Executor | None = None

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
        stored = self.stored(expert, inputs)
        if stored is not None:
            return stored
        done = self._executor(expert.source, expert.modality).features(
            expert, inputs.items, trust_code=self.trust_code, new=new, progress=self.progress
        )
        if not np.isfinite(done.features).all():
            raise FailedError(
                f"{expert.name} failed: it gives NaN or infinite features; its weights are not usable"
            )
        self.ran(expert, known_modalities[expert.modality].usual_inputs(inputs.items), done.seconds)
        self.arrays.put(
            features_key(expert, inputs.sha256),
            done.features,
            note=done.note and f"{expert.name}: {done.note}",
        )
        return done.features

    def stored(self, expert: Expert, inputs: Inputs) -> NDArray[np.float32] | None:
        """Return features (n, d) of `inputs` where they are in the cache, else None."""
        stored = self.arrays.get(features_key(expert, inputs.sha256))
        return (
            stored
            if stored is not None and stored.shape[:1] == (len(inputs.items),) and stored.ndim == 2
            else None
        )

    def latency(self, expert: Expert, item: Item, *, repeats: int) -> float:
        """Return the median milliseconds that an undecoded item takes an expert, which is really run."""
        executor = self._executor(expert.source, expert.modality)
        return executor.latency(expert, item, trust_code=self.trust_code, repeats=repeats)

    def starting_seconds(self, expert: Expert) -> float:
        """Return the seconds of work that come before the first expert of its kind is run."""
        return self._executor(expert.source, expert.modality).starting_seconds()

    def resolve(self, reference: str, options: SourceOptions) -> list[Expert]:
        """Return the experts that a reference names, as `models.resolve_all`."""
        return self._executor(reference.partition(":")[0]).resolve(reference, options)

    def here(self) -> Prober:
        """Return a prober that runs every expert in this process, for what was made here."""
        return replace(self, outside=None)

    def _executor(self, source: str, modality: str | None = None) -> Executor:
        """Return where experts of a source are run: here if shipped, or known to no other process."""
        known = sources.is_lasting(source) and (modality is None or known_modalities.is_lasting(modality))
        return self.outside if self.outside is not None and known and source != ZOO else _HERE

    def note(self, expert: Expert, inputs: Inputs) -> str:
        """Return what is to be said about features in the cache: what share of the texts was cut."""
        return self.arrays.note(features_key(expert, inputs.sha256))
