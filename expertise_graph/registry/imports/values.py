"""Scores, covariates and distances that others worked out; of a value given again the last one counts."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from expertise_graph.core import (
    METADATA,
    MISSING,
    Expert,
    InvalidInputError,
    Score,
    TaskDistance,
    did_you_mean,
    number,
    setting,
)
from expertise_graph.registry.imports.frame import (
    Row,
    importing,
    long_rows,
    parsed,
    refuse_columns,
    wide_rows,
)
from expertise_graph.registry.imports.options import (
    DistanceOptions,
    ImportOptions,
    ImportReport,
    ScoreOptions,
)
from expertise_graph.registry.imports.table import File, TextTable, read_table
from expertise_graph.store import Store

# Scores

SCORE_VERSION = "imported"
_OF_SCORES = ("expert", "task", "estimator", "value")


def import_scores(store: Store, file: File, options: ScoreOptions | None = None) -> ImportReport:
    """Store a table of transferability scores; of one given again the last value counts.

    Raises:
        InvalidInputError: when anything in the file cannot be used; nothing is stored then.
    """
    options = options or ScoreOptions()
    table = read_table(file, skip_invalid=options.skip_invalid)
    rows, notes = _wide_scores(table, options) if options.wide else _long_scores(table, options)
    given = list(parsed(table, rows, _score, names=_OF_SCORES[:3]))
    if not given:
        raise InvalidInputError(f"{table.name} has no value in any of its {len(table.rows)} rows")
    given = _renamed(given, options.rename, table.name)
    with importing("scores", store, table, options, notes) as under_way:
        names = under_way.names
        given = [
            dataclasses.replace(s, expert=names.expert(s.expert), task=names.task(s.task)) for s in given
        ]
        stored = [s for s in store.scores(version=SCORE_VERSION) if (s.n, s.seed) == (0, 0)]
        # When a score was stored is no part of it.
        known = {_key(s): dataclasses.replace(s, created_at="") for s in stored}
        return under_way.finish_last(
            ((_key(s), s) for s in given), known, lambda new: store.put_scores(new.values())
        )


def _long_scores(table: TextTable, options: ScoreOptions) -> tuple[list[Row], list[str]]:
    columns: dict[str, int | None] = {role: table.need(role, options.columns) for role in _OF_SCORES}
    return long_rows(table, {**columns, "seconds": table.find("seconds", options.columns)}, options)


def _wide_scores(table: TextTable, options: ScoreOptions) -> tuple[list[Row], list[str]]:
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
        version=SCORE_VERSION,
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
    return [dataclasses.replace(s, estimator=rename.get(s.estimator, s.estimator)) for s in scores]


def _key(score: Score) -> tuple[str, str, str]:
    return score.expert, score.task, score.estimator


# Covariates

Values = dict[str, str | float]

# How columns for size, architecture and licence are called; only letters and digits of a name count.
_PARAMS = (
    "params",
    "parameters",
    "nparams",
    "nparameters",
    "numparams",
    "numparameters",
    "numberofparameters",
)
_ARCHITECTURE = ("architecture", "architectures", "arch")
_SUFFIXES = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9}
_LICENSE = ("license", "licence")


def import_meta(store: Store, file: File, options: ImportOptions | None = None) -> ImportReport:
    """Store every column but the expert's as a covariate; the last value of a name counts.

    Raises:
        InvalidInputError: when anything in the file cannot be used; nothing is stored then.
    """
    options = options or ImportOptions()
    table = read_table(file, skip_invalid=options.skip_invalid)
    rows = _covariates(table, options)
    with importing("covariates", store, table, options) as under_way:
        given = [(under_way.names.expert(name), values) for name, values in rows]
        pairs = (((expert, name), value) for expert, values in given for name, value in values.items())
        stored = store.covariates({expert for expert, _ in given})
        known = {(expert, name): v for expert, values in stored.items() for name, v in values.items()}
        return under_way.finish_last(pairs, known, lambda new: _write(store, new, table.name))


def _covariates(table: TextTable, options: ImportOptions) -> list[tuple[str, Values]]:
    """Return the expert and the covariates of each row, missing ones left out."""
    expert = table.need("expert", options.columns)
    columns = table.others([expert], options.ignore)
    if not columns:
        raise InvalidInputError(f"{table.name} has no column beside the expert's; {table.there_are}")
    texts = {table.columns[i]: table.texts(i, numbers=True) for i in columns}
    rows = []
    for row, (line, name) in enumerate(zip(table.lines, table.texts(expert), strict=True)):
        if not name:
            table.left_out.invalid(f"line {line}", "no expert", "without expert")
            continue
        given = {column: cells[row] for column, cells in texts.items()}
        rows.append((name, {k: _value(v) for k, v in given.items() if v.casefold() not in MISSING}))
    return rows


def _value(text: str) -> str | float:
    value = number(text)
    return text if value is None else value


def _write(store: Store, new: Mapping[tuple[str, str], str | float], origin: str) -> None:
    """Store covariates; metadata-only experts get their size, architecture and licence from them."""
    given: dict[str, Values] = {}
    for (expert, name), value in new.items():
        given.setdefault(expert, {})[name] = value
    for expert, values in given.items():
        store.put_covariates(expert, values, origin)
    for node in store.experts(where={"source": METADATA, "id": given}):
        described = describe(node, given[node.id])
        if described != node and not node.weights_sha:
            store.put_expert(described)


def _count(value: str | float) -> int:
    """Return the number of parameters in a covariate, also written as 25M; 0 for what is none."""
    match = re.fullmatch(r"([0-9.]+)\s*([kmbg])", value.casefold()) if isinstance(value, str) else None
    size = number(match[1]) if match else value
    scale = _SUFFIXES[match[2]] if match else 1.0
    return int(size * scale) if isinstance(size, float) and size > 0 else 0


def describe(expert: Expert, covariates: Mapping[str, str | float]) -> Expert:
    """Return a metadata-only expert with what covariates of the obvious names say about it."""
    by_name = {"".join(filter(str.isalnum, name.casefold())): v for name, v in covariates.items()}
    params = next((by_name[n] for n in _PARAMS if n in by_name), None)
    architecture = next((by_name[n] for n in _ARCHITECTURE if n in by_name), None)
    license_ = next((by_name[n] for n in _LICENSE if n in by_name), None)
    return dataclasses.replace(
        expert,
        params=expert.params if params is None else _count(params) or expert.params,
        architecture=str(architecture).strip("[]'\" ") if architecture is not None else expert.architecture,
        license=str(license_).lower() if license_ is not None else expert.license,
    )


# Distances

_OF_DISTANCES = ("task", "other", "distance")
ITSELF = "of a task to itself"

_HINT = (
    "a long table has the columns task, other, distance; a matrix has names in its first column and header"
)


def import_distances(store: Store, file: File, options: DistanceOptions | None = None) -> ImportReport:
    """Store distances between tasks, from a long table or a matrix; the last value of a pair counts.

    Raises:
        InvalidInputError: when anything in the file cannot be used; nothing is stored then.
    """
    options = options or DistanceOptions()
    table = read_table(file, skip_invalid=options.skip_invalid)
    rows, notes = _distances(table, options)

    def parse(where: str, text: dict[str, str]) -> tuple[str, str, float] | None:
        if text["task"] == text["other"]:
            table.left_out.counts[ITSELF] += 1
            return None
        value = number(text["distance"])
        if value is None or value < 0:
            raise ValueError(f"distance {text['distance']!r} is not a finite number from 0 ({_HINT})")
        return text["task"], text["other"], value

    reason = "with something else than a distance"
    given = list(parsed(table, rows, parse, names=_OF_DISTANCES[:2], value="distance", reason=reason))
    if not given:
        raise InvalidInputError(f"{table.name} has no distance between two different tasks; {_HINT}")
    with importing("distances", store, table, options, notes) as under_way:
        names = under_way.names
        pairs = [((names.task(task), names.task(other)), value) for task, other, value in given]
        known = {(x.task, x.other): x.value for x in store.distances(options.method)}

        def write(new: Mapping[tuple[str, str], float]) -> None:
            store.put_distances(
                TaskDistance(task=task, other=other, value=value, method=options.method)
                for (task, other), value in new.items()
            )

        return under_way.finish_last(pairs, known, write)


def _distances(table: TextTable, options: DistanceOptions) -> tuple[list[Row], list[str]]:
    """Return a row for each distance, of a long table if it has or is said to have its columns."""
    if options.columns or all(table.find(role, {}) is not None for role in _OF_DISTANCES):
        return long_rows(table, {role: table.need(role, options.columns) for role in _OF_DISTANCES}, options)
    values = table.others([0], options.ignore)
    return wide_rows(table, {"task": 0}, spread="other", values=values, value="distance"), []
