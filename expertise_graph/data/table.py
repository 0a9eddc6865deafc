"""A table of named columns in memory, and the text files it is read from: .csv, .tsv and .jsonl."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from expertise_graph.core import DatasetError, byte_size, did_you_mean, listed
from expertise_graph.data.files import MAX_TABLE_BYTES, Skip, decode_utf8, read_regular
from expertise_graph.data.finder import FileFinder
from expertise_graph.data.modalities.base import is_recognised, modality_of_cell

# Wider tables hold features or a matrix, not items with labels; reading them would fill the memory.
MAX_COLUMNS = 4096
# A million characters: no label or text to classify is longer, but an unclosed quote swallows the file.
MAX_FIELD_CHARACTERS = 1 << 20
# The largest item in base64, and some: a line of 300 MB of numbers fills 3.5 GB and takes half a minute.
MAX_LINE_CHARACTERS = 96 << 20
# Cells of a column that are looked at to see what it holds.
MOST_LOOKED_AT = 5_000
# The first line by which spreadsheets say what stands between cells; a quoted name, which may hold any mark.
_SAID = re.compile(r"\"?sep=([,;|\t])\"?\r?\n", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')
# Columns that a message lists, and characters of a name.
_LISTED, _NAME = 20, 40

CLASSES, OTHER = "class", "other"
"""Kinds of a column that holds no inputs: numbered classes, and anything else."""


class _WithoutQuotes(csv.excel):
    """Lines whose quotes enclose nothing."""

    quoting = csv.QUOTE_NONE


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        load: reads the cells.
        declared: what its schema says: a modality, `CLASSES` or `OTHER`; None where the cells decide.
        names: of its classes.
        peek: reads a few cells, enough to tell what the column holds; None where all are looked at.
    """

    load: Callable[[], Sequence[object]]
    declared: str | None = None
    names: tuple[str, ...] = ()
    peek: Callable[[], Sequence[object]] | None = None

    @cached_property
    def _cells(self) -> Sequence[object]:
        return self.load()

    def values(self) -> Sequence[object]:
        """Return the cells."""
        return self._cells

    @cached_property
    def kind(self) -> str:
        """What it holds: a modality, `CLASSES` or `OTHER`."""
        return self.declared or kind_of_values(self.peek() if self.peek else self._cells)


@dataclass(frozen=True, kw_only=True)
class DataTable:
    """The columns of one file; in an `untyped` one (CSV) every cell is a string.

    `rows` numbers the rows from one where some were skipped.
    Items given by path are looked for from the folder of the file on, and stay in `root` if there is one.
    """

    path: Path
    root: Path | None
    columns: Mapping[str, Column]
    untyped: bool = False
    rows: Sequence[int] | None = None
    skipped: Sequence[Skip] = field(default_factory=tuple)

    @cached_property
    def finder(self) -> FileFinder:
        """Finds the files that cells name."""
        return FileFinder(self.path.parent, self.root, prefer=self.path.stem)


def csv_table(path: Path, *, root: Path | None) -> DataTable:
    """Read a table with a header line; quoted fields may hold line breaks.

    Raises:
        DatasetError: when it is not UTF-8, has no header, or quotes that do not match.
    """
    text = decode_utf8(read_regular(path, limit=MAX_TABLE_BYTES), str(path))
    said = _SAID.match(text)
    text = text[said.end() :] if said else text
    mark = said[1] if said else _delimiter(path, text)
    form = _WithoutQuotes if mark == "\t" and _quotes_are_text(text) else csv.excel
    reader = csv.reader(io.StringIO(text, newline=""), form, delimiter=mark, strict=True)
    try:
        with _field_limit():
            header = next(reader, [])
            check_width(len(header), path)
            rows, numbers, skipped = _even_rows(reader, header, path=path)
    except csv.Error as error:
        raise DatasetError(
            f"{path} line {reader.line_num}: {error}; close the quotes, and keep longer texts in .jsonl"
        ) from error
    names = [name.strip() for name in header]
    _check_header(names, path)
    check_names(names, path)
    columns = dict(_columns(names, rows))
    return DataTable(path=path, root=root, columns=columns, untyped=True, rows=numbers, skipped=skipped)


def jsonl_table(path: Path, *, root: Path | None) -> DataTable:
    """Read one JSON object per line; lines that are none are skipped with a reason.

    Raises:
        DatasetError: when it is not UTF-8, or an array.
    """
    text = decode_utf8(read_regular(path, limit=MAX_TABLE_BYTES), str(path))
    objects: dict[int, dict[str, object]] = {}
    skipped: list[Skip] = []
    # Not splitlines(): JSON strings may hold the other line separators of Unicode.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line.isspace():
            continue
        if len(line) > MAX_LINE_CHARACTERS:
            reason = f"a line of {byte_size(len(line))}; the limit is {byte_size(MAX_LINE_CHARACTERS)}"
            skipped.append((f"{path.name} row {number}", reason))
            continue
        value = _parse(line)
        if isinstance(value, dict):
            objects[number] = value
        else:
            skipped.append((f"{path.name} row {number}", "not a JSON object"))
    if not objects and text.lstrip()[:1] == "[":
        raise DatasetError(
            f"{path} holds a JSON array: write one object a line, without brackets around them"
        )
    names = list(dict.fromkeys(name for value in objects.values() for name in value))
    check_width(len(names), path)
    rows = [[value.get(name) for name in names] for value in objects.values()]
    columns = dict(_columns(names, rows))
    return DataTable(path=path, root=root, columns=columns, rows=list(objects), skipped=skipped)


