"""Published results as histories: experts x tasks, on the scale that the engine works on."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from published import published

Array = NDArray[np.float64]

FEWEST = 8
"""Results that a task needs to be held out, and an expert two to be in the table."""


def tables() -> Iterator[tuple[str, Array]]:
    """Yield the name and the accuracies (E, T), NaN where none was measured, of each table."""
    for name in ("audio", "image", "text"):
        yield f"mteb {name}", _long(published("mteb") / f"{name}.csv", "expert", "task", "value")
    yield "open_clip", _long(published("open_clip") / "results.csv", "expert", "task", "value")
    yield "vtab", _long(published("vtab_leaderboard") / "results_1000.csv", "expert", "task", "value")
    records = published("transfergraph_image") / "records.csv"
    yield "transfergraph", _long(records, "model", "finetuned_dataset", "eval_accuracy", without="food101")
    yield "recycling", _wide(published("model_recycling") / "roberta_base_models.csv")


def _long(path: Path, expert: str, task: str, value: str, *, without: str = "") -> Array:
    best: dict[tuple[str, str], float] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row[task] == without or row.get("metric", "accuracy") != "accuracy" or not row[value]:
                continue
            key = row[expert], row[task]
            best[key] = max(best.get(key, -np.inf), float(row[value]))
    experts, tasks = sorted({e for e, _ in best}), sorted({t for _, t in best})
    found = np.full((len(experts), len(tasks)), np.nan)
    rows, columns = {e: i for i, e in enumerate(experts)}, {t: j for j, t in enumerate(tasks)}
    for (e, t), accuracy in best.items():
        found[rows[e], columns[t]] = accuracy
    return _dense_enough(found)


def _wide(path: Path) -> Array:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    other = {
        "model_name", "base_model", "size", "tokenizer", "model_type", "classification", "layers",
        "from_flax", "from_tf", "last_modified", "mnli_lp", "avg", "rank",
    }  # fmt: skip
    names = [n for n in rows[0] if n not in other]
    found = np.array([[_number(row[n]) for n in names] for row in rows])
    found = found[:, ~np.isnan(found).all(axis=0)]
    return _dense_enough(found / 100.0 if np.nanmax(found) > 1 else found)


def _number(cell: str | None) -> float:
    try:
        return float(cell or "nan")
    except ValueError:
        return np.nan


def _dense_enough(found: Array) -> Array:
    while True:
        rows, columns = (~np.isnan(found)).sum(axis=1) >= 2, (~np.isnan(found)).sum(axis=0) >= FEWEST
        if rows.all() and columns.all():
            return found
        found = found[rows][:, columns]
