"""Tables in text files: .csv, .tsv and .jsonl, in UTF-8."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from expertise_graph.core import DatasetError
from expertise_graph.data.files import MAX_TABLE_BYTES, Skip, decode_utf8, read_regular
from expertise_graph.data.table import Table, check_names, check_width, columns_from_rows

MAX_FIELD_CHARACTERS = 1 << 20


def csv_table(path: Path, *, root: Path) -> Table:
    """Read a table with a header line; quoted fields may hold line breaks.

    Raises:
        DatasetError: when it is not UTF-8, has no header, or quotes that do not match.
    """
    text = decode_utf8(read_regular(path, limit=MAX_TABLE_BYTES), str(path))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(path, text), strict=True)
    try:
        with _field_limit():
            header = next(reader, [])
            check_width(len(header), path)
            rows, numbers, skipped = _even_rows(reader, width=len(header), path=path)
    except csv.Error as error:
        raise DatasetError(
            f"{path} line {reader.line_num}: {error}; close the quotes, and keep longer texts in .jsonl"
        ) from error
    names = [name.strip() for name in header]
    if not any(names):
        raise DatasetError(f"{path} has no header line; the first line must name the columns")
    check_names(names, path)
    columns = dict(columns_from_rows(names, rows))
    return Table(path=path, root=root, columns=columns, untyped=True, rows=numbers, skipped=skipped)


def jsonl_table(path: Path, *, root: Path) -> Table:
    """Read one JSON object a line; lines that are none are skipped with a reason.

    Raises:
        DatasetError: when it is not UTF-8.
    """
    text = decode_utf8(read_regular(path, limit=MAX_TABLE_BYTES), str(path))
    objects: list[dict[str, object]] = []
    numbers: list[int] = []
    skipped: list[Skip] = []
    # Not splitlines(): JSON strings may hold the other line separators of Unicode.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        value = _parse(line)
        if isinstance(value, dict):
            objects.append(value)
            numbers.append(number)
        else:
            skipped.append((f"{path.name} row {number}", "not a JSON object"))
    names = list(dict.fromkeys(name for value in objects for name in value))
    check_width(len(names), path)
    rows = [[value.get(name) for name in names] for value in objects]
    columns = dict(columns_from_rows(names, rows))
    return Table(path=path, root=root, columns=columns, rows=numbers, skipped=skipped)


def _even_rows(
    reader: Iterator[list[str]], *, width: int, path: Path
) -> tuple[list[list[str]], list[int], list[Skip]]:
    rows: list[list[str]] = []
    numbers: list[int] = []
    skipped: list[Skip] = []
    for number, row in enumerate(reader, start=1):
        if len(row) == width:
            rows.append(row)
            numbers.append(number)
        elif row:
            skipped.append((f"{path.name} row {number}", f"{len(row)} fields where the header has {width}"))
    return rows, numbers, skipped


def _delimiter(path: Path, text: str) -> str:
    """Return the delimiter: spreadsheets of many countries write semicolons into .csv files."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    header = text.partition("\n")[0]
    return next((mark for mark in ",;\t" if mark in header), ",")


def _parse(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


@contextmanager
def _field_limit() -> Iterator[None]:
    # The limit of the csv module is one for the whole process.
    before = csv.field_size_limit(MAX_FIELD_CHARACTERS)
    try:
        yield
    finally:
        csv.field_size_limit(before)
