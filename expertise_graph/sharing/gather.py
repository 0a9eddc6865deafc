"""A registry at one moment, as it may be shown to others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import LENGTHS
from expertise_graph.sharing.format import (
    IMPORTED,
    KINDS_OF_EDGES,
    MEASURED,
    MOST_RESPONSES,
    SELF_REPORTED,
    Snapshot,
)
from expertise_graph.sharing.privacy import Cleaner
from expertise_graph.store import LEARNT_TASKS, SHARED_TABLES, SharedRow, Store, row_digest

# Method of what a task looks like to an expert: what is kept of it has this length.
_RESPONSE = LENGTHS["landmark-ridge"]
# Method of lineage that a card declares; see `registry.register`.
_OF_CARDS = "model card"


def gather(store: Store, cleaner: Cleaner) -> Snapshot:
    """Return what others may see of a registry: nodes, relations, numbers and vectors, with their origins."""
    with store.at_one_moment():
        raw = {table: store.shared_rows(table) for table in SHARED_TABLES}
        learnt, ledgers = store.tasks_learnt(), store.ledgers()
    pulled = {
        digest: origin
        for ledger in ledgers.values()
        for origin, digests in ledger["rows"].items()
        for digest in digests
    }
    cleaner.learn_names(raw["tasks"])
    nodes = {row["id"] for table in ("experts", "tasks") for row in raw[table]}
    tables: dict[str, list[dict[str, Any]]] = {}
    for table, rows in raw.items():
        kept = [row for row in rows if _is_whole(table, row, nodes)]
        tables[table] = [_shown(table, row, cleaner, pulled, learnt) for row in kept]
    responses = dict(_responses(store))
    tables["responses"] = [{"key": key, "row": row} for row, key in enumerate(responses)]
    return Snapshot(tables=tables, responses=responses)


def _is_whole(table: str, row: SharedRow, nodes: set[str]) -> bool:
    """Tell whether a row has finite numbers, and the nodes that it cannot do without."""
    numbers = [value for value in row.values() if isinstance(value, float)]
    if not all(map(math.isfinite, numbers)):
        return False
    if table == "embeddings":
        return row["owner"] in nodes
    if table != "edges":
        return True
    # Suspicions about parents are worked out from weights, which stay here.
    shared = row["kind"] in KINDS_OF_EDGES
    return shared and (row["kind"] != "similarity" or {row["source"], row["target"]} <= nodes)


def _shown(
    table: str,
    row: SharedRow,
    cleaner: Cleaner,
    pulled: Mapping[str, str],
    learnt: Mapping[str, list[str]],
) -> dict[str, Any]:
    """Return a row as it leaves the workspace, with its origin."""
    origin = pulled.get(row_digest(table, row)) or _origin(table, row, cleaner)
    if table == "experts":
        tasks = sorted({*row["meta"].get(LEARNT_TASKS, ()), *learnt.get(row["id"], ())})
        row = {**row, "meta": {**row["meta"], **({LEARNT_TASKS: tasks} if tasks else {})}}
    return {**cleaner.clean(table, row), "origin": origin}


def _origin(table: str, row: SharedRow, cleaner: Cleaner) -> str:
    """Return where the numbers of a row that was not pulled are from."""
    if table == "edges" and row["kind"] == "lineage" and row["method"].startswith(_OF_CARDS):
        return SELF_REPORTED
    if table == "edges" and row["kind"] == "transfer" and row["method"] == SELF_REPORTED:
        return SELF_REPORTED
    file = row["origin"] if table == "covariates" else None
    if table == "edges" and row["run"] is None:
        file = row["meta"].get("origin")
    return MEASURED if file is None else f"{IMPORTED}:{cleaner.digest(str(file))}"


def _responses(store: Store) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield what tasks look like to the experts that were run on them, by the key it is kept under."""
    for key in store.features.keys_of_length(_RESPONSE, most=MOST_RESPONSES):
        response = store.features.get(key)
        if response is not None:
            yield key, response
