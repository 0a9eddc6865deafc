"""The store: registry.db, which is the truth, and the arrays beside it."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.store.arrays import Arrays, features_key, response_key
    from expertise_graph.store.base import AS_ADDED
    from expertise_graph.store.exchange import LEARNT_TASKS, ORIGIN, SHARED_TABLES, SharedRow, row_digest
    from expertise_graph.store.location import HOME_VARIABLE, find_workspace
    from expertise_graph.store.pending import Pending
    from expertise_graph.store.rows import now, tell
    from expertise_graph.store.runs import Split, Timing
    from expertise_graph.store.store import Store
    from expertise_graph.store.unavailable import BROKEN, GATED, GONE, REFUSED, Unavailable

__getattr__, __dir__, __all__ = door(__name__)
