"""Measured results of experts on tasks, as transfer edges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from expertise_graph.core import Edge, InvalidInputError
from expertise_graph.registry.imports.metrics import Value, known_as, lower_metrics, to_fractions
from expertise_graph.registry.imports.names import Names
from expertise_graph.registry.imports.options import HistoryOptions
from expertise_graph.registry.imports.report import ImportReport
from expertise_graph.registry.imports.table import File, Table, read_table
from expertise_graph.registry.imports.values import cell, number, whole
from expertise_graph.registry.imports.wide import value_columns
from expertise_graph.store import Store

METHOD, VERSION = "imported", "1"
ROLES = ("expert", "task", "metric", "value", "seed", "n_train", "method", "seconds", "date", "n")
NO_VALUE = "without a value"

_DEFAULT = HistoryOptions()


@dataclass(slots=True)
class Result(Value):
    """One measurement as the file has it."""

    expert: str
    task: str
    method: str = METHOD
    seed: int | None = None
    n: int | None = None
    n_train: int | None = None
    seconds: float | None = None
    date: str = ""


def import_history(store: Store, file: File, options: HistoryOptions = _DEFAULT) -> ImportReport:
    """Store a table of results as transfer edges; what is there already is left out.

    Raises:
        InvalidInputError: when anything in the file cannot be used; nothing is stored then.
    """
    table = read_table(file, options)
    results, notes = _wide(table, options) if options.wide else _long(table, options)
    if not results:
        raise InvalidInputError(f"{table.name} has no value in any of its {len(table.rows)} rows")
    notes += _one_name(results)
    lower = lower_metrics(table.name, (r.metric for r in results), options)
    results, converted = to_fractions(results, options.unit, table.left_out)
    with store.transaction():
        names = Names(store, table.name, options.modality)
        given = [_edge(r, names, table.name, r.metric in lower) for r in results]
        known = [e for e in store.edges("transfer") if e.run is None]
        edges, repeats = _new(given, known)
        report = ImportReport(
            kind="results",
            file=table.name,
            dry_run=options.dry_run,
            rows=len(table.rows),
            added=len(edges),
            duplicates=len(given) - len(edges),
            repeats=repeats,
            left_out=dict(table.left_out.counts),
            notes=(*notes, *converted),
            **names.counts(),
        )
        if not options.dry_run:
            names.write()
            store.put_edges(edges)
            store.note_import(table.name, {"kind": report.kind, "added": report.added})
    return report


def _long(table: Table, options: HistoryOptions) -> tuple[list[Result], list[str]]:
    """Return one result a row, and which columns are ignored."""
    places: dict[str, int | None] = {}
    for role in ROLES:
        if role == "metric" and options.metric is not None:
            places[role] = None
        elif role in ("expert", "task", "metric", "value"):
            instead = ", or give --metric NAME for all rows" if role == "metric" else ""
            places[role] = table.need(role, options.columns, instead)
        else:
            places[role] = table.place(role, options.columns)
    ignored = [table.columns[i] for i in table.others(list(places.values()), options.ignore)]
    notes = [f"columns ignored: {', '.join(ignored)}"] if ignored else []
    reader = _Reader(table, places, options.metric)
    rows = zip(table.lines, table.rows, strict=True)
    found = (reader.result(f"line {line}", reader.text(row)) for line, row in rows)
    return [result for result in found if result], notes


def _wide(table: Table, options: HistoryOptions) -> tuple[list[Result], list[str]]:
    """Return one result a cell of a table with a column for each task."""
    for role in ("task", "value"):
        if role in options.columns:
            raise InvalidInputError(f"--wide has a column for each task; leave out --{role}-column")
    mapped = {r: table.place(r, options.columns) for r in ROLES if r in options.columns}
    if options.metric is None and "metric" not in mapped:
        raise InvalidInputError("--wide needs --metric NAME, e.g. --metric accuracy: what the values are")
    expert = table.place("expert", options.columns)
    places = {**mapped, "expert": 0 if expert is None else expert}
    tasks = value_columns(table, list(places.values()), options.ignore)
    return list(_cells(_Reader(table, places, options.metric), tasks)), []


def _cells(reader: _Reader, tasks: Sequence[int]) -> Iterator[Result]:
    for line, row in zip(reader.table.lines, reader.table.rows, strict=True):
        shared = reader.text(row)
        for place in tasks:
            task = reader.table.columns[place]
            text = {**shared, "task": task, "value": cell(row, place)}
            found = reader.result(f"line {line}, column {task!r}", text)
            if found:
                yield found


@dataclass(frozen=True)
class _Reader:
    """Rows of a table to results: where each role is, and the metric where it is one for all."""

    table: Table
    places: dict[str, int | None]
    metric: str | None

    def text(self, row: Sequence[str]) -> dict[str, str]:
        text = {role: cell(row, place) for role, place in self.places.items()}
        return text if self.metric is None else {**text, "metric": self.metric}

    def result(self, where: str, text: dict[str, str]) -> Result | None:
        """Return the result in a row; None for one that is left out."""
        left_out = self.table.left_out
        if not text["value"]:
            left_out.counts[NO_VALUE] += 1
            return None
        for role in ("expert", "task", "metric"):
            if not text[role]:
                left_out.invalid(where, f"no {role}", f"without {role}")
                return None
        try:
            return _parsed(where, text)
        except ValueError as error:
            left_out.invalid(where, str(error), "with something else than a number")
            return None


def _parsed(where: str, text: dict[str, str]) -> Result:
    return Result(
        where=where,
        metric=text["metric"],
        value=_number(text, "value"),
        expert=text["expert"],
        task=text["task"],
        method=text.get("method") or METHOD,
        seed=_optional(text, "seed"),
        n=_optional(text, "n"),
        n_train=_optional(text, "n_train"),
        seconds=_seconds(text),
        date=text.get("date", ""),
    )


def _one_name(results: Sequence[Result]) -> list[str]:
    """Give each metric the name it is stored under; return what was changed."""
    changed = {r.metric: known_as(r.metric) for r in results if known_as(r.metric) != r.metric}
    for result in results:
        result.metric = changed.get(result.metric, result.metric)
    return [f"{old} is stored as {new}" for old, new in changed.items()]


def _number(text: dict[str, str], role: str) -> float:
    value = number(text[role])
    if value is None:
        raise ValueError(f"{role} {text[role]!r} is not a finite number")
    return value


def _optional(text: dict[str, str], role: str) -> int | None:
    if not text.get(role):
        return None
    value = whole(text[role])
    if value is None or value < 0:
        raise ValueError(f"{role} {text[role]!r} is not a whole number from 0")
    return value


def _seconds(text: dict[str, str]) -> float | None:
    if not text.get("seconds"):
        return None
    value = _number(text, "seconds")
    if value < 0:
        raise ValueError(f"seconds {text['seconds']!r} is negative")
    return value


def _edge(result: Result, names: Names, origin: str, lower: bool) -> Edge:
    details: dict[str, Any] = {"n_train": result.n_train, "date": result.date or None}
    meta = {name: value for name, value in details.items() if value is not None}
    return Edge(
        kind="transfer",
        source=names.expert(result.expert),
        target=names.task(result.task),
        weight=result.value,
        metric=result.metric,
        method=result.method,
        version=VERSION,
        seed=result.seed,
        n=result.n,
        seconds=result.seconds,
        meta={**meta, "origin": origin, **({"lower_is_better": True} if lower else {})},
    )


def _new(given: Iterable[Edge], known: Iterable[Edge]) -> tuple[list[Edge], int]:
    """Return the edges that are not known, each once, and how many repeat a setting."""
    seen, settings, new, repeats = set(), set(), [], 0
    for edge in known:
        seen.add(_identity(edge))
        settings.add(_setting(edge))
    for edge in given:
        if _identity(edge) in seen:
            continue
        repeats += _setting(edge) in settings
        seen.add(_identity(edge))
        settings.add(_setting(edge))
        new.append(edge)
    return new, repeats


def _setting(edge: Edge) -> tuple[Any, ...]:
    """Return what two measurements of the same thing agree in."""
    n_train = edge.meta.get("n_train")
    return (edge.source, edge.target, edge.metric, edge.method, edge.seed, edge.n, n_train)


def _identity(edge: Edge) -> tuple[Any, ...]:
    """Return what the same measurement agrees in, whichever file it came in."""
    return (*_setting(edge), edge.weight, edge.seconds, edge.meta.get("date"))
