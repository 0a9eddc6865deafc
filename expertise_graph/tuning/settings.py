"""What the search can be told, checked once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

from expertise_graph.core import InvalidInputError, NotFoundError, Query
from expertise_graph.training import strategies

STRATEGIES = ("lp-ft", "full", "l2-sp", "gradual", "norm-only", "bitfit", "lora")
"""The ways that are tried where nothing else is said; the first is that of the first trial."""

SCRATCH = "from-scratch"
"""The way that takes nothing from the expert but its shape."""


@dataclass(frozen=True, kw_only=True)
class AutoSettings:
    """The settings of one search.

    Attributes:
        time_budget: seconds for everything: the query, the trials, the final model.
        seed: of the splits, the trainings and the search.
        query: its constraints say which experts may be tried; budget and seed are set by the search.
        strategies: the ways to train that may be tried; the first is that of the first trial.
        experts: how many of the first of the query are tried at most.
        members: how many networks the model may be made of; 1 for a single one.
    """

    time_budget: float
    seed: int = 0
    query: Query = field(default_factory=Query)
    strategies: tuple[str, ...] = STRATEGIES
    experts: int = 5
    members: int = 5

    def __post_init__(self) -> None:
        if not 0 < self.time_budget < math.inf:
            raise InvalidInputError(f"time_budget is {self.time_budget!r}: give a number of seconds above 0")
        if self.seed < 0 or self.experts < 1 or self.members < 1:
            raise InvalidInputError("give a seed of at least 0, at least 1 expert and at least 1 member")
        if not self.strategies:
            raise InvalidInputError(f"no strategy was given: give some of {', '.join(STRATEGIES)}")
        try:
            for name in self.strategies:
                _ = strategies[name]
        except NotFoundError as error:
            raise InvalidInputError(str(error)) from error

    def digest(self, data: str, out: str) -> str:
        """Return a hash of the settings with the data and the folder: the same command has the same."""
        values: dict[str, Any] = {**dataclasses.asdict(self), "data": data, "out": out}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
