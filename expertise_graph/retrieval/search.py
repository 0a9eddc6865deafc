"""The state of a query: its candidates, and what has been found out about them so far."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from expertise_graph import models
from expertise_graph.core import (
    Expert,
    ExpertiseError,
    FailedError,
    FloatArray,
    InvalidInputError,
    MissingExtraError,
    NotFoundError,
    OfflineError,
    Query,
    SourceError,
    TemporaryError,
    UntrustedError,
)
from expertise_graph.retrieval.evidence import Evidence, Runner, Sample
from expertise_graph.retrieval.forecast import residuals_of
from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.knowledge import Knowledge, is_free, is_known_model
from expertise_graph.retrieval.results import Measured

Array = NDArray[np.float64]

# Errors of one expert. Those that a flag, the network or an installation takes away do not bar it from the
# answer.
_OF_EXPERTS = (SourceError, UntrustedError, NotFoundError, MissingExtraError, InvalidInputError)
_LATER = (MissingExtraError, TemporaryError)
_TAKEN_AWAY = (UntrustedError, MissingExtraError, OfflineError)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The candidates that are compared, and what was known about them before the query.

    Attributes:
        experts: the candidates; those of `history.experts` begin with them, in the same order.
        vectors: (len(experts), m) unit embeddings, zero for an expert without one.
        stands_for: ids of near-duplicates, by the id of the candidate that stands for them.
        history: results and scores on other tasks; its column `target` is the task of the query.
        distances: of its tasks, as imported.
        task_vectors: unit embeddings of its tasks, by task.
        shared_names: names of candidates that other experts of the registry have, too.
    """

    experts: list[Expert]
    vectors: Array
    stands_for: Mapping[str, tuple[str, ...]]
    history: History
    target: int
    distances: Array | None
    task_vectors: Mapping[str, Array]
    shared_names: frozenset[str] = frozenset()

    @cached_property
    def residuals(self) -> Array:
        """Which of the experts of the history surprised together on other tasks."""
        return residuals_of(self.history, self.target)

    def embedded(self) -> list[int]:
        """Return the indices of the experts that have an embedding."""
        return [int(i) for i in np.flatnonzero(np.abs(self.vectors).sum(axis=1) > 0)]


