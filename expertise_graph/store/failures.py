"""What is behind an error of SQLite, which often names only what it could not do."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from expertise_graph.core import DATABASE, StoreError, setting
from expertise_graph.store.rows import plain

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)

# As much as SQLite writes at a time, and more than fits beside other files where a disk is said to be full.
_TRIED_BYTES = 1 << 16

# Rows fetched at a time: errors are named for each batch, not for each row.
_ROWS = 256


class Cursor(sqlite3.Cursor):
    """A cursor whose errors say what is wrong with the registry, and what to do."""

    def execute(self, *arguments: Any) -> Any:
        """Execute a statement."""
        with named(self.connection):
            try:
                return super().execute(*arguments)
            except UnicodeEncodeError:
                statement, values = arguments
                return super().execute(statement, _in_bytes(values))

    def executemany(self, *arguments: Any) -> Any:
        """Execute a statement for each row."""
        with named(self.connection):
            return super().executemany(*arguments)

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        with named(self.connection):
            return super().fetchone()

    def fetchmany(self, size: int | None = 1) -> Any:
        """Return up to `size` rows."""
        with named(self.connection):
            return super().fetchmany(size)

    def fetchall(self) -> Any:
        """Return all rows that are left."""
        with named(self.connection):
            return super().fetchall()

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Iterate over the rows that are left."""
        while rows := self.fetchmany(_ROWS):
            yield from rows


class Connection(sqlite3.Connection):
    """A connection to the registry at `path`; what its cursors raise is a `StoreError`.

    Attributes:
        read_only: whether it was opened to be read, because file or folder may not be written.
    """

    path: Path
    read_only = False

    def cursor(self, factory: Any = Cursor) -> Any:
        """Return a new cursor."""
        return super().cursor(factory)

    def execute(self, *arguments: Any) -> Any:
        """Execute a statement, and return its cursor."""
        return self.cursor().execute(*arguments)

    def executemany(self, *arguments: Any) -> Any:
        """Execute a statement for each row, and return its cursor."""
        return self.cursor().executemany(*arguments)


@contextmanager
def named(connection: sqlite3.Connection) -> Iterator[None]:
    """Raise errors of the database, which are none of the caller, as `StoreError` with their cause."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.DatabaseError as error:
        raise store_error(error, getattr(connection, "path", Path(DATABASE))) from error


def store_error(error: sqlite3.DatabaseError, path: Path) -> StoreError:
    """Return the error that says why the registry at `path` cannot be used.

    Only what is damaged is said to need a backup: a full disk, too few descriptors, or a file that may not
    be written leave the registry as it was.
    """
    code = getattr(error, "sqlite_errorcode", None)
    kind = None if code is None else code & 0xFF
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(f"{path} is in use by another program: try again when it is done")
    if kind in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreError(f"{path} is damaged ({error}); restore it from a backup")
    if kind == sqlite3.SQLITE_NOMEM:
        return StoreError(f"{path} needs more memory than there is")
    if kind == sqlite3.SQLITE_FULL:
        return StoreError(advice(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    reason = None if kind == sqlite3.SQLITE_ERROR else _refusal(path)
    if reason is not None:
        return StoreError(advice(path, reason))
    if kind == sqlite3.SQLITE_READONLY:
        return StoreError(advice(path, OSError(errno.EROFS, str(error))))
    return StoreError(f"{path} cannot be used: {error}")


def _in_bytes(values: Any) -> Any:
    """Return the values of a statement with text that is no UTF-8, as paths may be, in bytes."""
    if isinstance(values, Mapping):
        return {name: plain(value) for name, value in values.items()}
    return [plain(value) for value in values]


def _refusal(path: Path) -> OSError | None:
    """Return what the system says to what SQLite tried: reading, changing, and writing beside the file."""
    try:
        with path.open("rb"):
            pass
        with path.open("r+b"):
            pass
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".try.") as file:
            file.seek(_length(path))  # a limit may be set to the size of a file
            file.write(b"\0" * _TRIED_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def _length(path: Path) -> int:
    """Return the size of the registry or, where that is larger, of its log."""
    log = path.with_name(f"{path.name}-wal")
    return max(path.stat().st_size, log.stat().st_size if log.exists() else 0)


def advice(path: Path, reason: OSError) -> str:
    """Return what the system refused the registry at `path`, and what to do."""
    if reason.errno in _FULL:
        return f"{path}: the disk is full; free some space and run the same command again"
    if reason.errno in _DESCRIPTORS:
        return f"{path}: too many files are open; raise the limit (ulimit -n) or end other programs"
    if reason.errno in _READ_ONLY:
        return (
            f"{path} is not writable ({reason.strerror}): it can be read, and nothing be stored; choose "
            f"another folder with {setting('workspace', 'PATH')}"
        )
    return f"{path} cannot be used: {reason.strerror}"


def is_read_only(paths: Iterable[Path]) -> bool:
    """Tell whether one of the paths may not be written."""
    return not all(os.access(path, os.W_OK) for path in paths)
