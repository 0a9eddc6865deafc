"""The state of a query: what is fixed, and what was found out so far."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Expert, FloatArray, NotFoundError, Query, SourceError, UntrustedError
from expertise_graph.retrieval.evidence import Evidence, Measured, Runner, Sample
from expertise_graph.retrieval.history import History

Array = NDArray[np.float64]


@dataclass(kw_only=True)
class Search:
    """One query under way.

    Attributes:
        experts: the candidates; those of `history.experts` begin with them, in the same order.
        vectors: (len(experts), m) unit embeddings, zero for an expert without one.
        excluded: the constraints that keep an expert out of the answer, by id.
        history: all that is known besides; its column `target` is this task.
        distances: of its tasks, as imported.
        task_vectors: unit embeddings of its tasks, by task.
        responses: what the task looks like to the experts that were run.
    """

    runner: Runner
    sample: Sample
    query: Query
    experts: list[Expert]
    vectors: Array
    stands_for: Mapping[str, tuple[str, ...]]
    excluded: Mapping[str, tuple[str, ...]]
    history: History
    target: int
    distances: Array | None
    task_vectors: Mapping[str, Array]
    measured: Mapping[str, Measured]
    evidence: dict[str, Evidence]
    started: float
    responses: dict[str, FloatArray] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)
    ran: int = 0
    stopped: str | None = None
    interrupted: bool = False

    def affordable(self, place: int) -> bool:
        """Tell whether the budget allows to run one expert."""
        if self.query.seconds is not None:
            spent = time.perf_counter() - self.started
            return spent + self.cost(place) <= self.query.seconds
        return len(self.evidence) + len(self.unusable) < (self.query.budget or 0)

    def cost(self, place: int) -> float:
        """Return the seconds that running one expert is expected to take."""
        return self.runner.seconds(self.experts[place], self.sample)

    def run(self, place: int) -> None:
        """Run one expert on the sample; one that cannot be run is noted and passed over."""
        expert = self.experts[place]
        try:
            self.evidence[expert.id] = self.runner.run(expert, self.sample)
            self.ran += 1
        except (SourceError, UntrustedError, NotFoundError) as error:
            self.unusable[expert.id] = f"{expert.name} was not run: {error}"

    def open_places(self) -> list[int]:
        """Return the places of experts that may be run and were not yet."""
        done = {*self.evidence, *self.unusable, *self.excluded}
        return [i for i, e in enumerate(self.experts) if e.runnable and e.id not in done]

    def ran_places(self) -> list[int]:
        """Return the places of the experts that were run."""
        return [i for i, e in enumerate(self.experts) if e.id in self.evidence]

    def embedded(self) -> list[int]:
        """Return the places of the experts that have an embedding."""
        return [int(i) for i in np.flatnonzero(np.abs(self.vectors).sum(axis=1) > 0)]