def check_width(count: int, path: Path) -> None:
    """Refuse tables with more columns than any labelled dataset has."""
    if count > MAX_COLUMNS:
        raise DatasetError(f"{path} has {count:,} columns; at most {MAX_COLUMNS:,} can be read")


def check_names(names: Sequence[str], path: Path) -> None:
    """Refuse tables in which a name stands for two columns."""
    repeated = next((name for name, count in Counter(names).items() if name and count > 1), None)
    if repeated is not None:
        raise DatasetError(f"{path} has two columns called {repeated[:_NAME]!r}; rename one")


def require_column(table: DataTable, name: str | None) -> None:
    """Check that a column named by the user or by another table is there.

    Raises:
        DatasetError: listing the columns present.
    """
    if name is not None and name not in table.columns:
        raise DatasetError(
            f"{table.path} has no column {name!r}; {present(table)}{did_you_mean(name, table.columns)}"
        )


def present(table: DataTable) -> str:
    """Return a sentence that lists the columns of `table`."""
    named = listed([name[:_NAME] for name in table.columns if name.strip()], most=_LISTED)
    # A row that was taken for the header holds cells that others hold, too.
    is_row = table.untyped and any(name and name in column.values() for name, column in table.columns.items())
    hint = " If the first line is a row and no header, write one above it." if is_row else ""
    return f"its columns are {named}.{hint}"


def kind_of_values(values: Sequence[object]) -> str:
    """Return the kind of a column: what most of its cells are."""
    # Of a long column cells from all over it: what a few thousand say, the others hardly overturn.
    step = max(1, len(values) // MOST_LOOKED_AT)
    seen = Counter(
        modality_of_cell(value) or OTHER for value in values[::step] if value is not None and value != ""
    )
    return seen.most_common(1)[0][0] if seen else OTHER


def _columns(names: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[tuple[str, Column]]:
    """Yield the columns of rows that are all as long as `names`."""
    for position, name in enumerate(names):
        yield name, Column(load=_Picked(rows, position))


@dataclass(frozen=True)
class _Picked:
    rows: Sequence[Sequence[object]]
    position: int

    def __call__(self) -> list[object]:
        return [row[self.position] for row in self.rows]


def _even_rows(
    reader: Iterator[list[str]], header: Sequence[str], *, path: Path
) -> tuple[list[list[str]], list[int], list[Skip]]:
    rows: list[list[str]] = []
    numbers: list[int] = []
    skipped: list[Skip] = []
    for number, row in enumerate(reader, start=1):
        if row == header:
            # Files that were joined end to end: its cells would be an item and a class.
            skipped.append((f"{path.name} row {number}", "the header line again"))
        elif len(row) == len(header):
            rows.append(row)
            numbers.append(number)
        elif row:
            # Without numbers, so that all such rows are one reason where they are counted.
            reason = f"{'more' if len(row) > len(header) else 'fewer'} fields than the header"
            skipped.append((f"{path.name} row {number}", reason))
    return rows, numbers, skipped


def _check_header(names: Sequence[str], path: Path) -> None:
    """Refuse a first line that names no columns: one without names, and one that is an item itself."""
    if not any(names):
        raise DatasetError(f"{path} has no header line; the first line must name the columns")
    item = next((name for name in names if is_recognised(name)), None)
    if item is not None:
        raise DatasetError(
            f"{path} has no header line: its first line holds {item[:_NAME]!r}, which is an item and would "
            "not be read; write a line with the names of the columns above it, such as file,label"
        )


def _quotes_are_text(text: str) -> bool:
    """Tell whether the quotes of a table with tabs are a part of its texts, as many programs write them.

    They are where every line has all the fields as it stands, and quotes that enclose fields would not leave
    it so: they stand within a field, are not closed, or reach over the end of a line.
    """
    lines = [line for line in text.split("\n") if line.strip("\r")]
    if '"' not in text or len({line.count("\t") for line in lines}) != 1:
        return False
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True)
    try:
        with _field_limit():
            return sum(1 for row in reader if row) < len(lines)
    except csv.Error:
        return True


def _delimiter(path: Path, text: str) -> str:
    """Return the delimiter: spreadsheets of many countries write semicolons into .csv files."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    header = _QUOTED.sub("", text.partition("\n")[0])
    return next((mark for mark in ",;\t|" if mark in header), ",")


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
