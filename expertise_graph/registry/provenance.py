"""Who stands behind a result: this registry, a file, a public leaderboard, another registry, or an author."""

from __future__ import annotations

from collections.abc import Collection

from expertise_graph.core import SELF_REPORTED, Edge
from expertise_graph.registry.catalogue import METHOD
from expertise_graph.registry.imports.table import BOARD

MEASURED_HERE, IMPORTED, PUBLISHED, PULLED = "measured here", "imported", "published", "pulled"


def known_from(edge: Edge, places: Collection[str] = ()) -> str:
    """Return who stands behind a result.

    Args:
        edge: of a result.
        places: that registries were pulled from, see `Store.shared_places`.
    """
    origin = edge.meta.get("origin")
    if edge.is_claim:
        return SELF_REPORTED
    if origin is None:
        return MEASURED_HERE
    if any(f"{place}@" in str(origin) for place in places):
        return PULLED
    return PUBLISHED if edge.meta.get(BOARD) or edge.method == METHOD else IMPORTED
