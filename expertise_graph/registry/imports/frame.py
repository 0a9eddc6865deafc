"""What all imports share: options, rows of a table by role, comparison with what is known, the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from expertise_graph.core import InvalidInputError, count, setting
from expertise_graph.registry.imports.names import Names
from expertise_graph.registry.imports.table import TextTable, cell

T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)

Row = tuple[str, dict[str, str]]
"""Where something stands in the file, and the text of each role."""

NO_VALUE = "without a value"

# What a role holds, where it is not called so.
_KINDS = {"other": "task"}

AUTO, PERCENT, FRACTION = "auto", "percent", "fraction"

# New nodes that a report names.
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What holds for every import.

    Attributes:
        columns: which column has which role, where it is not called so: `{"expert": "model"}`.
        ignore: columns to leave out.
        wide: one column for each task (history) or estimator (scores), instead of one row.
        modality: of the experts and tasks that are new; by default that of the known ones.
        skip_invalid: leave out and count rows that cannot be read, instead of refusing the file.
        dry_run: check everything, and write nothing.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    wide: bool = False
    modality: str | None = None
    skip_invalid: bool = False
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class HistoryOptions(ImportOptions):
    """How a table of results is to be read.

    Attributes:
        metric: of all rows, instead of a column.
        unit: of accuracies and the like: fraction, percent, or auto.
        lower_is_better: metrics of which a lower value is better.
        higher_is_better: metrics whose name suggests otherwise, and of which a higher one is.
    """

    metric: str | None = None
    unit: str = AUTO
    lower_is_better: tuple[str, ...] = ()
    higher_is_better: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(ImportOptions):
    """How a table of scores is to be read; `rename` gives estimators another name."""

    rename: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DistanceOptions(ImportOptions):
    """How a table of distances is to be read; `method` says what kind of distance it is."""

    method: str = "imported"


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import read, added and left out.

    Attributes:
        kind: what was added: results, scores, covariates or distances.
        duplicates: values left out because they are there already.
        repeats: values that differ from an earlier one of the same expert, task and setting.
            Results are all kept; of scores, covariates and distances the last one counts.
        left_out: how many rows or cells for which reason.
        new_experts: names that became metadata-only experts; likewise `new_tasks`.
    """

    kind: str
    file: str
    dry_run: bool
    rows: int
    added: int
    duplicates: int = 0
    repeats: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    experts_known: int = 0
    new_experts: tuple[str, ...] = ()
    tasks_known: int = 0
    new_tasks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return one or two lines for people."""
        done = "would be added" if self.dry_run else "added"
        first = [f"{self.file}: {count(self.rows, 'row')}, {self.added:,} {self.kind} {done}"]
        if self.experts_known or self.new_experts:
            first.append(f"experts: {_known_and_new(self.experts_known, self.new_experts)}")
        if self.tasks_known or self.new_tasks:
            first.append(f"tasks: {_known_and_new(self.tasks_known, self.new_tasks)}")
        second = [*self._left_out(), *self.notes]
        return ["; ".join(first), *(["; ".join(second)] if second else [])]

    def _left_out(self) -> list[str]:
        reasons = [f"{number:,} {reason}" for reason, number in self.left_out.items()]
        reasons = [f"{self.duplicates:,} known already", *reasons] if self.duplicates else reasons
        parts = [f"left out: {', '.join(reasons)}"] if reasons else []
        if self.repeats:
            what = "all kept" if self.kind == "results" else "the last one counts"
            parts.append(f"{self.repeats:,} repeat an earlier row with another value ({what})")
        return parts


def _known_and_new(known: int, new: Sequence[str]) -> str:
    if not new:
        return f"{known:,} known"
    named = ", ".join(new[:_NAMED]) + (", ..." if len(new) > _NAMED else "")
    return f"{known:,} known, {len(new):,} new by name only ({named})"


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
    rows = [
        (f"line {line}", {role: cell(row, column) for role, column in columns.items()})
        for line, row in zip(table.lines, table.rows, strict=True)
    ]
    return rows, [f"columns ignored: {', '.join(ignored)}"] if ignored else []


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
    return [
        (
            f"line {line}, column {table.columns[i]!r}",
            {role: cell(row, column) for role, column in columns.items()}
            | {spread: table.columns[i], value: cell(row, i)},
        )
        for line, row in zip(table.lines, table.rows, strict=True)
        for i in values
    ]


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
        value: role that may be empty: such rows are left out.
        reason: under which unreadable rows are counted.

    Raises:
        InvalidInputError: for a row that cannot be read, unless such rows may be skipped.
    """
    left_out = table.left_out
    for where, text in rows:
        missing = next((role for role in names if not text[role]), None)
        if not text[value]:
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


def last_values(given: Iterable[tuple[Key, T]], known: Mapping[Key, T]) -> tuple[dict[Key, T], int, int]:
    """Return the values that are new or differ from those known, the last one of each key.

    Returns:
        The new values, how many were given or known already, and how many differ from an earlier one.
    """
    last: dict[Key, T] = {}
    duplicates = repeats = 0
    for key, value in given:
        if key in last:
            duplicates, repeats = duplicates + (last[key] == value), repeats + (last[key] != value)
        last[key] = value
    new = {key: value for key, value in last.items() if key not in known or known[key] != value}
    return new, duplicates + len(last) - len(new), repeats + sum(key in known for key in new)


def finish(names: Names, table: TextTable, report: ImportReport, write: Callable[[], None]) -> ImportReport:
    """Write what was read, unless it is a dry run, and return the report with what names and rows became."""
    if not report.dry_run:
        names.write()
        write()
        names.store.note_import(table.name, {"kind": report.kind, "added": report.added})
    return dataclasses.replace(report, left_out=dict(table.left_out.counts), **names.counts())
