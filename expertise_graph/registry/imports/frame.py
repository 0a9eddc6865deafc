"""What all imports share: rows of a table by role, and comparison with what is known."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from expertise_graph.core import MISSING, InvalidInputError, listed, setting
from expertise_graph.registry.imports.names import Names
from expertise_graph.registry.imports.options import ImportOptions, ImportReport
from expertise_graph.registry.imports.table import TextTable
from expertise_graph.store import Store

T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)

Row = tuple[str, dict[str, str]]
"""Where something stands in the file, and the text of each role."""

NO_VALUE = "without a value"

# What a role holds, where it is not called so; and roles that hold numbers.
_KINDS = {"other": "task"}
_NUMBERS = frozenset({"value", "distance", "seed", "n", "n_train", "seconds"})

# Ignored columns that a note names; exports have hundreds.
_IGNORED = 12


def long_rows(
    table: TextTable, columns: Mapping[str, int | None], options: ImportOptions
) -> tuple[list[Row], list[str]]:
    """Return the text of each role in each row, and a note of the columns that are ignored.

    Args:
        table: with one row for each value.
        columns: where each role is; None for one that the table does not have.
        options: columns to ignore without a note.
    """
    ignored = [table.columns[i] for i in table.others(list(columns.values()), options.ignore)]
    places = [f"{table.noun} {line}" for line in table.lines]
    rows = list(zip(places, _by_role(table, columns), strict=True))
    return rows, [f"columns ignored: {listed(ignored, _IGNORED)}"] if ignored else []


def wide_rows(
    table: TextTable, columns: Mapping[str, int | None], spread: str, values: Sequence[int], value: str
) -> list[Row]:
    """Return the text of each role in each cell of a table with one column for each task or the like.

    Args:
        table: with one row for each expert or the like.
        columns: where the roles are that a whole row shares.
        spread: role of the names in the header.
        values: the columns with values.
        value: role of the cells.
    """
    shared, cells = _by_role(table, columns), [table.texts(i, numbers=True) for i in values]
    return [
        (f"line {line}, column {table.columns[i]!r}", {**common, spread: table.columns[i], value: texts[row]})
        for row, (line, common) in enumerate(zip(table.lines, shared, strict=True))
        for i, texts in zip(values, cells, strict=True)
    ]


def _by_role(table: TextTable, columns: Mapping[str, int | None]) -> list[dict[str, str]]:
    """Return the text of each role in each row, numbers in Python's form."""
    texts = {role: table.texts(column, numbers=role in _NUMBERS) for role, column in columns.items()}
    return [{role: texts[role][row] for role in texts} for row in range(len(table.rows))]


def refuse_columns(options: ImportOptions, spread: str) -> None:
    """Refuse columns for the roles that a wide table has in its header and cells.

    Raises:
        InvalidInputError: when one is named.
    """
    for role in (spread, "value"):
        if role in options.columns:
            raise InvalidInputError(
                f"{setting('wide')} reads one column for each {spread}; leave out {setting(f'{role}_column')}"
            )


def parsed(
    table: TextTable,
    rows: Iterable[Row],
    parse: Callable[[str, dict[str, str]], T | None],
    *,
    names: Sequence[str],
    value: str = "value",
    reason: str = "with something else than a number",
) -> Iterator[T]:
    """Yield what rows say; those that say nothing, or what cannot be read, are left out and counted.

    Args:
        table: they are from.
        rows: see `long_rows`.
        parse: returns what a row says, None for one to leave out, and raises ValueError for what it cannot
            read.
        names: roles that must not be empty.
        value: role that may be empty, or NaN as of a run that crashed: such rows are left out.
        reason: under which unreadable rows are counted.

    Raises:
        InvalidInputError: for a row that cannot be read, unless such rows may be skipped.
    """
    left_out = table.left_out
    for where, text in rows:
        missing = next((role for role in names if not text[role]), None)
        if text[value].casefold() in MISSING:
            left_out.counts[NO_VALUE] += 1
        elif missing:
            kind = _KINDS.get(missing, missing)
            left_out.invalid(where, f"no {kind}", f"without {kind}")
        else:
            try:
                result = parse(where, text)
            except ValueError as error:
                left_out.invalid(where, str(error), reason)
                continue
            if result is not None:
                yield result


@dataclass
class Import:
    """One import under way: the table, what was said of it, and what its names mean."""

    kind: str
    table: TextTable
    options: ImportOptions
    names: Names
    notes: list[str] = field(default_factory=list)

    def finish(self, write: Callable[[], None], added: int, duplicates: int, repeats: int) -> ImportReport:
        """Write what was read, unless it is a dry run, and return the report."""
        if not self.options.dry_run:
            self.names.write()
            write()
            self.names.store.note_import(self.table.name, {"kind": self.kind, "added": added})
        return ImportReport(
            kind=self.kind,
            file=self.table.name,
            dry_run=self.options.dry_run,
            rows=len(self.table.rows),
            added=added,
            duplicates=duplicates,
            repeats=repeats,
            left_out=dict(self.table.left_out.counts),
            notes=(*self.notes, *self.table.notes),
            **self.names.counts(),
        )

    def finish_last(
        self,
        given: Iterable[tuple[Key, T]],
        known: Mapping[Key, T],
        write: Callable[[dict[Key, T]], None],
    ) -> ImportReport:
        """Write the values that are new or differ from those known, the last one of each key, and report."""
        last: dict[Key, T] = {}
        duplicates = repeats = 0
        for key, value in given:
            if key in last:
                duplicates, repeats = duplicates + (last[key] == value), repeats + (last[key] != value)
            last[key] = value
        new = {key: value for key, value in last.items() if key not in known or known[key] != value}
        duplicates += len(last) - len(new)
        repeats += sum(key in known for key in new)
        return self.finish(lambda: write(new), len(new), duplicates, repeats)


@contextmanager
def importing(
    kind: str, store: Store, table: TextTable, options: ImportOptions, notes: Sequence[str] = ()
) -> Iterator[Import]:
    """Give an import in one transaction, so that a file is stored whole or not at all."""
    with store.transaction():
        yield Import(kind, table, options, Names(store, table.name, options.modality), list(notes))
