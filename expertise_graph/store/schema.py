"""Whether a registry is as this program made it: what others put into one is not run."""

from __future__ import annotations

import shlex
import sqlite3
from functools import cache
from pathlib import Path

from expertise_graph.core import StoreError
from expertise_graph.store.migrations import migrate

# Kept by SQLite itself, and by the first versions of this program.
_INTERNAL = ("sqlite_sequence", "sqlite_stat1", "sqlite_stat4")
_EARLIER = ("_sqlite_migrations", "idx__sqlite_migrations_migration_set_name")

Objects = dict[str, tuple[str, str]]
"""Kind and statement of tables, indexes and whatever else is in a schema, by name."""


def check_schema(db: sqlite3.Connection, version: int, path: Path) -> None:
    """Refuse a registry with triggers, views or tables that no version of this program makes.

    Any of them changes what reading and writing do: a trigger can delete what others store.

    Raises:
        StoreError: naming the first one, and how to remove it.
    """
    found, wanted = _objects(db), _made_by(version)
    for name, (kind, statement) in sorted(found.items()):
        if name in wanted and wanted[name] == (kind, statement):
            continue
        if name in _EARLIER and kind in ("table", "index"):
            continue
        if name in wanted:
            raise StoreError(
                f"{path} is not as this program made it (the {kind} {name!r} is another): choose another "
                "workspace, or restore it from a backup"
            )
        drop = f"DROP {kind.upper()} {name}"
        raise StoreError(
            f"{path} has a {kind} {name!r} that this program did not make, and is not opened: remove it, "
            f"e.g. sqlite3 {shlex.quote(str(path))} {shlex.quote(drop)}, or choose another workspace"
        )
    if missing := sorted({*wanted} - {*found}):
        raise StoreError(
            f"{path} is not as this program made it (without {missing[0]!r}): restore it from a backup"
        )


def _objects(db: sqlite3.Connection) -> Objects:
    rows = db.execute("SELECT name, type, sql FROM sqlite_master").fetchall()
    return {
        str(name): (str(kind), " ".join(str(sql).split()))
        for name, kind, sql in rows
        # An index that belongs to a PRIMARY KEY or UNIQUE has no statement of its own.
        if not (kind == "index" and sql is None) and not (kind == "table" and name in _INTERNAL)
    }


@cache
def _made_by(version: int) -> Objects:
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        db.execute("BEGIN")
        migrate(db, to=version)
        return _objects(db)
    finally:
        db.close()
