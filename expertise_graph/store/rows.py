"""Rows of registry.db to the frozen types and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np

from expertise_graph.core import Embedding, InvalidInputError, StoreError, sha256_of_bytes

T = TypeVar("T")
_TUPLES = frozenset({"datasets", "tags", "classes"})
_JSON = _TUPLES | {"meta", "config", "result", "detail"}


def now() -> str:
    """Return the time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _names(kind: Any) -> Iterable[str]:
    """Return the names of the fields of a dataclass; `dataclasses.fields` takes long for every row."""
    fields: dict[str, object] = kind.__dataclass_fields__
    return fields


def to_row(node: Any, created_at: str | None = None) -> dict[str, Any]:
    """Return the row of a frozen dataclass; its creation time is set if it has none, by default to now."""
    row = {}
    for name in _names(type(node)):
        value = getattr(node, name)
        row[name] = _dump(value) if name in _JSON else _plain(value)
    if row.get("created_at") == "":
        row["created_at"] = created_at or now()
    return row


def from_row(kind: type[T], row: Mapping[str, Any]) -> T:
    """Return the frozen dataclass of a row; columns it does not have are left out."""
    values = {name: _load(name, row[name]) for name in _names(kind) if name in row}
    if "trusted_code" in values:
        values["trusted_code"] = bool(values["trusted_code"])
    return kind(**values)


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
        StoreError: when it does not match its checksum.
    """
    blob = row["vector"]
    if sha256_of_bytes(blob) != row["sha256"]:
        raise StoreError(f"the embedding of {row['owner']} is damaged; register the expert again")
    return np.frombuffer(blob, dtype="<f4")


def _plain(value: Any) -> Any:
    """Return numpy scalars as Python ones; SQLite would store them as bytes."""
    return value.item() if isinstance(value, np.generic) else value


def _dump(value: Any) -> str:
    return json.dumps(dict(value) if isinstance(value, Mapping) else value, sort_keys=True)


def _load(name: str, value: Any) -> Any:
    if name not in _JSON:
        return value
    loaded = json.loads(value)
    return tuple(loaded) if name in _TUPLES else loaded
