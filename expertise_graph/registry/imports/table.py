"""Tables of others as rows of text: CSV and TSV, from a file or a stream."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import BinaryIO

from expertise_graph.core import InvalidInputError, did_you_mean, listed, setting
from expertise_graph.data import MAX_TABLE_BYTES, decode_utf8, read_regular

File = str | Path | BinaryIO
"""A path, or an open stream of bytes such as standard input."""

MISSING = frozenset({"", "nan", "null", "none", "na", "n/a", "-"})
"""What stands for no value where a value may be missing, in lower case."""

# Nothing that is measured is so large, and squares of squares of larger numbers overflow.
_LARGEST = 1e30

# Columns that an error names.
_SHOWN = 15

BLANK = "blank"


def number(text: str) -> float | None:
    """Return the finite number that `text` is, else None; one beyond 1e30 counts as infinite.

    Example:
        >>> number(" 0.5 "), number("1_000"), number("nan"), number("82 %"), number("1e300")
        (0.5, None, None, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= _LARGEST and "_" not in text else None


def whole(text: str) -> int | None:
    """Return the whole number that `text` is, also written as 5.0, else None."""
    value = number(text)
    return int(value) if value is not None and value == int(value) else None


def cell(row: Sequence[str], column: int | None) -> str:
    """Return the text in a column without spaces around it; none for a column that is not there."""
    return "" if column is None else row[column].strip()


@dataclass
class LeftOut:
    """Rows left out by reason; an invalid one is an error unless it may be skipped."""

    name: str
    skip_invalid: bool
    counts: Counter[str] = field(default_factory=Counter)

    def invalid(self, where: str, what: str, reason: str) -> None:
        """Count a row that cannot be used.

        Raises:
            InvalidInputError: unless invalid rows may be skipped.
        """
        if not self.skip_invalid:
            raise InvalidInputError(
                f"{self.name} {where}: {what}; correct it, or leave out such rows with "
                f"{setting('skip_invalid')}"
            )
        self.counts[reason] += 1


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A header and rows of as many fields; `lines[i]` is where row i ends in the file."""

    name: str
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    left_out: LeftOut

    def find(self, role: str, named: Mapping[str, str]) -> int | None:
        """Return the index of the column with a role: the one named, else the one called like it.

        Raises:
            InvalidInputError: when the one named is not there.
        """
        wanted = named.get(role, role)
        folded = [name.casefold() for name in self.columns]
        if wanted in self.columns:
            return self.columns.index(wanted)
        if folded.count(wanted.casefold()) == 1:
            return folded.index(wanted.casefold())
        if role in named:
            raise InvalidInputError(
                f"{self.name} has no column {wanted!r}; {self.there_are}.{did_you_mean(wanted, self.columns)}"
            )
        return None

    def need(self, role: str, named: Mapping[str, str], instead: str = "") -> int:
        """Return the index of the column with a role.

        Raises:
            InvalidInputError: when it is not there, with the setting that names it.
        """
        column = self.find(role, named)
        if column is None:
            raise InvalidInputError(
                f"{self.name} has no column {role!r}; {self.there_are}; "
                f"say which one it is with {setting(f'{role}_column', 'NAME')}{instead}"
            )
        return column

    @property
    def there_are(self) -> str:
        """The names of the columns, for an error message."""
        return f"there are: {listed([name for name in self.columns if name], _SHOWN)}"

    def others(self, used: Sequence[int | None], ignore: Sequence[str]) -> list[int]:
        """Return the named columns that are neither used nor ignored.

        Raises:
            InvalidInputError: when a column to ignore is not there.
        """
        ignored = {self.find("ignored", {"ignored": name}) for name in ignore}
        columns = range(len(self.columns))
        return [i for i in columns if self.columns[i] and i not in used and i not in ignored]

    def numeric(self, used: Sequence[int | None], ignore: Sequence[str]) -> list[int]:
        """Return the columns as `others`, each of which must hold a number in some row.

        Raises:
            InvalidInputError: when there are none, or one holds no number.
        """
        columns = self.others(used, ignore)
        text = [self.columns[i] for i in columns if not any(number(row[i]) is not None for row in self.rows)]
        if text:
            settings = " ".join(setting("ignore", name) for name in text)
            raise InvalidInputError(
                f"{self.name}: columns without numbers: {listed(text, _SHOWN)}; leave them out: {settings}"
            )
        if not columns:
            raise InvalidInputError(f"{self.name} has no column with values; {self.there_are}")
        return columns


def read_table(file: File, *, skip_invalid: bool = False) -> TextTable:
    """Read a table with a header line; blank rows are left out and counted.

    Args:
        file: CSV or TSV in UTF-8.
        skip_invalid: leave out and count rows that cannot be read, instead of refusing the file.

    Raises:
        InvalidInputError: when it is empty, not UTF-8, has no rows, or rows of another length.
    """
    name, text = _text(file)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(name, text), strict=True)
    left_out = LeftOut(name, skip_invalid)
    try:
        columns = tuple(field.strip() for field in next(reader, []))
        _check_header(name, columns)
        pairs = list(_even_rows(reader, len(columns), left_out))
    except csv.Error as error:
        raise InvalidInputError(f"{name} line {reader.line_num}: {error}; close the quotes") from error
    if not pairs:
        raise InvalidInputError(f"{name} has no rows below its header; nothing to import")
    lines, rows = [line for line, _ in pairs], [row for _, row in pairs]
    return TextTable(name=name, columns=columns, rows=rows, lines=lines, left_out=left_out)


def _text(file: File) -> tuple[str, str]:
    if isinstance(file, str | PurePath):
        content = read_regular(Path(file), limit=MAX_TABLE_BYTES)
        return Path(file).name, decode_utf8(content, Path(file).name)
    given = getattr(file, "name", None)  # of standard input it is <stdin>, of a descriptor a number
    name = PurePath(given).name.strip("<>") if isinstance(given, str) else "stdin"
    return name, decode_utf8(file.read(), name)


def _delimiter(name: str, text: str) -> str:
    if PurePath(name).suffix.lower() in (".tsv", ".tab"):
        return "\t"
    header = text.partition("\n")[0]
    return next((mark for mark in ",;\t" if mark in header), ",")


def _check_header(name: str, columns: tuple[str, ...]) -> None:
    if not any(columns):
        raise InvalidInputError(f"{name} is empty; its first line must name the columns")
    twice = [column for column, count in Counter(columns).items() if column and count > 1]
    if twice:
        raise InvalidInputError(f"{name} names the column {twice[0]!r} more than once; rename one")


def _even_rows(reader: Iterator[list[str]], width: int, left_out: LeftOut) -> Iterator[tuple[int, list[str]]]:
    for row in reader:
        line = reader.line_num  # type: ignore[attr-defined]
        if not row:
            continue
        if not any(field.strip() for field in row):
            left_out.counts[BLANK] += 1
        elif len(row) != width:
            what = f"{len(row)} fields where the header has {width}"
            left_out.invalid(f"line {line}", what, "with another number of fields")
        else:
            yield line, row
