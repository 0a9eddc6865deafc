"""The store: registry.db, which is the truth, and the arrays beside it."""

from expertise_graph.store.arrays import Arrays, features_key, response_key
from expertise_graph.store.location import DATABASE, HOME_VARIABLE, find_workspace
from expertise_graph.store.rows import now
from expertise_graph.store.seen import Split
from expertise_graph.store.store import Store
from expertise_graph.store.timings import Timing

__all__ = [
    "Arrays",
    "DATABASE",
    "HOME_VARIABLE",
    "Split",
    "Store",
    "Timing",
    "features_key",
    "find_workspace",
    "now",
    "response_key",
]
