"""The one way to open registry.db, and the one way to write to it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from expertise_graph.core import NewerSchemaError, StoreError, setting
from expertise_graph.store.location import on_network
from expertise_graph.store.migrations import SCHEMA_VERSION, migrate, schema_version

# Written into the file, so that a database of another program is told apart ("xggr").
APPLICATION_ID = 0x78676772

# How long a process waits for another one that writes. Transactions take milliseconds; a slow disk or a
# backup may hold the lock for seconds. Longer would look like a hang.
BUSY_SECONDS = 30


def connect(path: Path) -> sqlite3.Connection:
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
        current = _is_current(connection, path)
        if not current:
            _set_journal(connection, "DELETE" if on_network(path) else "WAL")
        # A power failure may lose the last transactions of a write-ahead log, and damages nothing.
        connection.execute("PRAGMA synchronous=NORMAL")
        if not current:
            with write(connection):
                migrate(connection)
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        return connection
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
        raise StoreError(
            f"{target} is not writable; choose another folder with {setting('workspace', 'PATH')}"
        )


def _is_current(connection: sqlite3.Connection, path: Path) -> bool:
    """Tell whether the schema is up to date; refuse files of others and of newer versions."""
    # One snapshot: another process may be making the schema right now.
    connection.execute("BEGIN")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    version = schema_version(connection)
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    connection.execute("COMMIT")
    if application != APPLICATION_ID and tables:
        raise StoreError(f"{path} is a SQLite file of another program; choose another workspace")
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{path} has schema version {version}, this program knows up to {SCHEMA_VERSION}; "
            "upgrade with: pip install -U expertise-graph"
        )
    return version == SCHEMA_VERSION


@contextmanager
def write(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock for one short transaction, committed whole or not at all.

    The lock is taken at the start: a deferred transaction that reads and then writes fails at
    once when another process wrote in between, whatever the busy timeout.

    Raises:
        StoreError: when the disk is full or the lock was not to be had.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except sqlite3.OperationalError as error:
        raise StoreError(f"the registry could not be written: {error}; nothing was changed") from error
