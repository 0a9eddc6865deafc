"""Tables of others as rows of text: CSV, TSV and tables of pipes, from a file or a stream."""

from __future__ import annotations

import ast
import codecs
import contextlib
import csv
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from expertise_graph.core import (
    MISSING,
    InvalidInputError,
    did_you_mean,
    listed,
    marks_of,
    number,
    plain,
    setting,
)
from expertise_graph.data import MAX_TABLE_BYTES, decode_utf8, read_regular

File = str | Path | BinaryIO
"""A path, or an open stream of bytes such as standard input."""

BOARD = "board"
"""Where the meta of a result names the public leaderboard that it is from."""

# Columns that an error names.
_SHOWN = 15

# An object of JSON, or a list of objects or lists.
_JSON = re.compile(r"\ufeff?\s*(\{\s*[\"}]|\[\s*[\[{])")
# What spreadsheets write above a table to name its separator.
_SEP = re.compile(r'"?sep=(\\t|[^\r\n])"?\r?\n', re.IGNORECASE)
# A line that only draws the frame of a table of pipes, and a link in Markdown.
_RULE = re.compile(r"\s*(?=.*(?:--|:-|-:|==))[|+:=-][|+:=\s-]*")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
# Lines, and characters, that the separator is guessed from.
_FIRST_LINES, _LOOKED_AT = 20, 1 << 16

# A cell that is a dictionary is parsed by Python's and JSON's own readers, which take deep stacks.
_LONGEST_CELL = 100_000
# What Python writes for such numbers, and does not read.
_NO_NUMBER = re.compile(r"\b(?:nan|NaN|inf|Infinity)\b")

BLANK = "blank"


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


@dataclass(kw_only=True)
class TextTable:
    """A header and rows of as many fields; `lines[i]` is where row i ends in the file.

    `notes` says how numbers were read, `noun` what a row is called, and `board` names the public leaderboard
    that it is from, if it is from one.
    """

    name: str
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    left_out: LeftOut
    delimiter: str = ","
    notes: list[str] = field(default_factory=list)
    noun: str = "line"
    board: str = ""

    def texts(self, column: int | None, *, numbers: bool = False) -> list[str]:
        """Return the text of each row in a column without spaces around it; none for None.

        Args:
            column: of the table.
            numbers: whether it should hold numbers, which are then returned in Python's form.

        Raises:
            InvalidInputError: when some can only have a decimal comma and others a decimal point.
        """
        texts = [cell(row, column) for row in self.rows]
        if not numbers or column is None:
            return texts
        marks = marks_of(texts)
        if marks.point and marks.comma:
            raise InvalidInputError(
                f"{self.name}: column {self.columns[column]!r} has {marks.comma!r} with a decimal comma and "
                f"{marks.point!r} with a decimal point; write all in one way"
            )
        decimal = marks.decimal(self._usual_mark)
        read = plain(texts, decimal)
        if decimal == "," and (marks.comma or marks.either):
            self._note(f"{self.columns[column]!r} has a decimal comma")
        elif marks.either and not marks.point:
            self._note(f"commas in {self.columns[column]!r} separate thousands, as in {marks.either}")
        if read.deviations:
            self._note(f"{read.deviations:,} deviations in {self.columns[column]!r} are left out")
        return read.texts

    def _numbers_or_nothing(self, column: int) -> bool:
        """Tell whether a column has a number, or no text at all, as where every run crashed."""
        texts = self.texts(column, numbers=True)
        return any(number(t) is not None for t in texts) or all(t.casefold() in MISSING for t in texts)

    @cached_property
    def _usual_mark(self) -> str:
        """The decimal mark of columns that do not tell: that of the others, else the one of the separator."""
        all_marks = [marks_of(cell(row, i) for row in self.rows) for i in range(len(self.columns))]
        points, commas = any(m.point for m in all_marks), any(m.comma for m in all_marks)
        if points != commas:
            return "," if commas else "."
        return "," if self.delimiter == ";" else "."

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

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

    def expanded(self) -> TextTable:
        """Return the table with a column for each entry of cells that are dictionaries.

        Of a column `config` with `{"model": {"name": "a"}}` that is `config.model.name`; a column of anything
        else stays as it is.
        """
        columns: dict[str, list[str]] = {}
        for i, name in enumerate(self.columns):
            texts = self.texts(i)
            cells = [dictionary(text) for text in texts]
            if any(cells) and all(
                cell is not None or not text for cell, text in zip(cells, texts, strict=True)
            ):
                flat = [dict(_entries(cell or {}, name)) for cell in cells]
                for key in dict.fromkeys(key for one in flat for key in one):
                    columns.setdefault(key, [one.get(key, "") for one in flat])
            else:
                columns[name] = [row[i] for row in self.rows]
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        return replace(self, columns=tuple(columns), rows=rows)

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
        """Return the columns as `others`, each of which must hold a number in some row, or nothing.

        Raises:
            InvalidInputError: when there are none, or one holds no number.
        """
        columns = self.others(used, ignore)
        text = [self.columns[i] for i in columns if not self._numbers_or_nothing(i)]
        if text:
            settings = " ".join(setting("ignore", name) for name in text)
            raise InvalidInputError(
                f"{self.name}: columns without numbers: {listed(text, _SHOWN)}; leave them out: {settings}"
            )
        if not columns:
            raise InvalidInputError(f"{self.name} has no column with values; {self.there_are}")
        return columns


