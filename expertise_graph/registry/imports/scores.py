"""Transferability scores that others computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from expertise_graph.core import InvalidInputError, Score, did_you_mean
from expertise_graph.registry.imports.names import Names
from expertise_graph.registry.imports.options import ScoreOptions
from expertise_graph.registry.imports.report import ImportReport
from expertise_graph.registry.imports.table import File, Table, read_table
from expertise_graph.registry.imports.values import cell, number
from expertise_graph.registry.imports.wide import value_columns
from expertise_graph.store import Store

VERSION = "imported"
ROLES = ("expert", "task", "estimator", "value", "seconds")
NO_VALUE = "without a value"

_DEFAULT = ScoreOptions()
_Key = tuple[str, str, str]


def import_scores(store: Store, file: File, options: ScoreOptions = _DEFAULT) -> ImportReport:
    """Store a table of transferability scores; of one given again the last value counts.

    Raises:
        InvalidInputError: when anything in the file cannot be used; nothing is stored then.
    """
    table = read_table(file, options)
    given, notes = _wide(table, options) if options.wide else _long(table, options)
    if not given:
        raise InvalidInputError(f"{table.name} has no value in any of its {len(table.rows)} rows")
    given = _renamed(given, options.rename, table.name)
    with store.transaction():
        names = Names(store, table.name, options.modality)
        given = [replace(s, expert=names.expert(s.expert), task=names.task(s.task)) for s in given]
        known = {_key(s): s for s in store.scores() if (s.version, s.n, s.seed) == (VERSION, 0, 0)}
        new, duplicates, repeats = _new(given, known)
        report = ImportReport(
            kind="scores",
            file=table.name,
            dry_run=options.dry_run,
            rows=len(table.rows),
            added=len(new),
            duplicates=duplicates,
            repeats=repeats,
            left_out=dict(table.left_out.counts),
            notes=tuple(notes),
            **names.counts(),
        )
        if not options.dry_run:
            names.write()
            store.put_scores(new)
            store.note_import(table.name, {"kind": report.kind, "added": report.added})
    return report


def _long(table: Table, options: ScoreOptions) -> tuple[list[Score], list[str]]:
    places: dict[str, int | None] = {r: table.need(r, options.columns) for r in ROLES[:4]}
    places["seconds"] = table.place("seconds", options.columns)
    ignored = [table.columns[i] for i in table.others(list(places.values()), options.ignore)]
    notes = [f"columns ignored: {', '.join(ignored)}"] if ignored else []
    rows = zip(table.lines, table.rows, strict=True)
    found = (
        _score(table, f"line {line}", {role: cell(row, place) for role, place in places.items()})
        for line, row in rows
    )
    return [score for score in found if score], notes


def _wide(table: Table, options: ScoreOptions) -> tuple[list[Score], list[str]]:
    for role in ("estimator", "value"):
        if role in options.columns:
            raise InvalidInputError(f"--wide has a column for each estimator; leave out --{role}-column")
    expert, task = (table.need(role, options.columns) for role in ("expert", "task"))
    places = {"expert": expert, "task": task}
    if "seconds" in options.columns:
        places["seconds"] = table.need("seconds", options.columns)
    estimators = value_columns(table, list(places.values()), options.ignore)
    return [score for score in _cells(table, places, estimators) if score], []


def _cells(table: Table, places: dict[str, int], estimators: list[int]) -> Iterator[Score | None]:
    for line, row in zip(table.lines, table.rows, strict=True):
        shared = {role: cell(row, place) for role, place in places.items()}
        for place in estimators:
            name = table.columns[place]
            text = {**shared, "estimator": name, "value": cell(row, place)}
            yield _score(table, f"line {line}, column {name!r}", text)


def _score(table: Table, where: str, text: Mapping[str, str]) -> Score | None:
    """Return the score in a row; None for one that is left out."""
    if not text["value"]:
        table.left_out.counts[NO_VALUE] += 1
        return None
    for role in ("expert", "task", "estimator"):
        if not text[role]:
            table.left_out.invalid(where, f"no {role}", f"without {role}")
            return None
    value, seconds = number(text["value"]), number(text.get("seconds") or "0")
    if value is None or seconds is None or seconds < 0:
        role = "value" if value is None else "seconds"
        what = f"{role} {text[role]!r} is not a finite number{' from 0' if role == 'seconds' else ''}"
        table.left_out.invalid(where, what, "with something else than a number")
        return None
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
            hint = did_you_mean(old, present)
            raise InvalidInputError(
                f"{name} has no estimator {old!r}; there are: {', '.join(present)}.{hint}"
            )
    return [replace(s, estimator=rename.get(s.estimator, s.estimator)) for s in scores] if rename else scores


def _new(given: list[Score], known: Mapping[_Key, Score]) -> tuple[list[Score], int, int]:
    """Return the scores that are not known as they are, and how many are duplicates or repeats."""
    last: dict[_Key, Score] = {}
    duplicates = repeats = 0
    for score in given:
        earlier = last.get(_key(score))
        if earlier is not None:
            same = _content(earlier) == _content(score)
            duplicates, repeats = duplicates + same, repeats + (not same)
        last[_key(score)] = score
    new = []
    for key, score in last.items():
        if key in known and _content(known[key]) == _content(score):
            duplicates += 1
        else:
            repeats += key in known
            new.append(score)
    return new, duplicates, repeats


def _key(score: Score) -> _Key:
    return score.expert, score.task, score.estimator


def _content(score: Score) -> tuple[float, float]:
    return score.value, score.seconds
