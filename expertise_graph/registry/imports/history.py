"""Measured results of experts on tasks, as transfer edges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expertise_graph.core import Edge, InvalidInputError, number, setting, whole
from expertise_graph.registry.imports.boards import read_results
from expertise_graph.registry.imports.exports import export_of, export_rows
from expertise_graph.registry.imports.frame import (
    Row,
    importing,
    long_rows,
    parsed,
    refuse_columns,
    wide_rows,
)
from expertise_graph.registry.imports.metrics import Value, known_as, lower_metrics, to_fractions
from expertise_graph.registry.imports.names import Names
from expertise_graph.registry.imports.options import HistoryOptions, ImportReport
from expertise_graph.registry.imports.table import BOARD, File, TextTable
from expertise_graph.store import Store

METHOD, VERSION = "imported", "1"
ROLES = ("expert", "task", "metric", "value", "seed", "n_train", "method", "seconds", "date", "n")
_NEEDED = ROLES[:4]
# Roles that one value may fill for all rows.
_FIXED = ("metric", "task")


@dataclass(slots=True, kw_only=True)
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


def import_history(store: Store, file: File, options: HistoryOptions | None = None) -> ImportReport:
    """Store a table of results as transfer edges; what is there already is left out.

    Raises:
        InvalidInputError: when anything in the file cannot be used; nothing is stored then.
    """
    options = options or HistoryOptions()
    table = read_results(file, options).expanded()
    rows, notes = _rows(table, options)
    results = list(parsed(table, rows, _result, names=("expert", "task", "metric")))
    if not results:
        raise InvalidInputError(f"{table.name} has no value in any of its {len(table.rows)} rows")
    notes += _one_name(results)
    lower = lower_metrics(table.name, (r.metric for r in results), options)
    results, converted = to_fractions(results, options.unit, table.left_out)
    with importing("results", store, table, options, [*notes, *converted]) as under_way:
        given = [_edge(r, under_way.names, table, r.metric in lower) for r in results]
        edges, repeats = _new(given, store.edges("transfer", imported=True))
        return under_way.finish(lambda: store.put_edges(edges), len(edges), len(given) - len(edges), repeats)


def _rows(table: TextTable, options: HistoryOptions) -> tuple[list[Row], list[str]]:
    """Return one row for each result, and how the table was understood."""
    export = export_of(table, options)
    if export is not None:
        return export_rows(table, export, options)
    rows, notes = _wide(table, options) if options.wide else _long(table, options)
    given = {"metric": options.metric, "task": options.task}
    fixed = {role: value for role, value in given.items() if value is not None}
    return [(where, {**text, **fixed}) for where, text in rows], notes


def _long(table: TextTable, options: HistoryOptions) -> tuple[list[Row], list[str]]:
    """Return one row for each result, and which columns are ignored."""
    columns: dict[str, int | None] = {}
    for role in ROLES:
        if role in _NEEDED:
            instead = f", or give {setting(role, 'NAME')} for all rows" if role in _FIXED else ""
            fixed = role in _FIXED and getattr(options, role) is not None
            columns[role] = None if fixed else table.need(role, options.columns, instead)
        else:
            columns[role] = table.find(role, options.columns)
    return long_rows(table, columns, options)


def _wide(table: TextTable, options: HistoryOptions) -> tuple[list[Row], list[str]]:
    """Return one row for each cell of a table with a column for each task."""
    refuse_columns(options, "task")
    mapped = {r: table.find(r, options.columns) for r in ROLES if r in options.columns}
    if options.metric is None and "metric" not in mapped:
        raise InvalidInputError(
            f"{setting('wide')} needs {setting('metric', 'NAME')}, e.g. {setting('metric', 'accuracy')}: "
            "what the values are"
        )
    expert = table.find("expert", options.columns)
    columns = {**mapped, "expert": 0 if expert is None else expert}
    tasks = table.numeric(list(columns.values()), options.ignore)
    return wide_rows(table, columns, spread="task", values=tasks, value="value"), []


def _result(where: str, text: dict[str, str]) -> Result:
    return Result(
        where=where,
        metric=text["metric"],
        value=_number(text, "value"),
        percent=text["value"].endswith("%") or "%" in text["metric"],
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
    """Give each metric the name it is stored under; return what was changed.

    Accuracies of several splits keep their names: they are not one metric.
    """
    names = {r.metric: known_as(r.metric) for r in results}
    several = {name for name, times in Counter(names.values()).items() if times > 1}
    changed = {old: new for old, new in names.items() if old != new and new not in several}
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


def _edge(result: Result, names: Names, table: TextTable, lower: bool) -> Edge:
    details: dict[str, Any] = {
        "n_train": result.n_train,
        "date": result.date or None,
        BOARD: table.board or None,
    }
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
        meta={**meta, "origin": table.name, **({"lower_is_better": True} if lower else {})},
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
    return setting_of_result(vars(edge))


def _identity(edge: Edge) -> tuple[Any, ...]:
    return same_result(vars(edge))


def setting_of_result(edge: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what two measurements of the same thing agree in, by the fields of an edge."""
    names = ("source", "target", "metric", "method", "seed", "n")
    return (*(edge[name] for name in names), edge["meta"].get("n_train"))


def same_result(edge: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what the same measurement agrees in, wherever it comes from."""
    return (*setting_of_result(edge), edge["weight"], edge["seconds"], edge["meta"].get("date"))
