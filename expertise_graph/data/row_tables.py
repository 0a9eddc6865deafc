"""Rows of plain values as .parquet files: the same rows are the same bytes, and reading has limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from expertise_graph.core import DatasetError, count
from expertise_graph.data.arrow import guarded, parquet_column

_TYPES = {
    "string": pa.string(),
    "whole": pa.int64(),
    "number": pa.float64(),
    "flag": pa.bool_(),
    "strings": pa.list_(pa.string()),
}


@dataclass(frozen=True)
class TableColumn:
    """A column of a table of rows.

    Attributes:
        name: of the column.
        kind: of its values: string, whole (a 64-bit integer), number, flag, or strings.
        optional: whether a value may be missing.
    """

    name: str
    kind: str = "string"
    optional: bool = False


def write_rows(path: Path, columns: Sequence[TableColumn], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as an uncompressed .parquet file; what is not a column is left out."""
    given = list(rows)
    schema = pa.schema([pa.field(c.name, _TYPES[c.kind], nullable=c.optional) for c in columns])
    arrays = [pa.array([row[c.name] for row in given], _TYPES[c.kind]) for c in columns]
    # Uncompressed, a file can be searched for what must not be in it, and hides no more than its own size.
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="none")


def read_rows(
    path: Path, columns: Sequence[TableColumn], *, rows: int, most_bytes: int
) -> list[dict[str, Any]]:
    """Return the rows of a file that must have exactly these columns.

    Args:
        path: of the file.
        columns: in their order.
        rows: how many there must be.
        most_bytes: that the values of a column may take in memory.

    Raises:
        DatasetError: when it is no such table, or its values take more.
    """
    metadata = guarded(lambda: pq.read_metadata(path), path)
    schema = guarded(lambda: pq.read_schema(path), path)
    found = [(field.name, field.type) for field in schema]
    if found != [(c.name, _TYPES[c.kind]) for c in columns]:
        raise DatasetError(
            f"{path.name} has the columns {', '.join(n for n, _ in found)[:200]}, expected are "
            f"{', '.join(c.name for c in columns)}, each of its type"
        )
    if metadata.num_rows != rows:
        raise DatasetError(f"{path.name} has {count(metadata.num_rows, 'row')}, {rows:,} are expected")
    cells = {
        c.name: guarded(partial(parquet_column, path, c.name, None, limit=most_bytes), path) for c in columns
    }
    for column in columns:
        values = cells[column.name]
        missing = None in values and not column.optional
        if missing or len(values) != rows or any(None in v for v in values if isinstance(v, list)):
            raise DatasetError(f"{path.name} lacks values in its column {column.name}")
    return [{name: values[i] for name, values in cells.items()} for i in range(rows)]
