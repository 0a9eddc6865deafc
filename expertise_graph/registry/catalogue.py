"""The catalogue: published models that are known by what is written about them, with public results."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from expertise_graph import starter
from expertise_graph.core import (
    FOOTPRINT,
    UNKNOWN,
    DatasetError,
    Edge,
    Expert,
    Footprint,
    InvalidInputError,
    NotFoundError,
    Task,
    did_you_mean,
    new_folder,
    read_json_object,
    setting,
    sha256_of_file,
    write_json,
)
from expertise_graph.data import TableColumn, read_rows, write_rows
from expertise_graph.registry.imports.names import named_task

CATALOGUE_VARIABLE, NO_CATALOGUE = "EXPERTISE_GRAPH_CATALOGUE", "none"
"""Environment variable that names the folder of a catalogue, and its value for none."""

FORMAT = 1
MULTILINGUAL = "mul"
"""Language of models that are made for many, where the list of them is not known."""
METHOD = "published"
"""Method of edges from the catalogue; where each is from stands in its `meta`."""

_MANIFEST = "catalogue.json"
# Rows and bytes of a column that a catalogue may have: ten times what ships, as others may be made elsewhere.
_MOST_ROWS, _MOST_BYTES = 1_000_000, 1 << 28
_TABLES: Mapping[str, tuple[TableColumn, ...]] = {
    "models": (
        TableColumn("model"),
        TableColumn("modality"),
        TableColumn("params", "whole", optional=True),
        TableColumn("bytes", "whole", optional=True),
        TableColumn("dim", "whole", optional=True),
        TableColumn("license"),
        TableColumn("revision", optional=True),
        TableColumn("languages", "strings"),
        TableColumn("max_tokens", "whole", optional=True),
        TableColumn("trained_on", "strings"),
        TableColumn("pretraining"),
        TableColumn("gated", "flag"),
        TableColumn("remote_code", "flag"),
        TableColumn("base_model", optional=True),
        TableColumn("released", optional=True),
        TableColumn("safetensors", "flag", optional=True),
        TableColumn("weights_sha", optional=True),
        TableColumn("source"),
    ),
    "results": (
        TableColumn("model"),
        TableColumn("modality"),
        TableColumn("task"),
        TableColumn("metric"),
        TableColumn("value", "number"),
        TableColumn("method"),
        TableColumn("source"),
    ),
    "tasks": (TableColumn("task"), TableColumn("kind"), TableColumn("license")),
}
# Tables that catalogues of earlier versions lack.
_LATER: Mapping[str, tuple[TableColumn, ...]] = {
    "networks": (
        TableColumn("model"),
        TableColumn("modality"),
        *(TableColumn(f.name, "whole" if f.type == "int" else "number") for f in fields(Footprint)),
    ),
}
# What a node keeps of a row beside its own fields.
_META = (
    "languages",
    "max_tokens",
    "trained_on",
    "pretraining",
    "gated",
    "remote_code",
    "released",
    "weights_sha",
)


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Known models as nodes without weights, the tasks they were measured on, and the results as edges.

    Attributes:
        version: date of what it was made from.
        models: a node for each modality of a model; its name is what `register` takes.
        tasks: known by name only.
        results: transfer edges; `meta["origin"]` says where each is from.
    """

    version: str
    models: tuple[Expert, ...]
    tasks: tuple[Task, ...]
    results: tuple[Edge, ...]

    @cached_property
    def _by_model(self) -> dict[str, list[Edge]]:
        found: dict[str, list[Edge]] = {}
        for edge in self.results:
            found.setdefault(edge.source, []).append(edge)
        return found

    @cached_property
    def names(self) -> frozenset[str]:
        """What `register` takes of each model."""
        return frozenset(model.name for model in self.models)

    def results_of(self, model: Expert) -> list[Edge]:
        """Return the results of a model."""
        return self._by_model.get(model.id, [])

    def find(self, text: str) -> list[Expert]:
        """Return the nodes of the one model that a name, or its part after the scheme or the owner, means.

        Raises:
            NotFoundError: for none or several.
        """
        wanted = text.casefold()
        for called in (str, _without_scheme, _without_owner):
            found = {m.name for m in self.models if called(m.name).casefold() == wanted}
            if len(found) > 1:
                raise NotFoundError(f"{text!r} names {', '.join(sorted(found))}: give the whole name")
            if found:
                return [m for m in self.models if m.name in found]
        names = sorted({m.name for m in self.models} | {m.name.rpartition("/")[2] for m in self.models})
        raise NotFoundError(
            f"no known model {text!r} among {len({m.name for m in self.models})}.{did_you_mean(text, names)}"
        )


def _without_scheme(name: str) -> str:
    return name.partition(":")[2]


def _without_owner(name: str) -> str:
    return name.rpartition("/")[2]


