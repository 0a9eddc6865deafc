"""What every part of the store stands on: the connection, transactions, typed rows, the audit log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlite_utils import Database

from expertise_graph.core import ARRAYS, DATABASE
from expertise_graph.store.arrays import Arrays
from expertise_graph.store.connection import connect, write
from expertise_graph.store.rows import now, plain, readable

T = TypeVar("T")


AS_ADDED = "rowid"
"""Order in which rows were added: what is the newest is not told by times, as clocks are set back."""


class StoreBase:
    """The connection to registry.db of one workspace, and the arrays beside it.

    Attributes:
        read_only: whether file or folder may not be written. What is only kept to save time is then not kept;
            all other writing is an error.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Plug-ins of sqlite-utils, which other programs install, have no business in the registry.
        connection = connect(folder / DATABASE)
        self.db = Database(connection, execute_plugins=False)
        self.read_only = connection.read_only
        self.features = Arrays(folder / ARRAYS / "features", read_only=self.read_only)

    def close(self) -> None:
        """Close the connection."""
        self.db.close()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything written inside one transaction; nested use joins the outer one."""
        if self.db.conn.in_transaction:
            yield
        else:
            with write(self.db.conn):
                yield

    def _select(
        self, kind: type[T], table: str, where: Mapping[str, Any], order: str, limit: int | None = None
    ) -> list[T]:
        """Return the rows that meet all conditions, as frozen dataclasses.

        Args:
            kind: of dataclass.
            table: to look in.
            where: conditions with one question mark each, and what stands for it; None for any value.
            order: columns to sort by.
            limit: how many rows at most.
        """
        which, values = clause(where)
        rows = self.db.query(
            f"SELECT * FROM {table} {which} ORDER BY {order} LIMIT ?",
            [*values, -1 if limit is None else limit],
        )
        return readable(kind, rows)

    @contextmanager
    def _keeping(self, optional: bool = True) -> Iterator[bool]:
        """Make one transaction of what only saves time later; False where it cannot be kept."""
        if self.read_only and optional:
            yield False
        else:
            with self.transaction():
                yield True

    def _there(self, experts: Iterable[str]) -> set[str]:
        """Return which of some experts are registered."""
        sql = f"SELECT id FROM experts WHERE {among('id')}"
        return {row[0] for row in self.db.execute(sql, [json_list(experts)])}

    def _insert(self, table: str, rows: list[dict[str, Any]], conflict: str = "") -> None:
        """Insert many rows with the same columns by one prepared statement."""
        if rows:
            names = ", ".join(rows[0])
            marks = ", ".join(f":{name}" for name in rows[0])
            self.db.conn.executemany(f"INSERT {conflict} INTO {table} ({names}) VALUES ({marks})", rows)

    def _upsert(self, table: str, row: dict[str, Any]) -> None:
        """Insert a row or replace what is there under its id; the time of its creation stays."""
        if "created_at" in row:
            for old in self.db.query(f"SELECT created_at FROM {table} WHERE id = ?", [row["id"]]):
                row = {**row, "created_at": old["created_at"]}
        self.db.table(table).upsert(row, pk="id")

    def _log(self, kind: str, subject: str, detail: Mapping[str, Any]) -> None:
        """Add a line to the audit log."""
        row = {"at": now(), "kind": kind, "subject": plain(subject), "detail": json.dumps(dict(detail))}
        self._insert("events", [row])

    def _bump(self) -> None:
        """Start a new generation: an expert's vector changed."""
        self.db.execute(
            "INSERT INTO state (name, value) VALUES ('generation', '1') "
            "ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + 1"
        )


def clause(conditions: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Return the WHERE of the conditions whose value is given, and the values of its question marks.

    Example:
        >>> clause({"kind = ?": "lineage", "run = ?": None, among("source"): json_list(["a"])})
        ('WHERE kind = ? AND source IN (SELECT value FROM json_each(?))', ['lineage', '["a"]'])
    """
    given = {condition: value for condition, value in conditions.items() if value is not None}
    return (f"WHERE {' AND '.join(given)}" if given else ""), [plain(value) for value in given.values()]


def among(column: str) -> str:
    """Return the condition that a column is one of the values of a `json_list`."""
    return f"{column} IN (SELECT value FROM json_each(?))"


def json_list(values: Iterable[str | int] | None) -> str | None:
    """Return values as one value of SQL, or None for None."""
    return None if values is None else json.dumps(list(values))