@dataclass(kw_only=True)
class ExpertSearch:
    """One query under way.

    Attributes:
        known: the registry, and published models beside it.
        excluded: the constraints that keep an expert out of the answer, by id.
        evidence: scores of the experts that were run on the sample, here or in an earlier query.
        results: of fine-tuning on the very task, by expert.
        measured: those of candidates.
        responses: what the task looks like to the experts that were run.
        unusable: why an expert could not be run, one line each, by id.
        failed: those of them that cannot be the answer: they raised something on this task, or are gone.
        ran: how many experts this query ran.
        fetched: bytes of each known model that was downloaded, by its id.
        asked_for: ids of the known models that were to be downloaded.
        from_fetch: ids of the experts that they became.
        queue: ids of the known models whose downloads began together; they are run one after the other.
        unreachable: how many downloads in a row failed because the network was missing.
        stopped: why the search ended before the budget was used up.
    """

    runner: Runner
    sample: Sample
    query: Query
    known: Knowledge
    pool: Pool
    excluded: Mapping[str, tuple[str, ...]]
    evidence: dict[str, Evidence]
    results: Mapping[str, Measured]
    started: float
    responses: dict[str, FloatArray] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    ran: int = 0
    fetched: dict[str, int] = field(default_factory=dict)
    asked_for: set[str] = field(default_factory=set)
    from_fetch: set[str] = field(default_factory=set)
    queue: list[str] = field(default_factory=list)
    unreachable: int = 0
    stopped: str | None = None
    interrupted: bool = False
    measured: Mapping[str, Measured] = field(init=False)

    def __post_init__(self) -> None:
        self.change_pool(self.pool)

    def change_pool(self, pool: Pool) -> None:
        """Compare other candidates from here on; evidence about experts not among them is dropped."""
        self.pool = pool
        ids = {e.id for e in pool.experts}
        self.evidence = {e: scores for e, scores in self.evidence.items() if e in ids}
        self.measured = {e: result for e, result in self.results.items() if e in ids}

    def with_results(self, results: Mapping[str, Measured]) -> ExpertSearch:
        """Return the same search with other results on the task."""
        return replace(self, results=results)

    def fetchable(self, model: Expert) -> bool:
        """Tell whether a known model may be downloaded: what is allowed for it, and what there is room for.

        One may take half of what is left, the last one all, so that a single large one does not end it.
        """
        left = self.query.fetch - len(self.fetched)
        # As many may fail as succeed, or a whole catalogue would be tried where something else is wrong.
        if left <= 0 or len(self.asked_for) >= 2 * self.query.fetch or self.unreachable >= 2:
            return False
        if not is_known_model(model) or not is_free(model):
            return False
        if model.id in self.queue:
            return True
        return 0 < model.bytes <= (self.allowed_bytes if left == 1 else self.allowed_bytes / 2)

    @property
    def allowed_bytes(self) -> int:
        """How much may still be downloaded."""
        return self.query.max_download - sum(self.fetched.values())

    def fetch(self, model: Expert) -> Expert | None:
        """Download and register a known model, and return it as an expert; None where that failed."""
        self.asked_for.add(model.id)
        try:
            found = self.runner.fetch(model)
        except _OF_EXPERTS as error:
            self.refuse(
                model, f"{model.name} was not fetched: {error}", for_good=not isinstance(error, _LATER)
            )
            self.unreachable = self.unreachable + 1 if isinstance(error, OfflineError) else 0
            return None
        self.unreachable = 0
        self.fetched[model.id] = found.bytes or model.bytes
        self.from_fetch.add(found.id)
        return found

    def affordable(self, index: int) -> bool:
        """Tell whether the budget allows to run one expert."""
        if is_known_model(self.pool.experts[index]) and self.query.seconds is None:
            return True
        if self.query.seconds is not None:
            spent = time.perf_counter() - self.started
            return spent + self.cost(index) <= self.query.seconds
        beside = self.from_fetch | self.asked_for
        return len({*self.evidence, *self.unusable} - beside) < (self.query.budget or 0)

    def cost(self, index: int) -> float:
        """Return the seconds that running one expert is expected to take."""
        return self.runner.seconds(self.pool.experts[index], self.sample)

    def run(self, index: int) -> None:
        """Run one expert on the sample; one that cannot be run is noted and passed over."""
        expert = self.pool.experts[index]
        try:
            self.evidence[expert.id] = self.runner.run(expert, self.sample)
            self.ran += 1
        except _OF_EXPERTS as error:
            self.give_up(expert, error)

    def respond(self, expert: Expert) -> bool:
        """Ask an expert that was run what the task looks like to it; tell whether it could."""
        if expert.id not in self.responses:
            try:
                self.responses[expert.id] = self.runner.response(expert, self.sample)
            except _OF_EXPERTS as error:
                del self.evidence[expert.id]
                self.give_up(expert, error)
        return expert.id in self.responses

    def is_sound(self, expert: Expert) -> bool:
        """Tell whether an expert is still what was registered; one that is not is given up."""
        try:
            models.verify(expert)
        except _OF_EXPERTS as error:
            self.give_up(expert, error)
        return expert.id not in self.failed

    def give_up(self, expert: Expert, error: ExpertiseError) -> None:
        """Note why an expert cannot be run."""
        line = str(error) if isinstance(error, FailedError) else f"{expert.name} was not run: {error}"
        self.refuse(expert, line, for_good=not isinstance(error, _TAKEN_AWAY))

    def refuse(self, expert: Expert, line: str, *, for_good: bool) -> None:
        """Note in one line why an expert is not run; for good, if it cannot be the answer either."""
        self.unusable[expert.id] = line
        if for_good:
            self.failed[expert.id] = line

    def not_run(self) -> list[int]:
        """Return the indices of the experts that may be run and were not yet, be it after a download."""
        done = {*self.evidence, *self.unusable, *self.excluded}
        return [
            i
            for i, e in enumerate(self.pool.experts)
            if e.id not in done and (e.runnable or self.fetchable(e))
        ]

    def were_run(self) -> list[int]:
        """Return the indices of the experts that were run."""
        return [i for i, e in enumerate(self.pool.experts) if e.id in self.evidence]
