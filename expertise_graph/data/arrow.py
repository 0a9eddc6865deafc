"""Columnar tables: .parquet files, and the Arrow files that `datasets.save_to_disk` writes."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from expertise_graph.core import DatasetError, byte_size, first_line
from expertise_graph.data.files import MAX_TABLE_BYTES, below, read_json_in_data, read_regular
from expertise_graph.data.modalities.base import binary_modality, modality_of_type
from expertise_graph.data.table import (
    CLASSES,
    OTHER,
    Column,
    DataTable,
    check_names,
    check_width,
)

# Cells of a column of bytes that tell what it holds.
_PEEKED = 64

# What a column may take in memory that does not take it in its file: texts are packed to a tenth at best, and
# what is packed far more is made to fill the memory.
_MOST_EXPANDED, _MOST_TIMES = 1 << 29, 20
# Bytes of a cell, and of a number in a list, as objects of Python.
_CELL, _ELEMENT = 32, 8

Load = Callable[[str, "int | None"], list[object]]
"""Reads the cells of a column by its name: the first ones up to a number, or all."""


def parquet_table(path: Path, *, root: Path | None) -> DataTable:
    """Open a .parquet file; a column is read when it is asked for.

    Raises:
        DatasetError: when it is no Parquet file.
    """
    schema = guarded(lambda: pq.read_schema(path), path)

    def load(name: str, most: int | None) -> list[object]:
        values: list[object] = guarded(lambda: parquet_column(path, name, most), path)
        return values

    return DataTable(path=path, root=root, columns=_columns(schema, {}, load=load, path=path))


def saved_table(folder: Path, *, root: Path | None) -> DataTable:
    """Open the Arrow streams that state.json lists.

    Raises:
        DatasetError: when one is missing, damaged or outside the folder.
    """
    files = read_json_in_data(folder / "state.json").get("_data_files")
    names = [f.get("filename") for f in files if isinstance(f, dict)] if isinstance(files, list) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise DatasetError(f"{folder / 'state.json'} lists no data files")
    paths = [below(str(name), folder, root=root) for name in names]
    table = guarded(lambda: pa.concat_tables([_stream(path) for path in paths]), folder)
    features = read_json_in_data(folder / "dataset_info.json").get("features")

    limit = _most_bytes(sum(path.stat().st_size for path in paths))

    def cells(name: str, most: int | None) -> list[object]:
        column = table.column(name).slice(0, most)
        _check_size(sum(map(_unpacked_size, column.chunks)), limit)
        return _checked(column)

    def load(name: str, most: int | None) -> list[object]:
        values: list[object] = guarded(lambda: cells(name, most), folder)
        return values

    columns = _columns(table.schema, features if isinstance(features, dict) else {}, load=load, path=folder)
    return DataTable(path=folder / "data", root=root, columns=columns)


def _columns(schema: Any, features: Mapping[str, Any], *, load: Load, path: Path) -> dict[str, Column]:
    check_width(len(schema.names), path)
    check_names(schema.names, path)
    features = {**features, **_embedded_features(schema)}
    return {
        field.name: _column(field, features.get(field.name), load=load)
        for field in schema
        if not field.name.startswith("__index_level_")
    }


def _column(field: Any, feature: Any, *, load: Load) -> Column:
    kind, names = _declared(feature)
    return Column(
        load=lambda: load(field.name, None),
        declared=kind or _kind_of_type(field.type),
        names=names,
        # Pictures fill the memory: whether bytes are such is told by the first ones.
        peek=None if _is_string(field.type) else lambda: load(field.name, _PEEKED),
    )


def _declared(feature: Any) -> tuple[str | None, tuple[str, ...]]:
    """Return kind and class names of a column whose type the `datasets` library declares."""
    while (inner := _inner(feature)) is not None:
        feature = inner
    if not isinstance(feature, dict):
        return None, ()
    if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list):
        return CLASSES, tuple(str(name) for name in feature["names"])
    return modality_of_type(feature.get("_type")), ()


def _inner(feature: Any) -> Any:
    """Return the type in a list, or in a record of one field; None for others."""
    if isinstance(feature, list):
        return next(iter(feature), None)
    # Since version 4 a list is a "List" of a "feature".
    if isinstance(feature, dict) and "feature" in feature:
        return feature["feature"]
    one_field = isinstance(feature, dict) and "_type" not in feature and len(feature) == 1
    return next(iter(feature.values())) if one_field else None


def _kind_of_type(kind: Any) -> str | None:
    """Return what a type says that a column holds; None where its cells have to be looked at."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        # Only one record in a list, as of an image, can be an input.
        kind = kind.value_type
        return None if pa.types.is_struct(kind) else OTHER
    if pa.types.is_struct(kind):
        held = [child for child in kind if _is_bytes(child.type)]
        return binary_modality() if len(held) == 1 or "bytes" in [child.name for child in kind] else OTHER
    return None if _is_bytes(kind) or _is_string(kind) else OTHER


def _is_bytes(kind: Any) -> bool:
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    )


