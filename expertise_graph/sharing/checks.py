"""What a row from elsewhere must be like before it may stand in this registry."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from expertise_graph.core import LENGTHS, METADATA, MOST_SEED, InvalidInputError, shorten
from expertise_graph.sharing.format import KEYS, KINDS_OF_EDGES, TABLES, Snapshot
from expertise_graph.sharing.privacy import META, PUBLIC_SOURCES, is_public
from expertise_graph.store import LEARNT_TASKS

# Names, ids and texts of people are short; a longer one is something else.
_MOST_TEXT = 1024
# Classes of a task: data sets of species have ten thousands.
_MOST_CLASSES = 200_000
# Nothing that is measured is larger, as for numbers in tables; of whole numbers what SQLite has.
_LARGEST, _LARGEST_WHOLE = 1e30, 2**62
_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?")
_SHA = re.compile(r"[0-9a-f]{64}|")
_KEY = re.compile(r"[0-9a-f]{64}")
# The fields of the recipe of an expert with their types.
_RECIPE: Mapping[str, tuple[type, ...]] = {
    "version": (int,),
    "max_tokens": (int,),
    "prompt": (str, type(None)),
}
_INPUT: Mapping[str, tuple[type, ...]] = {
    "size": (int,),
    "channels": (int,),
    "mean": (list,),
    "std": (list,),
    "transform": (type(None),),
}


def check(snapshot: Snapshot, place: str) -> None:
    """Refuse a snapshot of which any row is not what this program could have written.

    Raises:
        InvalidInputError: naming the table, the row and what is wrong with it.
    """
    for table, rows in snapshot.tables.items():
        seen = set()
        for number, row in enumerate(rows, 1):
            wrong = next(_faults(table, row), None)
            key = tuple(row[name] for name in KEYS.get(table, ()))
            if wrong is None and key and key in seen:
                wrong = f"{key[0]!r} stands there twice"
            if wrong is not None:
                raise InvalidInputError(
                    f"{place} is not a registry that can be merged: row {number:,} of {table}: "
                    f"{shorten(wrong, 200)}; nothing was merged"
                )
            seen.add(key)
    _check_references(snapshot, place)


def _faults(table: str, row: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a row, the types of its cells first."""
    for column in TABLES[table]:
        if column.name in ("tensor", "row"):
            continue
        value = row[column.name]
        if value is None and column.optional:
            continue
        if column.name == "meta":
            if not isinstance(value, dict) or len(json.dumps(value)) > 64 * _MOST_TEXT:
                yield "its meta is not a JSON object"
        elif not _fits(value, column.kind):
            yield f"{column.name} is {value!r}"
    if table in _OF_TABLES:
        yield from _OF_TABLES[table](row)
    if table != "responses" and not _TIME.fullmatch(row["created_at"]):
        yield f"created_at is {row['created_at']!r}"


def _fits(value: Any, kind: str) -> bool:
    if kind == "string":
        return isinstance(value, str) and len(value) <= _MOST_TEXT and "\0" not in value
    if kind == "strings":
        return (
            isinstance(value, list) and len(value) <= _MOST_CLASSES and all(_fits(v, "string") for v in value)
        )
    if kind == "flag":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind == "whole":
        return isinstance(value, int) and abs(value) <= _LARGEST_WHOLE
    return isinstance(value, int | float) and abs(value) <= _LARGEST and math.isfinite(value)


def _expert(row: Mapping[str, Any]) -> Iterator[str]:
    for name in ("params", "bytes", "dim"):
        if row[name] < 0:
            yield f"{name} is {row[name]}"
    for name in ("weights_sha", "preprocessing_sha"):
        if not _SHA.fullmatch(row[name]):
            yield f"{name} is {row[name]!r}"
    source = row["source"]
    if source not in (METADATA, *PUBLIC_SOURCES) or ":" not in row["id"]:
        yield f"an expert from {source!r}, which nobody else can load"
    elif source != METADATA and not (is_public(row) and row["weights_sha"]):
        yield f"{row['id']!r} cannot be loaded by its locator {row['locator']!r}"
    elif {*row["meta"]} - {*META}:
        yield f"its meta has {min({*row['meta']} - {*META})!r}"
    elif not _is_known_meta(row):
        yield "its meta does not say how it is run"


