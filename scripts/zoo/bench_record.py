"""The record of the benchmark zoo: what was computed, as tables and vectors of numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from zoo.bench_tasks import IMAGE_TASKS, PARTS, TEXT_TASKS, Task
from zoo.bench_work import Work, rows

EXPERT_COLUMNS = (
    "expert", "modality", "architecture", "params", "bytes", "dim", "source", "source_task",
    "source_accuracy", "quality", "ms_per_sample", "license", "origin",
)  # fmt: skip
TASK_COLUMNS = ("task", "modality", "classes", "n_train", "n_val", "n_test", "source", "license")
TRUTH_COLUMNS = ("expert", "task", "metric", "value", "seed", "n_train", "n_test", "seconds", "curve")
BASELINE_COLUMNS = ("task", "architecture", "from_scratch", "ridge_raw", "majority")
BY_MODALITY = {"image": tuple(IMAGE_TASKS), "text": tuple(TEXT_TASKS)}


def write(work: Work, folder: Path) -> dict[str, int]:
    """Write the record of the experts that have every task of their modality; return rows by table."""
    folder.mkdir(parents=True, exist_ok=True)
    cells = {name: rows(work.folder / "cells" / f"{name}.jsonl") for name in work.names()}
    complete = [name for name, found in cells.items() if _complete(work, name, found)]
    about = {name: _about(work, name) for name in complete}
    tasks = {name: work.task(name) for names in BY_MODALITY.values() for name in names}
    truth = [row for name in complete for row in cells[name]]
    tables: dict[str, tuple[Sequence[str], list[list[Any]]]] = {
        "experts": (EXPERT_COLUMNS, [[_short(about[n][c]) for c in EXPERT_COLUMNS] for n in complete]),
        "tasks": (TASK_COLUMNS, [_task(task) for task in tasks.values()]),
        "truth": (TRUTH_COLUMNS, [_run(row, tasks[row["task"]]) for row in truth]),
        "scores": (("expert", "task", "estimator", "value", "seconds"), list(_scores(work, truth))),
        "baselines": (
            BASELINE_COLUMNS,
            [[_short(row[c]) for c in BASELINE_COLUMNS] for row in rows(work.folder / "baselines.jsonl")],
        ),
    }
    for name, (columns, lines) in tables.items():
        _table(folder / f"{name}.csv", columns, lines)
    _vectors(work, folder, {m: [n for n in complete if about[n]["modality"] == m] for m in BY_MODALITY})
    return {name: len(lines) for name, (_, lines) in tables.items()}


def _task(task: Task) -> list[Any]:
    sizes = [len(task.rows[part]) for part in PARTS]
    return [task.name, task.modality, task.classes, *sizes, task.source, _brief(task.license)]


def _run(row: Mapping[str, Any], task: Task) -> list[Any]:
    sizes = [len(task.rows[part]) for part in ("train", "test")]
    curve = json.dumps([round(v, 4) for v in row["curve"]], separators=(",", ":"))
    named = [row["expert"], row["task"], "accuracy", _short(row["value"]), row["seed"]]
    return [*named, *sizes, _short(row["seconds"], 3), curve]


def _complete(work: Work, name: str, found: Sequence[dict[str, Any]]) -> bool:
    path = work.folder / "about" / f"{name}.json"
    if not path.exists():
        return False
    wanted = set(BY_MODALITY[json.loads(path.read_text(encoding="utf-8"))["modality"]])
    return wanted <= {row["task"] for row in found if row["seed"] == 0}


def _about(work: Work, name: str) -> dict[str, Any]:
    about: dict[str, Any] = json.loads((work.folder / "about" / f"{name}.json").read_text(encoding="utf-8"))
    return about


def _scores(work: Work, truth: Iterable[Mapping[str, Any]]) -> Iterable[list[Any]]:
    names = dict.fromkeys(row["expert"] for row in truth)
    known: dict[tuple[str, str], dict[str, Any]] = {}
    for name in names:
        for folder in ("slow", "evidence"):
            for found in rows(work.folder / folder / f"{name}.jsonl"):
                known.setdefault((name, found["task"]), {}).update(found["scores"])
    for row in truth:
        if row["seed"] == 0:
            scores = {"forward": row["forward"], **known.get((row["expert"], row["task"]), {})}
            for estimator, (value, seconds) in scores.items():
                yield [row["expert"], row["task"], estimator, _short(value), _short(seconds, 2)]


def _vectors(work: Work, folder: Path, experts: dict[str, list[str]]) -> None:
    embeddings, responses = {}, {}
    for modality, names in experts.items():
        if names:
            embeddings[modality] = np.stack([np.load(work.folder / "about" / f"{n}.npy") for n in names])
            responses[modality] = np.stack([_responses(work, n, BY_MODALITY[modality]) for n in names])
    order = {"experts": json.dumps(experts), "tasks": json.dumps(BY_MODALITY)}
    save_file(embeddings, folder / "embeddings.safetensors", {"experts": order["experts"]})
    save_file(responses, folder / "responses.safetensors", order)
    for name in ("embeddings", "responses"):
        (folder / f"{name}.safetensors").chmod(0o644)


def _responses(work: Work, name: str, tasks: Iterable[str]) -> NDArray[np.float16]:
    # Sketches of matrices of norm one: no entry comes near the limits of half precision.
    found = [np.load(work.folder / "features" / name / f"{task}.response.npy") for task in tasks]
    return np.stack(found).astype(np.float16)


def _table(path: Path, columns: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as content:
        writer = csv.writer(content, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(lines)
    partial.replace(path)


def _short(value: Any, digits: int = 5) -> Any:
    if value is None:
        return ""
    return f"{value:.{digits}g}" if isinstance(value, float) else value


def _brief(license: str) -> str:
    return license if len(license) < 80 else "several free licences"
