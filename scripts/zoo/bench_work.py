"""The long computation: every expert on every task, each finished cell written at once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from expertise_graph import Workspace
from expertise_graph.data.modalities.base import known_modalities
from expertise_graph.data.probe_sets import read_probe_set
from expertise_graph.features.similarity import centred_gram, sketch
from expertise_graph.models.zoo import starter_names
from expertise_graph.starter import __file__ as STARTER
from expertise_graph.training.device import private_rng
from expertise_graph.transferability.methods.ridge import ridge_predict
from expertise_graph.transferability.registry import estimators
from zoo import bench_published, bench_tasks
from zoo.bench_experts import IMAGE_SOURCES, Expert, obtain, plan
from zoo.bench_tasks import IMAGE_TASKS, TEXT_TASKS, Task
from zoo.bench_training import fresh, preparation
from zoo.bench_truth import Cell, evidence, fine_tune, predict, response
from zoo.labelled import generator, square

SLOW = {"linear_probe_accuracy"}
"""Estimators that cost about as much as a fine-tune."""
PROBES = Path(STARTER).parent / "probes"


@dataclass(frozen=True)
class Work:
    """The folder of a computation that may be stopped and taken up at any time."""

    cache: Path
    folder: Path

    def names(self) -> list[str]:
        """Return all experts: the starter ones, those trained here, and among them the published ones."""
        own, second = list(plan()), len(plan()) - len(IMAGE_SOURCES)
        others, small = list(bench_published.PUBLISHED), bench_published.CHEAP
        return [*bench_published.STARTER, *own[:second], *others[:small], *own[second:], *others[small:]]

    def expert(self, name: str) -> Expert:
        """Return an expert in memory."""
        if name in plan():
            return obtain(name, self.cache, self.folder / "experts")
        return bench_published.obtain(name, self.cache, self.folder / "published")

    def task(self, name: str, per_class: int = bench_tasks.TRAIN) -> Task:
        """Return a task with so many training items of a class, built on first use and kept."""
        suffix = "" if per_class == bench_tasks.TRAIN else f"-{per_class}"
        path = self.folder / "tasks" / f"{name}{suffix}.npz"
        if not path.exists():
            _save_task(bench_tasks.build(name, self.cache, per_class), path)
        return _load_task(path)

    def starters(self, name: str) -> Workspace:
        """Open the workspace of that name, made on first use, with all starter experts."""
        home = self.folder / name
        workspace = Workspace(home) if (home / "registry.db").exists() else Workspace.init(home)
        known = {expert.locator for expert in workspace.experts()}
        for starter in [n for n in starter_names() if n not in known]:
            workspace.register(f"zoo:{starter}")
        return workspace

    def probes(self, expert: Expert) -> tuple[NDArray[np.float32], float]:
        """Return an expert's features of the shipped probe set, and the milliseconds a probe took."""
        found = read_probe_set(PROBES / f"{expert.modality}-v1.zip").items
        if expert.modality == "image":
            samples = [square(_open(probe)) for probe in found]
            items: object = np.stack([np.asarray(s) for s in samples]).transpose(0, 3, 1, 2)
        else:
            items = [str(probe) for probe in found]
        inputs = expert.prepare(items)
        started = time.process_time()
        features = predict(expert.module, inputs, np.arange(len(found))).numpy()
        return features, 1000 * (time.process_time() - started) / len(found)

    def run(self, name: str, *, seed: int = 0, only: Iterable[str] | None = None) -> str:
        """Compute what is missing of an expert's cells; return a line on it."""
        torch.set_num_threads(1)
        started = time.perf_counter()
        expert = self.expert(name)
        log = self.folder / "cells" / f"{name}.jsonl"
        done = {(row["task"], row["seed"]) for row in rows(log)}
        probes, milliseconds = self.probes(expert)
        self._describe(expert, probes, milliseconds)
        wanted = only or (IMAGE_TASKS if expert.modality == "image" else TEXT_TASKS)
        missing = [task for task in wanted if (task, seed) not in done]
        for task in missing:
            row = self._cell(expert, self.task(task), probes, seed)
            _append(log, row)
        return f"{name}: {len(missing)} cells, {time.perf_counter() - started:.0f} s"

    def again(self, name: str, share: float) -> str:
        """Repeat a random share of an expert's cells with a second order of the batches."""
        done = {row["task"] for row in rows(self.folder / "cells" / f"{name}.jsonl")}
        chosen = [task for task in sorted(done) if generator("again", name, task).random() < share]
        return self.run(name, seed=1, only=chosen)

    def baseline(self, name: str) -> str:
        """Measure what a task gives without any expert: from scratch, and ridge on raw inputs."""
        torch.set_num_threads(1)
        task = self.task(name)
        kind = "vgg" if task.modality == "image" else "tiny-bert"
        with private_rng(0):
            module = fresh(kind)
        items = task.items
        expert = Expert(
            name=kind,
            modality=task.modality,
            architecture=kind,
            module=module,
            prepare=preparation(kind),
            source="",
        )
        scratch = fine_tune(Cell.of(expert, task), scratch=module)
        if task.modality == "image":
            items = [Image.fromarray(image.transpose(1, 2, 0)) for image in task.items]
        raw = known_modalities[task.modality].raw_features(items)
        learn, test = np.concatenate([task.rows["train"], task.rows["validation"]]), task.rows["test"]
        guess = ridge_predict(raw[learn], task.labels[learn], raw[test]).argmax(1).numpy()
        counts = np.bincount(task.labels[test])
        row = {
            "task": name, "architecture": kind, "from_scratch": scratch["value"],
            "ridge_raw": float((guess == task.labels[test]).mean()),
            "majority": float(counts.max() / counts.sum()),
        }  # fmt: skip
        _append(self.folder / "baselines.jsonl", row)
        return f"baseline {name}"

    def evidence(self, name: str, slow: bool = False) -> str:
        """Work out the estimators, the fast or the slow ones, from the kept features of an expert."""
        torch.set_num_threads(1)
        log = self.folder / ("slow" if slow else "evidence") / f"{name}.jsonl"
        done = {row["task"] for row in rows(log)}
        chosen = [n for n in estimators if estimators[n].needs == "features" and (n in SLOW) == slow]
        for path in sorted((self.folder / "features" / name).glob("*.npy")):
            if path.stem not in done and "." not in path.stem:
                features = np.load(path)
                labels = self.task(path.stem).labels[: len(features)]
                found = evidence(features, labels, chosen)
                _append(log, {"expert": name, "task": path.stem, "scores": found})
        return f"evidence of {name}"

    def _cell(self, expert: Expert, task: Task, probes: NDArray[np.float32], seed: int) -> dict[str, object]:
        cell = Cell.of(expert, task)
        row: dict[str, object] = {"expert": expert.name, "task": task.name, "seed": seed}
        if seed == 0:
            features, seconds = cell.features()
            labels = task.labels[: len(features)]
            row["forward"] = (len(features), seconds)
            folder = self.folder / "features" / expert.name
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / f"{task.name}.npy", features)
            np.save(folder / f"{task.name}.response.npy", response(features, labels, probes))
        return {**row, **fine_tune(cell, seed=seed)}

    def _describe(self, expert: Expert, probes: NDArray[np.float32], milliseconds: float) -> None:
        folder = self.folder / "about"
        folder.mkdir(parents=True, exist_ok=True)
        params = sum(p.numel() for p in expert.module.parameters())
        about = {
            "expert": expert.name, "modality": expert.modality, "architecture": expert.architecture,
            "params": params, "bytes": 4 * params, "dim": probes.shape[1], "source": expert.source,
            "source_task": expert.source_task, "source_accuracy": expert.source_accuracy,
            "quality": expert.quality, "ms_per_sample": milliseconds, "license": expert.license,
            "origin": expert.origin,
        }  # fmt: skip
        np.save(folder / f"{expert.name}.npy", sketch(centred_gram(probes)))
        np.save(folder / f"{expert.name}.probes.npy", probes)
        (folder / f"{expert.name}.json").write_text(json.dumps(about) + "\n", encoding="utf-8")


def rows(log: Path) -> list[dict[str, Any]]:
    """Return the finished cells of a log; a last line that was cut off does not count."""
    if not log.exists():
        return []
    text = log.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        log.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def _append(log: Path, row: Mapping[str, object]) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as content:
        content.write(json.dumps(row) + "\n")


def _open(item: object) -> Image.Image:
    return Image.open(BytesIO(item) if isinstance(item, bytes) else str(item))


def _save_task(task: Task, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{time.time_ns()}.npz")
    about = {"name": task.name, "modality": task.modality, "source": task.source, "license": task.license}
    content: dict[str, Any] = {f"rows {part}": found for part, found in task.rows.items()}
    np.savez(partial, items=np.asarray(task.items), labels=task.labels, about=json.dumps(about), **content)
    partial.rename(path)


def _load_task(path: Path) -> Task:
    with np.load(path) as stored:
        about = json.loads(str(stored["about"]))
        items = stored["items"]
        parts = {key[5:]: stored[key] for key in stored.files if key.startswith("rows ")}
        return Task(
            items=items if about["modality"] == "image" else [str(x) for x in items],
            labels=stored["labels"], rows=parts, **about,
        )  # fmt: skip