def dictionary(text: str) -> dict[str, Any] | None:
    """Return the dictionary that a cell is, as JSON or Python writes it; None for other texts.

    Example:
        >>> dictionary("{'acc': nan, 'model': {'name': 'a'}}"), dictionary("{0.9}"), dictionary("a")
        ({'acc': None, 'model': {'name': 'a'}}, None, None)
    """
    if not (text.startswith("{") and text.endswith("}")) or len(text) > _LONGEST_CELL:
        return None
    for read in (json.loads, ast.literal_eval, lambda given: ast.literal_eval(_NO_NUMBER.sub("None", given))):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            found = read(text)
            return found if isinstance(found, dict) else None
    return None


def _entries(given: Mapping[Any, Any], name: str) -> Iterator[tuple[str, str]]:
    """Yield the entries of a dictionary and of those in it, with the names that lead to them."""
    for key, value in given.items():
        if isinstance(value, Mapping):
            yield from _entries(value, f"{name}.{key}")
        else:
            yield f"{name}.{key}", "" if value is None else str(value)


def read_table(file: File, *, skip_invalid: bool = False) -> TextTable:
    """Read a table with a header line; blank rows are left out and counted.

    Args:
        file: fields parted by commas, semicolons, tabs or pipes, as in Markdown too; UTF-8 or UTF-16.
        skip_invalid: leave out and count rows that cannot be read, instead of refusing the file.

    Raises:
        InvalidInputError: when it is empty, JSON or in another encoding, has no rows, or uneven ones.
    """
    name, text = _text(file)
    if _JSON.match(text):
        raise InvalidInputError(f"{name} holds JSON: save it as .csv, with a header line and a row a result")
    text, mark = _without_frame(text, _delimiter(name, text))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    left_out = LeftOut(name, skip_invalid)
    try:
        columns = tuple(field.strip() for field in next((row for row in reader if row), []))
        _check_header(name, columns)
        pairs = list(_even_rows(reader, len(columns), left_out))
    except csv.Error as error:
        raise InvalidInputError(f"{name} line {reader.line_num}: {error}; close the quotes") from error
    if not pairs:
        raise InvalidInputError(f"{name} has no rows below its header; nothing to import")
    lines, rows = [line for line, _ in pairs], [row for _, row in pairs]
    return TextTable(name=name, columns=columns, rows=rows, lines=lines, left_out=left_out, delimiter=mark)


def _text(file: File) -> tuple[str, str]:
    if isinstance(file, str | PurePath):
        content, name = read_regular(Path(file), limit=MAX_TABLE_BYTES), Path(file).name
    else:
        given = getattr(file, "name", None)  # of standard input it is <stdin>, of a descriptor a number
        content, name = file.read(), PurePath(given).name.strip("<>") if isinstance(given, str) else "stdin"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        # What spreadsheets call Unicode text.
        try:
            return name, content.decode("utf-16")
        except UnicodeDecodeError as error:
            raise InvalidInputError(f"{name} is damaged: its UTF-16 breaks off; save it again") from error
    return name, decode_utf8(content, name)


def _delimiter(name: str, text: str) -> str:
    """Return the mark that parts the first lines into most fields of the same number."""
    told = _SEP.match(text)
    if told is not None:
        return "\t" if told[1] == "\\t" else told[1]
    given = (line for line in text[:_LOOKED_AT].splitlines() if line.strip() and not _RULE.fullmatch(line))
    lines = list(itertools.islice(given, _FIRST_LINES))
    if not lines or (PurePath(name).suffix.lower() in (".tsv", ".tab") and "\t" in lines[0]):
        return "\t" if lines else ","

    def fit(mark: str) -> tuple[float, int]:
        header, *rows = (len(row) for row in csv.reader(lines, delimiter=mark) if row)
        return (sum(n == header for n in rows) / max(len(rows), 1) if header > 1 else 0.0), header

    return max(",;\t|", key=fit)


def _without_frame(text: str, mark: str) -> tuple[str, str]:
    """Return a text without a line that names its separator, and without the frame that a pipe table has.

    What is taken out leaves an empty line, so that lines keep their numbers.
    """
    text = _SEP.sub("\n", text, count=1)
    if mark != "|":
        return text, mark
    lines = ("" if _RULE.fullmatch(line) else _inside(line) for line in text.split("\n"))
    return "\n".join(lines), mark


def _inside(line: str) -> str:
    """Return a row of a pipe table without its outer pipes, links as their text."""
    line = line.strip()
    framed = line.startswith("|") and line.endswith("|") and len(line) > 1
    return _LINK.sub(r"\1", line[1:-1] if framed else line)


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