def _is_string(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _embedded_features(schema: Any) -> dict[str, Any]:
    """Return the feature types that the `datasets` library leaves in the schema's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def parquet_column(path: Path, name: str, most: int | None, *, limit: int | None = None) -> list[object]:
    """Return the cells of a column, the first ones up to a number, or all.

    Raises:
        DatasetError: when its values take more memory than `limit`, by default some times the file.
    """
    limit = _most_bytes(path.stat().st_size) if limit is None else limit
    # ParquetFile and not read_table, which takes columns from the names of the parent folders.
    with pq.ParquetFile(path) as file:
        if _may_exceed(file.metadata, name, limit):
            return _expanded(path, file.schema_arrow, name, most, limit)
        if most is None:
            return _checked(file.read(columns=[name]).column(name))
        first = next(file.iter_batches(batch_size=most, columns=[name]), None)
        return [] if first is None else _checked(first.column(0))


def _may_exceed(metadata: Any, name: str, limit: int) -> bool:
    """Tell whether the values of a column may take more memory than `limit` once they are read.

    Raises:
        DatasetError: when they surely do.
    """
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    chunks = [c for c in chunks if c.path_in_schema.split(".")[0] == name.split(".")[0]]
    least = max(
        metadata.num_rows * _CELL,
        sum(c.num_values for c in chunks) * _ELEMENT,
        sum(c.total_uncompressed_size for c in chunks),
    )
    _check_size(least, limit)
    # A value that stands once in a dictionary may be meant by every row.
    return any(
        c.num_values * c.total_uncompressed_size > limit
        for c in chunks
        if c.physical_type == "BYTE_ARRAY" and any("DICTIONARY" in e for e in c.encodings)
    )


def _expanded(path: Path, schema: Any, name: str, most: int | None, limit: int) -> list[object]:
    """Return the cells of a column that may be far larger than its file; a look at it takes little memory."""
    kind = schema.field(name).type
    texts = [leaf for leaf in _leaves(path) if leaf.split(".")[0] == name.split(".")[0]]
    cells: list[object] = []
    size = 0
    # What is the same is held once until it is known how much all of it is.
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        for group in range(file.num_row_groups):
            if most is None:
                column = file.read_row_group(group, columns=[name]).column(name)
            else:
                batch = next(file.iter_batches(batch_size=most, row_groups=[group], columns=[name]), None)
                if batch is None:
                    continue
                column = pa.chunked_array([batch.column(0)])
            size += sum(_unpacked_size(chunk) for chunk in column.chunks)
            _check_size(size, limit)
            cells += _checked(column.cast(kind))
            if most is not None:
                break
    return cells


def _leaves(path: Path) -> list[str]:
    """Return the paths of the columns of text and of bytes in a file, those in records and lists too."""
    with pq.ParquetFile(path) as file:
        leaves = [file.schema.column(i) for i in range(len(file.schema))]
        return [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]


def _unpacked_size(array: Any) -> int:
    """Return the bytes of an array in which each value stands by itself."""
    if pa.types.is_dictionary(array.type):
        lengths = pc.binary_length(array.dictionary).cast(pa.int64())
        return int(pc.sum(lengths.take(array.indices)).as_py() or 0)
    if pa.types.is_struct(array.type):
        return sum(_unpacked_size(part) for part in array.flatten())
    if isinstance(array, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray | pa.MapArray):
        return _unpacked_size(array.flatten())
    return int(array.nbytes)


def _most_bytes(stored: int) -> int:
    """Return how many bytes of values a file of so many may hold."""
    return max(_MOST_EXPANDED, _MOST_TIMES * stored)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise DatasetError(
            f"it holds {byte_size(size)} of values, and {byte_size(limit)} are possible: split it"
        )


def _stream(path: Path) -> Any:
    data = read_regular(path, limit=MAX_TABLE_BYTES)
    _check_size(sum(_packed_sizes(data)), _most_bytes(len(data)))
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


def _packed_sizes(data: bytes) -> Iterator[int]:
    """Yield what each compressed buffer of a stream takes when it is unpacked.

    Arrow believes the length that stands before a buffer, and offers no way to ask for it (columnar format
    specification, "Compression"): messages are looked into as flatbuffers of its Message.fbs.
    """
    for message in pa.ipc.MessageReader.open_stream(data):
        head, body = message.metadata.to_pybytes(), message.body
        batch = _flat_field(head, _flat_number(head, 0), 2)
        if message.type == "dictionary":
            batch = batch and _flat_field(head, batch, 1)
        if message.type not in {"dictionary", "record batch"} or not batch or not _flat_field(head, batch, 3):
            continue
        buffers = _flat_field(head, batch, 2) or 0
        for i in range(_flat_number(head, buffers)):
            offset, length = struct.unpack_from("<qq", head, buffers + 4 + 16 * i)
            if length >= 8:
                yield max(struct.unpack_from("<q", body, offset)[0], 0)


def _flat_number(data: bytes, place: int) -> int:
    return int(struct.unpack_from("<I", data, place)[0])


def _flat_field(data: bytes, table: int, index: int) -> int | None:
    """Return where the table or vector lies that a field of a flatbuffer's table names; None without one."""
    layout = table - struct.unpack_from("<i", data, table)[0]
    size, entry = struct.unpack_from("<H", data, layout)[0], 4 + 2 * index
    inside = struct.unpack_from("<H", data, layout + entry)[0] if entry < size else 0
    return table + inside + _flat_number(data, table + inside) if inside else None


def _checked(column: Any) -> list[object]:
    # Arrow trusts the offsets it finds in a file unless asked to check them.
    column.validate(full=True)
    return [_plain(value) for value in column.to_pylist()]


def _plain(value: object) -> object:
    """Return a cell without the types of databases: decimals as numbers, dates and times as texts."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value) if isinstance(value, timedelta) else value


def guarded(read: Callable[[], Any], path: Path) -> Any:
    """Return what is read from a table; what Arrow raises is a DatasetError that names the file."""
    try:
        return read()
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError, struct.error) as error:
        raise DatasetError(f"{path} cannot be read as a table: {first_line(error)}") from error
