"""Covariates: what is known about experts besides their results."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from expertise_graph.core import Expert, InvalidInputError
from expertise_graph.registry.imports.names import Names
from expertise_graph.registry.imports.options import ImportOptions
from expertise_graph.registry.imports.report import ImportReport
from expertise_graph.registry.imports.table import File, Table, read_table
from expertise_graph.registry.imports.values import MISSING, cell, number
from expertise_graph.store import Store

Values = dict[str, str | float]

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

_DEFAULT = ImportOptions()


def import_meta(store: Store, file: File, options: ImportOptions = _DEFAULT) -> ImportReport:
    """Store every column but the expert's as a covariate; the last value of a name counts.

    Raises:
        InvalidInputError: when anything in the file cannot be used; nothing is stored then.
    """
    table = read_table(file, options)
    rows = _rows(table, options)
    with store.transaction():
        names = Names(store, table.name, options.modality)
        known = store.covariates()
        given, duplicates, repeats = _merged([(names.expert(name), values) for name, values in rows], known)
        report = ImportReport(
            kind="covariates",
            file=table.name,
            dry_run=options.dry_run,
            rows=len(table.rows),
            added=sum(map(len, given.values())),
            duplicates=duplicates,
            repeats=repeats,
            left_out=dict(table.left_out.counts),
            **names.counts(),
        )
        if not options.dry_run:
            names.write()
            for expert, values in given.items():
                store.put_covariates(expert, values, table.name)
            _describe(store, given)
            store.note_import(table.name, {"kind": report.kind, "added": report.added})
    return report


def _rows(table: Table, options: ImportOptions) -> list[tuple[str, Values]]:
    """Return the expert and the covariates of each row, missing ones left out."""
    expert = table.need("expert", options.columns)
    places = table.others([expert], options.ignore)
    if not places:
        raise InvalidInputError(f"{table.name} has no column beside the expert's; {table.there_are}")
    rows = []
    for line, row in zip(table.lines, table.rows, strict=True):
        name = cell(row, expert)
        if not name:
            table.left_out.invalid(f"line {line}", "no expert", "without expert")
            continue
        text = {table.columns[i]: cell(row, i) for i in places}
        rows.append((name, {k: _value(v) for k, v in text.items() if v.casefold() not in MISSING}))
    return rows


def _value(text: str) -> str | float:
    value = number(text)
    return text if value is None else value


def _merged(
    rows: list[tuple[str, Values]], known: Mapping[str, Values]
) -> tuple[dict[str, Values], int, int]:
    """Return the covariates that are new or differ, by expert, and how many are duplicates or repeats."""
    last: dict[str, Values] = {}
    duplicates = repeats = 0
    for expert, values in rows:
        held = last.setdefault(expert, {})
        for name, value in values.items():
            if name in held:
                duplicates, repeats = duplicates + (held[name] == value), repeats + (held[name] != value)
            held[name] = value
    new: dict[str, Values] = {}
    for expert, values in last.items():
        before = known.get(expert, {})
        new[expert] = {k: v for k, v in values.items() if k not in before or before[k] != v}
        duplicates += len(values) - len(new[expert])
        repeats += sum(name in before for name in new[expert])
    return new, duplicates, repeats


def _describe(store: Store, given: Mapping[str, Values]) -> None:
    """Fill in size, architecture and licence of metadata-only experts."""
    for expert in store.experts():
        if not expert.runnable and given.get(expert.id):
            described = describe(expert, given[expert.id])
            if described != expert:
                store.put_expert(described)


def _count(value: str | float) -> int:
    """Return the number of parameters in a covariate, also written as 25M; 0 for what is none."""
    found = re.fullmatch(r"([0-9.]+)\s*([kmbg])", value.casefold()) if isinstance(value, str) else None
    size = number(found[1]) if found else value
    scale = _SUFFIXES[found[2]] if found else 1.0
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
