"""Rows of registry.db to the frozen types and back."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any, TypeVar, get_args, get_type_hints

import numpy as np

from expertise_graph.core import LENGTHS, Embedding, InvalidInputError, StoreError, sha256_of_bytes

T = TypeVar("T")
_TUPLES = frozenset({"datasets", "tags", "classes"})
_JSON = _TUPLES | {"meta", "config", "result", "detail"}

# What a damaged cell is read as where the row is to be removed.
_EMPTY: dict[Any, Any] = {str: "", int: 0, float: 0.0, bool: False, tuple: (), dict: {}}


@cache
def software() -> str:
    """Return the versions of what runs experts; nothing is imported for it."""
    return " ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))


def now() -> str:
    """Return the time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _names(kind: Any) -> Iterable[str]:
    """Return the names of the fields of a dataclass; `dataclasses.fields` takes long for every row."""
    fields: dict[str, object] = kind.__dataclass_fields__
    return fields


def to_row(node: Any, created_at: str | None = None) -> dict[str, Any]:
    """Return the row of a frozen dataclass; its creation time is set if it has none, by default to now."""
    row: dict[str, Any] = {}
    for field in _names(type(node)):
        value = getattr(node, field)
        row[field] = _dump(value) if field in _JSON else plain(value)
    # Names are for people; what cannot be written in UTF-8 is written out, as \\xe9.
    name = row.get("name")
    if isinstance(name, bytes):
        row["name"] = name.decode("utf-8", "backslashreplace")
    if row.get("created_at") == "":
        row["created_at"] = created_at or now()
    return row


def from_row(kind: Callable[..., T], row: Mapping[str, Any], *, repair: bool = False) -> T:
    """Return the frozen dataclass of a row; columns it does not have are left out.

    Args:
        kind: of dataclass.
        row: of its table.
        repair: whether a damaged cell is read as an empty one, e.g. to remove the row.

    Raises:
        StoreError: naming a cell that does not hold what it should.
    """
    values = {}
    for name, types in _cells(kind):
        if name not in row:
            continue
        value = row[name]
        try:
            value = _load(name, value)
            fits = isinstance(value, types)
        except (ValueError, TypeError, RecursionError):
            fits = False
        if not fits and not repair:
            raise StoreError(_damage(kind, row, name))
        values[name] = value if fits else _EMPTY.get(types[0])
    return kind(**values)


def readable(kind: Callable[..., T], rows: Iterable[Mapping[str, Any]]) -> list[T]:
    """Return the dataclasses of rows; damaged rows are left out, with a line that names each."""
    found = []
    for row in rows:
        try:
            found.append(from_row(kind, row))
        except StoreError as error:
            tell(str(error))
    return found


@cache
def tell(line: str) -> None:
    """Say on stderr, once, what is wrong with a part of the registry that the rest can do without."""
    sys.stderr.write(f"registry: {line}\n")


def _damage(kind: Any, row: Mapping[str, Any], column: str) -> str:
    what, name = kind.__name__.lower(), row.get("id", f"of {row.get('created_at', 'unknown time')}")
    ways = (
        "register it again, or take it out with: expertise-graph rm ID"
        if what == "expert"
        else "what made it can be run again"
    )
    return f"{column} of the {what} {name} is damaged, it is left out; {ways}"


@cache
def _cells(kind: Any) -> tuple[tuple[str, tuple[type, ...]], ...]:
    """Return the names of the fields of a dataclass, each with the types that its cell may have."""
    hints = get_type_hints(kind)
    return tuple((name, _types(name, hints[name])) for name in _names(kind))


def _types(name: str, hint: Any) -> tuple[type, ...]:
    if name in _JSON:
        return (tuple,) if name in _TUPLES else (dict,)
    given = [h for h in (get_args(hint) or (hint,)) if isinstance(h, type)]
    # SQLite has neither booleans nor, in a column of numbers, a difference of 1 and 1.0.
    more: dict[Any, list[type]] = {bool: [int], float: [int]}
    return tuple(t for h in given for t in (h, *more.get(h, [])))


def embedding_row(embedding: Embedding) -> dict[str, Any]:
    """Return the row of an embedding, its vector as little-endian float32 with a checksum.

    Raises:
        InvalidInputError: for a vector that is not finite, not one-dimensional, or all zeros.
    """
    vector = np.ascontiguousarray(embedding.vector, dtype="<f4")
    if vector.ndim != 1 or not np.isfinite(vector).all() or not vector.any():
        raise InvalidInputError(f"the embedding of {embedding.owner} is not a finite, non-zero vector")
    blob = vector.tobytes()
    row = to_row(dataclasses.replace(embedding, vector=np.zeros(0)))
    return {**row, "vector": blob, "sha256": sha256_of_bytes(blob)}


def row_vector(row: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the vector (m,) of an embedding row.

    Raises:
        StoreError: when it does not match its checksum, or is none that its method makes.
    """
    blob = row["vector"]
    whole = isinstance(blob, bytes) and len(blob) % 4 == 0 and sha256_of_bytes(blob) == row["sha256"]
    vector = np.frombuffer(blob if whole else b"", dtype="<f4")
    fits = len(vector) == LENGTHS.get(row["method"], len(vector))
    if not fits or not np.isfinite(vector).all() or not vector.any():
        raise StoreError(f"the embedding of {row['owner']} is damaged")
    return vector


def plain(value: Any) -> Any:
    """Return a value as SQLite stores it.

    It would store numpy scalars as bytes. Of text it takes UTF-8 only: a path of other bytes is stored as
    bytes.
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return os.fsencode(value)
    return value.item() if isinstance(value, np.generic) else value


def _dump(value: Any) -> str:
    return json.dumps(dict(value) if isinstance(value, Mapping) else value, sort_keys=True)


def _load(name: str, value: Any) -> Any:
    if name == "trusted_code":
        return bool(value)
    if name not in _JSON:
        return os.fsdecode(value) if isinstance(value, bytes) else value
    loaded = json.loads(value)
    if name not in _TUPLES:
        return loaded
    return tuple(loaded) if isinstance(loaded, list) and all(isinstance(v, str) for v in loaded) else None
