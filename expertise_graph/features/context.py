"""What long work needs, as one object: store, prober, permission to run code, progress, seed."""

from __future__ import annotations

from dataclasses import dataclass

from expertise_graph.core import Progress, silent
from expertise_graph.features.probing import Prober
from expertise_graph.store import Store


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where results are kept, how experts are run, and what was allowed.

    Attributes:
        store: the registry.
        prober: runs experts on inputs, and keeps their features.
        trust_code: whether code that comes with an expert may be run.
        progress: called with how far long work is.
        seed: of every random choice.
    """

    store: Store
    prober: Prober
    trust_code: bool = False
    progress: Progress = silent
    seed: int = 0
