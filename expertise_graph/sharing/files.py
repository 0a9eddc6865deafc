"""A snapshot as the files of a shared registry, and back: nothing is believed before it was checked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from expertise_graph.core import (
    DatasetError,
    InvalidInputError,
    disk_errors,
    sha256_of_file,
    write_json,
)
from expertise_graph.data import read_rows, write_rows
from expertise_graph.sharing.format import (
    DATA,
    MANIFEST,
    MOST_BYTES,
    TABLES,
    VECTORS,
    Manifest,
    SharedFile,
    Snapshot,
)

RESPONSES = "responses"
# Embeddings of one length are the rows of one tensor.
_EMBEDDINGS = "embeddings-"
_TENSOR = re.compile(rf"{RESPONSES}|{_EMBEDDINGS}[1-9][0-9]{{0,5}}")


def write_snapshot(snapshot: Snapshot, folder: Path, *, anonymous: bool) -> Manifest:
    """Write a snapshot to an empty folder; the same one gives the same bytes."""
    (folder / DATA).mkdir()
    tables, tensors = _numbered(snapshot)
    files: dict[str, SharedFile] = {}
    for table, columns in TABLES.items():
        path = folder / DATA / f"{table}.parquet"
        with disk_errors():
            write_rows(path, columns, [_flat(row) for row in tables[table]])
        files |= _named(folder, path, len(tables[table]))
    path = folder / DATA / f"{VECTORS}.safetensors"
    with disk_errors():
        save_file(tensors, path)
    files |= _named(folder, path, sum(map(len, tensors.values())))
    manifest = Manifest(anonymous=anonymous, files=files)
    write_json(folder / MANIFEST, manifest.as_dict())
    return manifest


def _numbered(
    snapshot: Snapshot,
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, NDArray[np.float32]]]:
    """Return the tables with the places of their vectors, and the vectors."""
    groups: dict[str, list[NDArray[np.float32]]] = {}
    placed = []
    for row in snapshot.tables["embeddings"]:
        group = groups.setdefault(f"{_EMBEDDINGS}{len(row['vector'])}", [])
        name = f"{_EMBEDDINGS}{len(row['vector'])}"
        placed.append({**row, "tensor": name, "row": len(group)})
        group.append(row["vector"])
    groups[RESPONSES] = list(snapshot.responses.values())
    tensors = {name: np.stack(rows).astype("<f4") for name, rows in groups.items() if rows}
    return {**snapshot.tables, "embeddings": placed}, tensors


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with its object as JSON."""
    return {
        k: json.dumps(v, sort_keys=True, allow_nan=False) if isinstance(v, dict) else v
        for k, v in row.items()
        if k != "vector"
    }


def _named(folder: Path, path: Path, rows: int) -> dict[str, SharedFile]:
    """Give a file the name that says what is in it."""
    sha256 = sha256_of_file(path)
    target = path.rename(path.with_name(f"{path.stem}-{sha256[:12]}{path.suffix}"))
    shared = SharedFile(sha256=sha256, bytes=target.stat().st_size, rows=rows)
    return {target.relative_to(folder).as_posix(): shared}


def read_manifest(folder: Path, place: str) -> Manifest:
    """Return the manifest of a folder; raises as `Manifest.from_file`."""
    return Manifest.from_file(folder / MANIFEST, place)


def read_snapshot(folder: Path, manifest: Manifest, place: str) -> Snapshot:
    """Return what the files of a folder hold, each compared with the manifest first.

    Args:
        folder: of the files.
        manifest: that was read from it.
        place: what is read, for messages.

    Raises:
        InvalidInputError: naming the file that is missing, damaged, or not what it should be.
    """
    for name, file in manifest.files.items():
        _check_file(folder / name, name, file, place)
    try:
        tables = {
            table: read_rows(
                folder / manifest.file_of(table),
                columns,
                rows=manifest.rows[table],
                most_bytes=MOST_BYTES,
            )
            for table, columns in TABLES.items()
        }
    except DatasetError as error:
        raise InvalidInputError(f"{place} is not a registry that can be read: {error}") from error
    tensors = _tensors(folder / manifest.file_of(VECTORS), place)
    for row in tables["embeddings"]:
        row["vector"] = _vector(tensors, row.pop("tensor"), row.pop("row"), place)
    keyed = {row["key"]: _vector(tensors, RESPONSES, row["row"], place) for row in tables["responses"]}
    return Snapshot(tables={name: list(map(_opened, rows)) for name, rows in tables.items()}, responses=keyed)


def _check_file(path: Path, name: str, file: SharedFile, place: str) -> None:
    again = "push it again, or pull it again where it was copied"
    if path.is_symlink() or not path.is_file():
        raise InvalidInputError(f"{place} is not whole: {name} is missing; {again}")
    size = path.stat().st_size
    if size != file.bytes:
        raise InvalidInputError(
            f"{place} is not whole: {name} has {size:,} bytes instead of {file.bytes:,}; {again}"
        )
    if sha256_of_file(path) != file.sha256:
        raise InvalidInputError(f"{place} is not whole: {name} does not match its checksum; {again}")


def _tensors(path: Path, place: str) -> dict[str, NDArray[np.float32]]:
    try:
        with safe_open(path, framework="np") as stored:
            names = list(stored.keys())
            tensors = {name: stored.get_tensor(name) for name in names if _TENSOR.fullmatch(name)}
    except (SafetensorError, OSError, ValueError, TypeError, MemoryError) as error:
        raise InvalidInputError(f"{place} has vectors that cannot be read: {path.name}") from error
    for name in names:
        array = tensors.get(name)
        if array is None or array.ndim != 2 or array.dtype != np.float32 or not np.isfinite(array).all():
            raise InvalidInputError(f"{place} has vectors that are none: {name[:80]!r} in {path.name}")
    return tensors


def _vector(
    tensors: Mapping[str, NDArray[np.float32]], name: str, row: int, place: str
) -> NDArray[np.float32]:
    if name not in tensors or not 0 <= row < len(tensors[name]):
        raise InvalidInputError(f"{place} names vectors that are not there: row {row} of {name[:80]!r}")
    vector: NDArray[np.float32] = tensors[name][row]
    return vector


def _opened(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its object as a value of Python; what is none stays a text, which is refused."""
    if "meta" not in row:
        return row
    try:
        return {**row, "meta": json.loads(row["meta"])}
    except (ValueError, RecursionError):
        return row
