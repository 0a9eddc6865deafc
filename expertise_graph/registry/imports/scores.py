"""Transferability scores that others computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from expertise_graph.core import InvalidInputError, Score, did_you_mean, setting
from expertise_graph.registry.imports.frame import (
    ImportReport,
    Row,
    ScoreOptions,
    finish,
    last_values,
    long_rows,
    parsed,
    refuse_columns,
    wide_rows,
)
from expertise_graph.registry.imports.names import Names
from expertise_graph.registry.imports.table import File, TextTable, number, read_table
from expertise_graph.store import Store

VERSION = "imported"
ROLES = ("expert", "task", "estimator", "value")

_DEFAULT = ScoreOptions()


def import_scores(store: Store, file: File, options: ScoreOptions = _DEFAULT) -> ImportReport:
    """Store a table of transferability scores; of one given again the last value counts.

    Raises:
        InvalidInputError: when anything in the file cannot be used; nothing is stored then.
    """
    table = read_table(file, skip_invalid=options.skip_invalid)
    rows, notes = _wide(table, options) if options.wide else _long(table, options)
    given = list(parsed(table, rows, _score, names=ROLES[:3]))
    if not given:
        raise InvalidInputError(f"{table.name} has no value in any of its {len(table.rows)} rows")
    given = _renamed(given, options.rename, table.name)
    with store.transaction():
        names = Names(store, table.name, options.modality)
        given = [replace(s, expert=names.expert(s.expert), task=names.task(s.task)) for s in given]
        stored = [s for s in store.scores(version=VERSION) if (s.n, s.seed) == (0, 0)]
        # When a score was stored is no part of it.
        known = {_key(s): replace(s, created_at="") for s in stored}
        new, duplicates, repeats = last_values(((_key(s), s) for s in given), known)
        report = ImportReport(
            kind="scores",
            file=table.name,
            dry_run=options.dry_run,
            rows=len(table.rows),
            added=len(new),
            duplicates=duplicates,
            repeats=repeats,
            notes=tuple(notes),
        )
        return finish(names, table, report, lambda: store.put_scores(new.values()))


def _long(table: TextTable, options: ScoreOptions) -> tuple[list[Row], list[str]]:
    columns: dict[str, int | None] = {role: table.need(role, options.columns) for role in ROLES}
    return long_rows(table, {**columns, "seconds": table.find("seconds", options.columns)}, options)


def _wide(table: TextTable, options: ScoreOptions) -> tuple[list[Row], list[str]]:
    refuse_columns(options, "estimator")
    columns = {role: table.need(role, options.columns) for role in ("expert", "task")}
    if "seconds" in options.columns:
        columns["seconds"] = table.need("seconds", options.columns)
    values = table.numeric(list(columns.values()), options.ignore)
    return wide_rows(table, columns, spread="estimator", values=values, value="value"), []


def _score(where: str, text: Mapping[str, str]) -> Score:
    value, seconds = number(text["value"]), number(text.get("seconds") or "0")
    if value is None:
        raise ValueError(f"value {text['value']!r} is not a finite number")
    if seconds is None or seconds < 0:
        raise ValueError(f"seconds {text['seconds']!r} is not a finite number from 0")
    return Score(
        expert=text["expert"],
        task=text["task"],
        estimator=text["estimator"],
        version=VERSION,
        value=value,
        n=0,
        seed=0,
        seconds=seconds,
    )


def _renamed(scores: list[Score], rename: Mapping[str, str], name: str) -> list[Score]:
    present = sorted({s.estimator for s in scores})
    for old in rename:
        if old not in present:
            raise InvalidInputError(
                f"{name} has no estimator {old!r} to {setting('rename')}; there are: {', '.join(present)}."
                f"{did_you_mean(old, present)}"
            )
    return [replace(s, estimator=rename.get(s.estimator, s.estimator)) for s in scores]


def _key(score: Score) -> tuple[str, str, str]:
    return score.expert, score.task, score.estimator