def find_catalogue(workspace: Path | None = None) -> Catalogue | None:
    """Return the catalogue in use: that of the environment, of the workspace, or the shipped one.

    Args:
        workspace: folder whose ``catalogue/`` counts before the shipped one.

    Raises:
        NotFoundError, DatasetError: when it is not there, or damaged.
    """
    given = os.environ.get(CATALOGUE_VARIABLE)
    if given == NO_CATALOGUE:
        return None
    return read_catalogue(catalogue_folder(workspace))


def catalogue_folder(workspace: Path | None) -> Path:
    """Return the folder of the catalogue of a workspace, or of the shipped one."""
    given = os.environ.get(CATALOGUE_VARIABLE)
    if given and given != NO_CATALOGUE:
        return Path(given).expanduser()
    own = None if workspace is None else workspace / "catalogue"
    return own if own and (own / _MANIFEST).is_file() else starter.catalogue_folder()


def catalogue_rows(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each table of a catalogue, verified.

    Raises:
        NotFoundError, DatasetError: as `read_catalogue`.
    """
    read_catalogue(folder)
    return _tables(folder)


def write_catalogue(
    folder: Path,
    *,
    models: Iterable[Mapping[str, Any]],
    results: Iterable[Mapping[str, Any]],
    tasks: Iterable[Mapping[str, Any]],
    version: str,
    networks: Iterable[Mapping[str, Any]] = (),
) -> None:
    """Write a catalogue: its tables, and a manifest with their checksums.

    Args:
        folder: made where it is missing.
        models: rows, see docs/catalogue.md for the columns.
        results: rows; of models that are among them.
        tasks: rows.
        version: date of what it was made from.
        networks: rows; what an input costs models whose configuration is known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given = {"models": models, "results": results, "tasks": tasks, "networks": networks}
    rows_of = {name: list(rows) for name, rows in given.items()}
    manifest: dict[str, Any] = {"format": FORMAT, "version": version, "tables": {}}
    for name, columns in {**_TABLES, **_LATER}.items():
        path, rows = folder / f"{name}.parquet", rows_of[name]
        if name in _LATER and not rows:
            continue
        write_rows(path, columns, rows)
        manifest["tables"][name] = {"rows": len(rows), "sha256": sha256_of_file(path)}
    write_json(folder / _MANIFEST, manifest)


def read_catalogue(folder: Path) -> Catalogue:
    """Return the catalogue in a folder, its checksums verified; read once a process.

    Raises:
        NotFoundError: when there is none.
        DatasetError: when a file is not what was written, or a later version wrote it.
    """
    path = folder / _MANIFEST
    if not path.is_file():
        raise NotFoundError(f"{folder} holds no catalogue: there is no {_MANIFEST}")
    return _read(folder, sha256_of_file(path))


def _tables(folder: Path) -> dict[str, list[dict[str, Any]]]:
    manifest = read_json_object(folder / _MANIFEST)
    if manifest.get("format") != FORMAT:
        raise DatasetError(
            f"the catalogue in {folder} has format {manifest.get('format')!r}, this version reads {FORMAT}: "
            "update the package, or the catalogue"
        )
    tables = manifest.get("tables")
    known = tables if isinstance(tables, dict) else {}
    found = {n: _rows(folder, n, columns, known.get(n)) for n, columns in _TABLES.items()}
    return found | {
        n: _rows(folder, n, columns, known[n]) if n in known else [] for n, columns in _LATER.items()
    }


@lru_cache(maxsize=2)
def _read(folder: Path, _: str) -> Catalogue:
    rows, manifest = _tables(folder), read_json_object(folder / _MANIFEST)
    kinds = {row["task"]: row for row in rows["tasks"]}
    costs = {(row["model"], row["modality"]): row for row in rows["networks"]}
    models = {key: _node(m, costs.get(key)) for m in rows["models"] for key in [(m["model"], m["modality"])]}
    results = [r for r in rows["results"] if (r["model"], r["modality"]) in models]
    modalities: dict[str, set[str]] = {}
    for r in results:
        modalities.setdefault(r["task"], set()).add(r["modality"])
    # A task that models of several modalities were measured on is of none of them alone.
    tasks = {t: _task(t, next(iter(of)) if len(of) == 1 else UNKNOWN) for t, of in modalities.items()}
    return Catalogue(
        version=str(manifest.get("version")),
        models=tuple(models.values()),
        tasks=tuple(tasks.values()),
        results=tuple(
            _edge(r, models[r["model"], r["modality"]], tasks[r["task"]], _about(r["task"], kinds))
            for r in results
        ),
    )


def _about(task: str, kinds: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the row on a task; benchmarks call it without their own name before it."""
    return kinds.get(task) or kinds.get(task.rpartition("/")[2]) or {}


def _rows(folder: Path, name: str, columns: Sequence[TableColumn], expected: object) -> list[dict[str, Any]]:
    path, given = folder / f"{name}.parquet", expected if isinstance(expected, dict) else {}
    count = given.get("rows")
    whole = type(count) is int and 0 <= count <= _MOST_ROWS
    if not whole or not path.is_file() or sha256_of_file(path) != given.get("sha256"):
        raise DatasetError(
            f"the catalogue in {folder} is damaged: {path.name} is not what was written; "
            "update it, or remove it"
        )
    rows = read_rows(path, columns, rows=int(str(count)), most_bytes=_MOST_BYTES)
    for column in columns:
        values = [row[column.name] for row in rows if row[column.name] is not None]
        if column.kind == "number" and not all(math.isfinite(v) for v in values):
            raise DatasetError(f"{path.name} in {folder} has a {column.name} that is no finite number")
        if column.kind == "whole" and any(v < 0 for v in values):
            raise DatasetError(f"{path.name} in {folder} has negative {column.name}")
    return rows


def _node(row: Mapping[str, Any], costs: Mapping[str, Any] | None) -> Expert:
    meta = {name: row[name] for name in _META if row[name] not in (None, "", [], False)}
    return replace(
        Expert.named(row["model"]),
        id=f"known:{row['modality']}:{row['model']}",
        modality=row["modality"],
        params=row["params"] or 0,
        bytes=row["bytes"] or 0,
        dim=row["dim"] or 0,
        revision=row["revision"],
        license=row["license"],
        base_model=row["base_model"],
        datasets=tuple(row["trained_on"]),
        weights_format="safetensors" if row["safetensors"] else UNKNOWN,
        meta={
            **meta,
            "origin": row["source"],
            **({"safetensors": False} if row["safetensors"] is False else {}),
            **({} if costs is None else {FOOTPRINT: {f.name: costs[f.name] for f in fields(Footprint)}}),
        },
    )


def _task(name: str, modality: str) -> Task:
    return replace(named_task(name), modality=modality)


def _edge(row: Mapping[str, Any], model: Expert, task: Task, about: Mapping[str, Any]) -> Edge:
    return Edge(
        kind="transfer",
        source=model.id,
        target=task.id,
        weight=row["value"],
        metric=row["metric"],
        method=METHOD,
        version=row["method"],
        meta={
            "origin": row["source"],
            "task": row["task"],
            "kind": about.get("kind"),
            "task_license": about.get("license"),
        },
    )


def install_catalogue(source: Path, workspace: Path) -> Catalogue:
    """Copy a catalogue, verified, to the ``catalogue/`` of a workspace, whole or not at all; return it.

    Raises:
        NotFoundError, DatasetError: as `read_catalogue`.
    """
    found, target = read_catalogue(source), workspace / "catalogue"
    with new_folder(workspace / "catalogue.new") as folder:
        for name in (_MANIFEST, *(f"{table}.parquet" for table in (*_TABLES, *_LATER))):
            if name.removesuffix(".parquet") not in _LATER or (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
        read_catalogue(folder)
    # Between the two the shipped catalogue is in use.
    shutil.rmtree(target, ignore_errors=True)
    (workspace / "catalogue.new").rename(target)
    return found


# Codes of two letters (ISO 639-1) of what the catalogue has in three (639-3).
_TWO_LETTERS: Mapping[str, tuple[str, ...]] = {
    "ar": ("ara", "arb"), "bg": ("bul",), "bn": ("ben",), "cs": ("ces",), "da": ("dan",), "de": ("deu",),
    "el": ("ell",), "en": ("eng",), "es": ("spa",), "et": ("est",), "fa": ("fas", "pes"), "fi": ("fin",),
    "fr": ("fra",), "he": ("heb",), "hi": ("hin",), "hr": ("hrv",), "hu": ("hun",), "id": ("ind",),
    "it": ("ita",), "ja": ("jpn",), "ko": ("kor",), "lt": ("lit",), "lv": ("lav", "lvs"),
    "ms": ("msa", "zsm"), "nl": ("nld",), "no": ("nor", "nob"), "pl": ("pol",),
    "pt": ("por",), "ro": ("ron",), "ru": ("rus",), "sk": ("slk",), "sl": ("slv",), "sr": ("srp",),
    "sv": ("swe",), "ta": ("tam",), "te": ("tel",),
    "th": ("tha",), "tr": ("tur",), "uk": ("ukr",), "ur": ("urd",), "vi": ("vie",), "zh": ("zho", "cmn"),
}  # fmt: skip


def speaks(model: Expert, language: str) -> bool:
    """Tell whether a model is known to be made for a language.

    Args:
        model: its `meta["languages"]` are codes of ISO 639, or "multilingual"; without any nothing is known.
        language: code of two or three letters, a region after a dash is ignored.

    Raises:
        InvalidInputError: when it is no such code.
    """
    code = language.casefold().partition("-")[0]
    wanted = _TWO_LETTERS.get(code, (code,))
    if len(wanted[0]) != 3 or not wanted[0].isalpha():
        raise InvalidInputError(
            f"{setting('language', language)} is not known: give a code of ISO 639, e.g. de or deu"
        )
    made_for = {
        name
        for given in model.meta.get("languages", ())
        for name in _TWO_LETTERS.get(str(given).casefold().partition("-")[0], (str(given).casefold()[:3],))
    }
    return not {*wanted, MULTILINGUAL}.isdisjoint(made_for)
