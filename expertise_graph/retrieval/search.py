"""The state of a query: what is fixed, what was found out, and what is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from expertise_graph.data.base import Inputs
from expertise_graph.errors import NotFoundError, SourceError, UntrustedError
from expertise_graph.probing import Prober
from expertise_graph.retrieval.evidence import Evidence, Sample, Shift, gather
from expertise_graph.retrieval.posterior import Calibration, Posterior
from expertise_graph.store import Store
from expertise_graph.types import Expert, Query

Array = NDArray[np.float64]


@dataclass(kw_only=True)
class Search:
    """One query under way: what is fixed about it, and the evidence gathered so far."""

    store: Store
    prober: Prober
    probes: Inputs
    sample: Sample
    query: Query
    experts: list[Expert]
    vectors: Array
    similarity: Array
    evidence: dict[str, Evidence]
    stands_for: dict[str, tuple[str, ...]]
    unusable: dict[str, str] = field(default_factory=dict)
    ran: int = 0

    @property
    def left(self) -> int:
        """How many more experts may be run."""
        return self.query.budget - len(self.evidence) - len(self.unusable)

    def run(self, place: int) -> None:
        """Run one expert on the sample; one that cannot be run is noted and passed over."""
        expert = self.experts[place]
        try:
            self.evidence[expert.id] = gather(self.store, self.prober, expert, self.sample)
            self.ran += 1
        except (SourceError, UntrustedError, NotFoundError) as error:
            self.unusable[expert.id] = f"{expert.name} was not run: {error}"

    def open_places(self) -> list[int]:
        """Return the places of experts that were neither run nor found unusable."""
        return [
            i for i, e in enumerate(self.experts) if e.id not in self.evidence and e.id not in self.unusable
        ]


@dataclass(frozen=True, kw_only=True)
class Belief:
    """What is believed about the candidates, in standard units, and how to read it as accuracy.

    Attributes:
        best_seen: the best evidence so far.
        affinity: (N,) cosine of each embedding to the task's.
        measured: accuracy, items and run of fine-tunes on this very task, by expert.
        shift: what fine-tuning adds to the accuracy of a probe.
    """

    state: Posterior
    calibration: Calibration
    best_seen: float
    affinity: Array
    measured: Mapping[str, tuple[float, int, str]]
    shift: Shift
