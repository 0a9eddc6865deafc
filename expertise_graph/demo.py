"""The whole loop on real models and real data: register, query, warm-start, and what came of it."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from expertise_graph.core import Expert, ExpertiseError, Progress, Query, Ranking, WarmStart
from expertise_graph.models import RunFolder, installed, starter_names
from expertise_graph.starter import task_archives
from expertise_graph.training import TrainConfig, TrainingProgress
from expertise_graph.workspace import Workspace

BUDGET = 6
EPOCHS = 6
ASKED_ONLY = ("emoji-redrawn",)
"""Tasks that are asked about but not trained on unless named, to keep the demo short."""


@dataclass(frozen=True, kw_only=True)
class TaskSummary:
    """What the demo found on one task."""

    task: str
    expert: str
    predicted: float
    warm_accuracy: float
    cold_accuracy: float
    experts_run: int
    experts_run_again: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One task of the demo: the answer, the training, and its line in the summary."""

    ranking: Ranking
    result: WarmStart
    summary: TaskSummary


class Demo:
    """The demo in a folder of its own; nothing outside of it is touched.

    Args:
        out: the folder; it gets a workspace, the example data, the runs and the pictures.
        progress: told what is being run.
        report: told how training goes.
    """

    def __init__(self, out: Path, progress: Progress, report: Callable[[TrainingProgress], None]) -> None:
        self.out = out
        self.report = report
        self.started = time.perf_counter()
        self.workspace = Workspace.init(out / "workspace", progress=progress)

    def register(self) -> Iterator[tuple[str, Expert | ExpertiseError]]:
        """Register every starter expert whose weights are on this machine, one after the other."""
        for name in filter(installed, starter_names()):
            try:
                yield name, self.workspace.register(f"zoo:{name}")
            except ExpertiseError as error:
                yield name, error

    def tasks(self) -> list[str]:
        """Return the names of the example tasks."""
        return sorted(task_archives())

    def data(self, task: str) -> Path:
        """Return the folder of an example task, unpacked."""
        folder = self.out / "data" / task
        with zipfile.ZipFile(task_archives()[task]) as archive:
            archive.extractall(folder)
        return folder

    def ask(self, task: str) -> Ranking:
        """Query with an example task."""
        return self.workspace.query(self.data(task), Query(budget=BUDGET))

    def run(self, task: str) -> Chapter:
        """Query, query again, and train warm and cold from the best expert.

        A demo that was interrupted goes on with the expert it had begun from.
        """
        start = time.perf_counter()
        begun = RunFolder(self.out / task).is_run
        data = self.workspace.read(self.data(task))
        ranking = self.workspace.query(data, Query(budget=BUDGET))
        again = self.workspace.query(data, Query(budget=BUDGET, top=len(self.workspace.experts())))
        result = self.workspace.warm_start(
            data,
            self.out / task,
            expert=None if begun else ranking.best.expert.id,
            config=TrainConfig(epochs=EPOCHS),
            compare_cold=True,
            report=self.report,
        )
        chosen = next(c for c in again.candidates if c.expert.id == result.expert)
        summary = TaskSummary(
            task=task,
            expert=chosen.expert.short,
            predicted=chosen.predicted,
            warm_accuracy=result.accuracy,
            cold_accuracy=result.cold_accuracy or 0.0,
            experts_run=ranking.experts_run,
            experts_run_again=again.experts_run,
            seconds=time.perf_counter() - start,
        )
        return Chapter(ranking=ranking, result=result, summary=summary)

    def finish(self, chapters: list[Chapter]) -> Path:
        """Write summary.json and return its path."""
        path = self.out / "summary.json"
        content = {
            "tasks": [asdict(chapter.summary) for chapter in chapters],
            "seconds": time.perf_counter() - self.started,
        }
        path.write_text(json.dumps(content, indent=2, allow_nan=False))
        return path
