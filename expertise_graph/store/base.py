"""What every part of the store stands on: the connection, transactions, the audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from expertise_graph.store.arrays import Arrays
from expertise_graph.store.connection import connect, write
from expertise_graph.store.location import DATABASE
from expertise_graph.store.rows import now


class StoreBase:
    """The connection to registry.db of one workspace, and the arrays beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = connect(folder / DATABASE)
        self.features = Arrays(folder / "embeddings" / "features")

    def close(self) -> None:
        """Close the connection."""
        self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything written inside one transaction; nested use joins the outer one."""
        if self.db.conn.in_transaction:
            yield
        else:
            with write(self.db):
                yield

    def _upsert(self, table: str, row: dict[str, Any]) -> None:
        """Insert a node or replace its description; the time of its creation stays."""
        for old in self.db.query(f"SELECT created_at FROM {table} WHERE id = ?", [row["id"]]):
            row["created_at"] = old["created_at"]
        self.db.table(table).upsert(row, pk="id")

    def _log(self, kind: str, subject: str, detail: Mapping[str, Any]) -> None:
        event = {"at": now(), "kind": kind, "subject": subject, "detail": json.dumps(dict(detail))}
        self.db.table("events").insert(event)

    def _insert(self, table: str, rows: list[dict[str, Any]], conflict: str = "") -> None:
        """Insert many rows with the same columns by one prepared statement."""
        if rows:
            names = ", ".join(rows[0])
            marks = ", ".join(f":{name}" for name in rows[0])
            self.db.conn.executemany(f"INSERT {conflict} INTO {table} ({names}) VALUES ({marks})", rows)
