"""Distances between tasks that others computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from expertise_graph.core import InvalidInputError, TaskDistance
from expertise_graph.registry.imports.names import Names
from expertise_graph.registry.imports.options import DistanceOptions
from expertise_graph.registry.imports.report import ImportReport
from expertise_graph.registry.imports.table import File, Table, read_table
from expertise_graph.registry.imports.values import cell, number
from expertise_graph.store import Store

ROLES = ("task", "other", "distance")
NO_VALUE, ITSELF = "without a value", "of a task to itself"

_DEFAULT = DistanceOptions()
_Pair = tuple[str, str]
_HINT = (
    "a long table has the columns task, other, distance; a matrix has names in its first column and header"
)


def import_distances(store: Store, file: File, options: DistanceOptions = _DEFAULT) -> ImportReport:
    """Store distances between tasks, from a long table or a matrix; the last value of a pair counts.

    Raises:
        InvalidInputError: when anything in the file cannot be used; nothing is stored then.
    """
    table = read_table(file, options)
    long, notes = _long_columns(table, options)
    pairs = _long(table, long) if long else _matrix(table, table.others([0], options.ignore))
    found = [pair for pair in pairs if pair]
    if not found:
        raise InvalidInputError(f"{table.name} has no distance between two different tasks; {_HINT}")
    with store.transaction():
        names = Names(store, table.name, options.modality)
        given = [((names.task(task), names.task(other)), value) for task, other, value in found]
        known = {(d.task, d.other): d.value for d in store.distances() if d.method == options.method}
        last = dict(given)
        new = {pair: value for pair, value in last.items() if known.get(pair) != value}
        same = sum(last[pair] == value for pair, value in given)
        report = ImportReport(
            kind="distances",
            file=table.name,
            dry_run=options.dry_run,
            rows=len(table.rows),
            added=len(new),
            duplicates=same - len(new),
            repeats=len(given) - same + sum(pair in known for pair in new),
            left_out=dict(table.left_out.counts),
            notes=tuple(notes),
            **names.counts(),
        )
        if not options.dry_run:
            names.write()
            store.put_distances(_distance(pair, value, options.method) for pair, value in new.items())
            store.note_import(table.name, {"kind": report.kind, "added": report.added})
    return report


def _distance(pair: _Pair, value: float, method: str) -> TaskDistance:
    return TaskDistance(task=pair[0], other=pair[1], value=value, method=method)


def _long_columns(table: Table, options: DistanceOptions) -> tuple[list[int], list[str]]:
    """Return where task, other and distance are, none for a matrix; and which columns are ignored."""
    if not options.columns and any(table.place(role, {}) is None for role in ROLES):
        return [], []
    places = [table.need(role, options.columns) for role in ROLES]
    ignored = [table.columns[i] for i in table.others(places, options.ignore)]
    return places, [f"columns ignored: {', '.join(ignored)}"] if ignored else []


def _long(table: Table, places: Sequence[int]) -> Iterator[tuple[str, str, float] | None]:
    for line, row in zip(table.lines, table.rows, strict=True):
        task, other, value = (cell(row, place) for place in places)
        yield _pair(table, f"line {line}", (task, other), value)


def _matrix(table: Table, others: Sequence[int]) -> Iterator[tuple[str, str, float] | None]:
    for line, row in zip(table.lines, table.rows, strict=True):
        for place in others:
            other = table.columns[place]
            yield _pair(table, f"line {line}, column {other!r}", (cell(row, 0), other), cell(row, place))


def _pair(table: Table, where: str, names: _Pair, text: str) -> tuple[str, str, float] | None:
    """Return two tasks and their distance; None for what is left out."""
    if not all(names):
        table.left_out.invalid(where, "no task", "without task")
    elif not text:
        table.left_out.counts[NO_VALUE] += 1
    elif names[0] == names[1]:
        table.left_out.counts[ITSELF] += 1
    elif (value := number(text)) is None or value < 0:
        what = f"distance {text!r} is not a finite number from 0 ({_HINT})"
        table.left_out.invalid(where, what, "with something else than a distance")
    else:
        return (*names, value)
    return None
