"""Columnar tables: .parquet files, and the folders that `datasets.save_to_disk` writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from expertise_graph.core import DatasetError
from expertise_graph.data.files import MAX_TABLE_BYTES, contained, read_regular
from expertise_graph.data.table import Column, Kind, Table, check_names, check_width, kind_of

MAX_JSON_BYTES = 16 << 20
_READING = "cannot be read as a table"


def parquet_table(path: Path, *, root: Path) -> Table:
    """Open a .parquet file; a column is read when it is asked for.

    Raises:
        DatasetError: when it is no Parquet file.
    """
    schema = _guard(lambda: pq.read_schema(path), path)
    columns = _columns(
        schema, {}, load=lambda name: _guard(lambda: _parquet_column(path, name), path), path=path
    )
    return Table(path=path, root=root, columns=columns)


def is_saved_dataset(folder: Path) -> bool:
    """Tell whether `folder` was written by `datasets.save_to_disk`."""
    return (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file()


def is_saved_dict(folder: Path) -> bool:
    """Tell whether `folder` holds several saved datasets, one a split."""
    return (folder / "dataset_dict.json").is_file()


def saved_splits(folder: Path) -> list[str]:
    """Return the names of the saved datasets in `folder`.

    Raises:
        DatasetError: when dataset_dict.json does not list them.
    """
    names = _json(folder / "dataset_dict.json").get("splits")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DatasetError(f"{folder / 'dataset_dict.json'} does not list its splits")
    return names


def saved_table(folder: Path, *, root: Path) -> Table:
    """Open the Arrow streams that state.json lists.

    Raises:
        DatasetError: when one is missing, damaged or outside the folder.
    """
    files = _json(folder / "state.json").get("_data_files")
    names = [f.get("filename") for f in files if isinstance(f, dict)] if isinstance(files, list) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise DatasetError(f"{folder / 'state.json'} lists no data files")
    paths = [contained(str(name), folder, root=root) for name in names]
    table = _guard(lambda: pa.concat_tables([_stream(path) for path in paths]), folder)
    features = _json(folder / "dataset_info.json").get("features")

    def load(name: str) -> list[object]:
        values: list[object] = _guard(lambda: _checked(table.column(name)), folder)
        return values

    columns = _columns(table.schema, features if isinstance(features, dict) else {}, load=load, path=folder)
    return Table(path=folder / "data", root=root, columns=columns)


def _columns(
    schema: Any, features: Mapping[str, Any], *, load: Callable[[str], list[object]], path: Path
) -> dict[str, Column]:
    check_width(len(schema.names), path)
    check_names(schema.names, path)
    features = {**features, **_embedded_features(schema)}
    return {
        field.name: _column(field, features.get(field.name), load=load)
        for field in schema
        if not field.name.startswith("__index_level_")
    }


def _column(field: Any, feature: Any, *, load: Callable[[str], list[object]]) -> Column:
    kind, names = _declared(feature)
    if kind is None:
        kind = _kind_of_type(field, load)
    return Column(values=lambda: load(field.name), kind=kind, names=names)


def _declared(feature: Any) -> tuple[Kind | None, tuple[str, ...]]:
    if not isinstance(feature, dict):
        return None, ()
    if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list):
        return "class", tuple(str(name) for name in feature["names"])
    return ("image", ()) if feature.get("_type") == "Image" else (None, ())


def _kind_of_type(field: Any, load: Callable[[str], list[object]]) -> Kind:
    kind = field.type
    if pa.types.is_struct(kind):
        return "image" if "bytes" in {child.name for child in kind} else "other"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "image"
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return kind_of(next((value for value in load(field.name) if value), ""))
    return "other"


def _embedded_features(schema: Any) -> dict[str, Any]:
    """Return the feature types that the `datasets` library leaves in the schema's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _parquet_column(path: Path, name: str) -> list[object]:
    # ParquetFile and not read_table, which takes columns from the names of the parent folders.
    with pq.ParquetFile(path) as file:
        return _checked(file.read(columns=[name]).column(name))


def _stream(path: Path) -> Any:
    data = read_regular(path, limit=MAX_TABLE_BYTES)
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


def _checked(column: Any) -> list[object]:
    # Arrow trusts the offsets it finds in a file unless asked to check them.
    column.validate(full=True)
    values: list[object] = column.to_pylist()
    return values


def _guard(read: Callable[[], Any], path: Path) -> Any:
    try:
        return read()
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        reason = str(error).partition("\n")[0]
        raise DatasetError(f"{path} {_READING}: {reason}") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_regular(path, limit=MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise DatasetError(f"{path} must hold a JSON object")
    return value
