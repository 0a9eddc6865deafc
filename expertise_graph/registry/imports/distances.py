"""Distances between tasks that others computed."""

from __future__ import annotations

from expertise_graph.core import InvalidInputError, TaskDistance
from expertise_graph.registry.imports.frame import (
    DistanceOptions,
    ImportReport,
    Row,
    finish,
    last_values,
    long_rows,
    parsed,
    wide_rows,
)
from expertise_graph.registry.imports.names import Names
from expertise_graph.registry.imports.table import File, TextTable, number, read_table
from expertise_graph.store import Store

ROLES = ("task", "other", "distance")
ITSELF = "of a task to itself"

_DEFAULT = DistanceOptions()
_HINT = (
    "a long table has the columns task, other, distance; a matrix has names in its first column and header"
)


def import_distances(store: Store, file: File, options: DistanceOptions = _DEFAULT) -> ImportReport:
    """Store distances between tasks, from a long table or a matrix; the last value of a pair counts.

    Raises:
        InvalidInputError: when anything in the file cannot be used; nothing is stored then.
    """
    table = read_table(file, skip_invalid=options.skip_invalid)
    rows, notes = _rows(table, options)

    def parse(where: str, text: dict[str, str]) -> tuple[str, str, float] | None:
        if text["task"] == text["other"]:
            table.left_out.counts[ITSELF] += 1
            return None
        value = number(text["distance"])
        if value is None or value < 0:
            raise ValueError(f"distance {text['distance']!r} is not a finite number from 0 ({_HINT})")
        return text["task"], text["other"], value

    reason = "with something else than a distance"
    given = list(parsed(table, rows, parse, names=ROLES[:2], value="distance", reason=reason))
    if not given:
        raise InvalidInputError(f"{table.name} has no distance between two different tasks; {_HINT}")
    with store.transaction():
        names = Names(store, table.name, options.modality)
        pairs = [((names.task(task), names.task(other)), value) for task, other, value in given]
        known = {(d.task, d.other): d.value for d in store.distances(options.method)}
        new, duplicates, repeats = last_values(pairs, known)
        report = ImportReport(
            kind="distances",
            file=table.name,
            dry_run=options.dry_run,
            rows=len(table.rows),
            added=len(new),
            duplicates=duplicates,
            repeats=repeats,
            notes=tuple(notes),
        )
        distances = [
            TaskDistance(task=task, other=other, value=value, method=options.method)
            for (task, other), value in new.items()
        ]
        return finish(names, table, report, lambda: store.put_distances(distances))


def _rows(table: TextTable, options: DistanceOptions) -> tuple[list[Row], list[str]]:
    """Return a row for each distance, of a long table if it has or is said to have its columns."""
    if options.columns or all(table.find(role, {}) is not None for role in ROLES):
        return long_rows(table, {role: table.need(role, options.columns) for role in ROLES}, options)
    values = table.others([0], options.ignore)
    return wide_rows(table, {"task": 0}, spread="other", values=values, value="distance"), []