def _is_known_meta(row: Mapping[str, Any]) -> bool:
    """Tell whether what is used to build and run an expert has the form that this program gives it."""
    meta = row["meta"]
    recipe, input_ = meta.get("recipe"), meta.get("input")
    texts = ("former_id", "former_preprocessing_sha", "newer_preprocessing_sha", "relation", "timm")
    return all(
        (
            recipe is None or _has_fields(recipe, _RECIPE),
            input_ is None or (row["source"] == "timm" and _has_fields(input_, _INPUT)),
            "timm" not in meta or meta["timm"] == row["locator"],
            all(isinstance(meta.get(name, ""), str) for name in (*texts, "base_model_relation")),
            all(_fits(meta.get(name, []), "strings") for name in ("towers", LEARNT_TASKS)),
        )
    )


def _has_fields(value: Any, fields: Mapping[str, tuple[type, ...]]) -> bool:
    return (
        isinstance(value, dict)
        and {*value} == {*fields}
        and all(isinstance(value[n], kinds) and not isinstance(value[n], bool) for n, kinds in fields.items())
        and all(_fits(v, "number") for n in ("mean", "std") for v in value.get(n, ()))
    )


def _edge(row: Mapping[str, Any]) -> Iterator[str]:
    if row["kind"] not in KINDS_OF_EDGES:
        yield f"kind is {row['kind']!r}"
    if (row["kind"] == "transfer") != (row["metric"] is not None):
        yield f"a relation of the kind {row['kind']} with the metric {row['metric']!r}"
    if not all(isinstance(v, bool) or _fits(v, "string") or _fits(v, "number") for v in row["meta"].values()):
        yield "its meta holds more than numbers and short texts"
    rung = row["meta"].get("rung", 0)
    if not isinstance(rung, int) or any(
        not isinstance(row["meta"].get(name, 0), int) for name in ("epochs", "n_train")
    ):
        yield "its meta has parts of numbers where whole ones stand"
    yield from _counted(row)


def _counted(row: Mapping[str, Any]) -> Iterator[str]:
    if row["n"] is not None and row["n"] < 0:
        yield f"n is {row['n']}"
    if row["seed"] is not None and not 0 <= row["seed"] <= MOST_SEED:
        yield f"seed is {row['seed']}"
    if (row.get("seconds") or 0) < 0:
        yield f"seconds is {row['seconds']}"


def _embedding(row: Mapping[str, Any]) -> Iterator[str]:
    if row["kind"] not in ("expert", "task"):
        yield f"kind is {row['kind']!r}"
    if len(row["vector"]) != LENGTHS.get(row["method"], len(row["vector"])) or not np.any(row["vector"]):
        yield f"its vector is none that {row['method']} makes"
    yield from _counted(row)


def _covariate(row: Mapping[str, Any]) -> Iterator[str]:
    try:
        value = json.loads(row["value"])
    except (ValueError, RecursionError):
        value = None
    if not _fits(value, "string") and not _fits(value, "number"):
        yield f"value is {row['value']!r}"


def _counted_node(row: Mapping[str, Any]) -> Iterator[str]:
    if row["n"] < 0 or ":" not in row["id"]:
        yield f"{row['id']!r} with n {row['n']}"


def _response(row: Mapping[str, Any]) -> Iterator[str]:
    if not _KEY.fullmatch(row["key"]):
        yield f"key is {row['key']!r}"


_OF_TABLES: Mapping[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "probe_sets": _counted_node,
    "experts": _expert,
    "tasks": _counted_node,
    "embeddings": _embedding,
    "edges": _edge,
    "scores": _counted,
    "covariates": _covariate,
    "responses": _response,
}


def _check_references(snapshot: Snapshot, place: str) -> None:
    """Refuse rows about nodes that are not among the rows; results of experts that were removed may stay."""
    ids = {name: {row["id"] for row in snapshot.tables[name]} for name in ("experts", "tasks", "probe_sets")}
    ids["nodes"] = ids["experts"] | ids["tasks"]
    for table, column, among in (
        ("embeddings", "owner", "nodes"),
        ("embeddings", "probe_set", "probe_sets"),
        ("scores", "expert", "experts"),
        ("scores", "task", "tasks"),
        ("covariates", "expert", "experts"),
        ("distances", "task", "tasks"),
        ("distances", "other", "tasks"),
    ):
        for number, row in enumerate(snapshot.tables[table], 1):
            if row[column] not in ids[among]:
                raise InvalidInputError(
                    f"{place} is not a registry that can be merged: row {number:,} of {table} is about "
                    f"{shorten(row[column], 80)!r}, which is not in it; nothing was merged"
                )
    lengths = {len(response) for response in snapshot.responses.values()}
    if lengths - {LENGTHS["landmark-ridge"]}:
        raise InvalidInputError(f"{place} has responses of another length; nothing was merged")
