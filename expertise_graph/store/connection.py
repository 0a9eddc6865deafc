"""The one way to open registry.db, and the one way to write to it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from expertise_graph.core import ARRAYS, NewerSchemaError, StoreError, on_network, setting
from expertise_graph.store.failures import Connection, advice, is_read_only, store_error
from expertise_graph.store.migrations import SCHEMA_VERSION, migrate, schema_version
from expertise_graph.store.schema import check_schema

# Written into the file, so that a database of another program is told apart ("xggr").
APPLICATION_ID = 0x78676772

# How long a process waits for another one that writes. Transactions take milliseconds; a slow disk or a
# backup may hold the lock for seconds. Longer would look like a hang.
BUSY_SECONDS = 30


def connect(path: Path, *, network: bool | None = None) -> Connection:
    """Open the registry at `path`, creating it or bringing its schema up to date.

    One that may not be written is opened to be read.

    Args:
        path: of the file.
        network: whether it lies on a network file system, where write-ahead logs are unsafe; found out by
            default.

    Raises:
        StoreError: not a registry, damaged, changed by another program, or not to be opened.
        NewerSchemaError: written by a newer version of this package.
    """
    if path.is_dir():
        raise StoreError(f"{path} is a folder, not a registry")
    if not path.parent.is_dir():
        raise StoreError(f"{path.parent} is not a folder; run: expertise-graph init")
    try:
        if is_read_only([path, path.parent] if path.exists() else [path.parent]):
            connection = _to_read(path)
            connection.read_only = True
            return connection
        return _to_write(path, on_network(path) if network is None else network)
    except sqlite3.DatabaseError as error:
        raise store_error(error, path) from error
    except OSError as error:
        raise StoreError(advice(path, error)) from error


def _to_write(path: Path, network: bool) -> Connection:
    was_there = path.exists()
    connection = _open(str(path), path)
    current = _is_current(connection, path)
    if was_there and not current and _is_lost(connection, path):
        raise StoreError(
            f"{path} is empty, and {path.parent / ARRAYS} is not: it was lost. Restore it from a "
            "backup, or remove it and run: expertise-graph init"
        )
    # The journal is part of the file: one that was moved to a network file system brings its own along.
    if not current or (network and connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"):
        _set_journal(connection, "DELETE" if network else "WAL")
    # A power failure may lose the last transactions of a write-ahead log, and damages nothing.
    connection.execute("PRAGMA synchronous=NORMAL")
    if not current:
        with write(connection):
            migrate(connection)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    return connection


def _to_read(path: Path) -> Connection:
    """Open a registry in a file or folder that may not be written."""
    if not path.exists():
        raise StoreError(
            f"{path.parent} is not writable; choose another folder with {setting('workspace', 'PATH')}"
        )
    address = f"file:{quote(os.fsencode(path))}?mode=ro"
    log = path.with_name(f"{path.name}-wal")
    try:
        connection = _open(address, path)
        current = _is_current(connection, path)
    except StoreError as error:
        # Without its shared memory, which cannot be made here, a write-ahead log cannot be read in place.
        if not isinstance(error.__cause__, sqlite3.OperationalError):
            raise
        connection = (
            _copied(path) if log.exists() and log.stat().st_size else _open(f"{address}&immutable=1", path)
        )
        current = _is_current(connection, path)
    if current:
        return connection
    # Brought up to date in memory.
    copy = _open(":memory:", path)
    connection.backup(copy)
    connection.close()
    copy.execute("BEGIN")
    migrate(copy)
    copy.execute("COMMIT")
    copy.execute("PRAGMA query_only=ON")
    return copy


def _copied(path: Path) -> Connection:
    """Return what a registry and its write-ahead log hold, in memory."""
    copy = _open(":memory:", path)
    with tempfile.TemporaryDirectory() as folder:
        for name in (path.name, f"{path.name}-wal"):
            shutil.copyfile(path.with_name(name), Path(folder) / name)
        whole = _open(str(Path(folder) / path.name), path)
        whole.backup(copy)
        whole.close()
    copy.execute("PRAGMA query_only=ON")
    return copy


def _open(address: str, path: Path) -> Connection:
    connection = sqlite3.connect(
        address,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        factory=Connection,
        uri=address.startswith("file:"),
    )
    connection.path = path
    # Bytes that are no UTF-8, as paths may hold, come back as Python has them in paths.
    connection.text_factory = os.fsdecode
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _set_journal(connection: Connection, mode: str) -> None:
    """Set the journal mode; SQLite itself does not wait here for a process that is about to write."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(f"PRAGMA journal_mode={mode}")
            return
        except StoreError as error:
            busy = getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > until:
                raise
            time.sleep(0.05)


def _is_current(connection: Connection, path: Path) -> bool:
    """Tell whether the schema is up to date; refuse files of others and of newer versions."""
    # One snapshot: another process may be making the schema right now.
    connection.execute("BEGIN")
    try:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        version = schema_version(connection)
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        if application != APPLICATION_ID and tables:
            raise StoreError(f"{path} is a SQLite file of another program; choose another workspace")
        if version > SCHEMA_VERSION:
            raise NewerSchemaError(
                f"{path} has schema version {version}, this program knows up to {SCHEMA_VERSION}; "
                "upgrade with: pip install -U expertise-graph"
            )
        check_schema(connection, version, path)
    finally:
        connection.execute("COMMIT")
    return version == SCHEMA_VERSION


def _is_lost(connection: Connection, path: Path) -> bool:
    """Tell whether a registry without a single table has arrays beside it, which it made once."""
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return not tables and any(p.is_file() for p in (path.parent / ARRAYS).rglob("*"))


@contextmanager
def write(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock for one short transaction, committed whole or not at all.

    The lock is taken at the start: a deferred transaction that reads and then writes fails at
    once when another process wrote in between, whatever the busy timeout.

    Raises:
        StoreError: when the disk is full, the lock was not to be had, or it may not be written.
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
    except StoreError as error:
        if isinstance(error.__cause__, sqlite3.Error):
            raise StoreError(f"{error}; nothing was changed") from error.__cause__
        raise
