"""Covariates: what is known about experts besides their results."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from expertise_graph.core import METADATA, Expert, InvalidInputError
from expertise_graph.registry.imports.frame import ImportOptions, ImportReport, finish, last_values
from expertise_graph.registry.imports.names import Names
from expertise_graph.registry.imports.table import MISSING, File, TextTable, cell, number, read_table
from expertise_graph.store import Store

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

_DEFAULT = ImportOptions()


def import_meta(store: Store, file: File, options: ImportOptions = _DEFAULT) -> ImportReport:
    """Store every column but the expert's as a covariate; the last value of a name counts.

    Raises:
        InvalidInputError: when anything in the file cannot be used; nothing is stored then.
    """
    table = read_table(file, skip_invalid=options.skip_invalid)
    rows = _rows(table, options)
    with store.transaction():
        names = Names(store, table.name, options.modality)
        given = [(names.expert(name), values) for name, values in rows]
        pairs = (((expert, name), value) for expert, values in given for name, value in values.items())
        stored = store.covariates({expert for expert, _ in given})
        known = {(expert, name): v for expert, values in stored.items() for name, v in values.items()}
        new, duplicates, repeats = last_values(pairs, known)
        report = ImportReport(
            kind="covariates",
            file=table.name,
            dry_run=options.dry_run,
            rows=len(table.rows),
            added=len(new),
            duplicates=duplicates,
            repeats=repeats,
        )
        return finish(names, table, report, lambda: _write(store, new, table.name))


def _rows(table: TextTable, options: ImportOptions) -> list[tuple[str, Values]]:
    """Return the expert and the covariates of each row, missing ones left out."""
    expert = table.need("expert", options.columns)
    columns = table.others([expert], options.ignore)
    if not columns:
        raise InvalidInputError(f"{table.name} has no column beside the expert's; {table.there_are}")
    rows = []
    for line, row in zip(table.lines, table.rows, strict=True):
        name = cell(row, expert)
        if not name:
            table.left_out.invalid(f"line {line}", "no expert", "without expert")
            continue
        text = {table.columns[i]: cell(row, i) for i in columns}
        rows.append((name, {k: _value(v) for k, v in text.items() if v.casefold() not in MISSING}))
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
        if described != node:
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
