"""What a search works with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from expertise_graph.core import Progress, Query, Ranking, silent
from expertise_graph.data import LabelledData
from expertise_graph.features import Prober
from expertise_graph.store import Store

Ask = Callable[[LabelledData, Query], Ranking]


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The registry, and how to ask it.

    Attributes:
        prober: runs the new expert on the probe set.
        ask: answers a query about data.
        started: when the time budget began, by `time.perf_counter`; by default now.
        trust_code: whether code that comes with an expert may be run.
        progress: told about every step.
    """

    store: Store
    prober: Prober
    ask: Ask
    started: float = field(default_factory=time.perf_counter)
    trust_code: bool = False
    progress: Progress = silent
