"""The one way to open registry.db, and the one way to write to it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database

from expertise_graph.core import NewerSchemaError, StoreError
from expertise_graph.store.location import on_network
from expertise_graph.store.migrations import SCHEMA_VERSION, migrations

APPLICATION_ID = 0x78676772
BUSY_SECONDS = 30


def connect(path: Path) -> Database:
    """Open the registry at `path`, creating it or bringing its schema up to date.

    Raises:
        StoreError: not a registry, damaged, or its folder cannot be written.
        NewerSchemaError: written by a newer version of this package.
    """
    _check_writable(path)
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA foreign_keys=ON")
        db = Database(connection, execute_plugins=False)
        if _is_current(db, path):
            connection.execute("PRAGMA synchronous=NORMAL")
            return db
        _set_journal(connection, "DELETE" if on_network(path) else "WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        with write(db):
            migrations.apply(db)
            db.execute(f"PRAGMA application_id={APPLICATION_ID}")
            db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        return db
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            raise StoreError(f"{path} is in use by another program: try again when it is done") from error
        raise StoreError(f"{path} cannot be opened: {error}; restore it from a backup") from error


def _set_journal(connection: sqlite3.Connection, mode: str) -> None:
    """Set the journal mode; SQLite itself does not wait here for a process that is about to write."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(f"PRAGMA journal_mode={mode}")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.05)


def _check_writable(path: Path) -> None:
    if path.is_dir():
        raise StoreError(f"{path} is a folder, not a registry")
    if not path.parent.is_dir():
        raise StoreError(f"{path.parent} is not a folder; run: expertise-graph init")
    target = path if path.exists() else path.parent
    if not os.access(target, os.W_OK) or not os.access(path.parent, os.W_OK):
        raise StoreError(f"{target} is not writable; choose another place with --workspace PATH")


def _is_current(db: Database, path: Path) -> bool:
    """Tell whether the schema is up to date; refuse files of others and of newer versions."""
    # One snapshot: another process may be making the schema right now.
    db.conn.execute("BEGIN")
    tables = db.conn.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    version = db.conn.execute("PRAGMA user_version").fetchone()[0]
    application = db.conn.execute("PRAGMA application_id").fetchone()[0]
    db.conn.execute("COMMIT")
    if application != APPLICATION_ID and tables:
        raise StoreError(f"{path} is a SQLite file of another program; choose another workspace")
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{path} has schema version {version}, this program knows up to {SCHEMA_VERSION}; "
            "upgrade with: pip install -U expertise-graph"
        )
    return bool(version == SCHEMA_VERSION)


@contextmanager
def write(db: Database) -> Iterator[Database]:
    """Hold the write lock for one short transaction, committed whole or not at all.

    The lock is taken at the start: a deferred transaction that reads and then writes fails at
    once when another process wrote in between, whatever the busy timeout.

    Raises:
        StoreError: when the disk is full or the lock was not to be had.
    """
    try:
        db.conn.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.conn.execute("COMMIT")
        except BaseException:
            if db.conn.in_transaction:
                db.conn.execute("ROLLBACK")
            raise
    except sqlite3.OperationalError as error:
        raise StoreError(f"the registry could not be written: {error}; nothing was changed") from error
