"""The whole workflow on starter experts and example data: register, query, fine-tune, compare."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from expertise_graph.core import (
    Expert,
    ExpertiseError,
    InvalidInputError,
    Progress,
    Query,
    Ranking,
    WarmStart,
    check_no_workspace,
    setting,
    write_json,
)
from expertise_graph.models import RunFolder, installed, starter_names
from expertise_graph.starter import task_archives
from expertise_graph.training import TrainConfig, TrainingProgress
from expertise_graph.workspace import Workspace

# Fewer than there are image experts, so that the ranking shows measured and predicted ones side by side.
KNOWN_PARAMS = 100_000_000
"""Most parameters of the published models that are named first: what a processor can fine-tune."""

BUDGET = 6

# Few, so that the demo takes minutes. From scratch more would help, which is what the comparison is to show.
EPOCHS = 6

# Tasks that are ranked for but not trained on unless named, to keep the demo short.
ASKED_ONLY = ("emoji-redrawn",)

SUMMARY = "summary.json"
PLOTS = ("accuracy.png", "graph.png")


@dataclass(frozen=True, kw_only=True)
class TaskSummary:
    """The results of the demo on one task; `experts_run_again` is for the same query asked again."""

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
    """One task of the demo: the ranking, the training result, and the line in the summary."""

    ranking: Ranking
    result: WarmStart
    summary: TaskSummary


class Demo:
    """The demo in a folder of its own; nothing outside of it is touched.

    Args:
        out: the folder; it gets a workspace, the example data, the runs and the plots.
        progress: called with what is being run.
        report: called while a model is trained.
    """

    def __init__(self, out: Path, progress: Progress, report: Callable[[TrainingProgress], None]) -> None:
        self.out = out
        self._check_free()
        self.report = report
        self.started = time.perf_counter()
        self.workspace = Workspace.init(out / "workspace", progress=progress)

    def _check_free(self) -> None:
        """Refuse a folder with files that no demo wrote.

        Raises:
            InvalidInputError: naming one of them.
        """
        check_no_workspace(self.out)
        known = {"workspace", "data", SUMMARY, *PLOTS, *self.tasks()}
        others = (
            sorted(p.name for p in self.out.iterdir() if p.name not in known) if self.out.is_dir() else []
        )
        if others:
            raise InvalidInputError(
                f"{self.out} holds other files ({', '.join(others[:3])}): choose another {setting('out')}"
            )

    def register(self) -> Iterator[tuple[str, Expert | ExpertiseError]]:
        """Register every starter expert whose weights are on this machine; yield its name and the result."""
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
        return self.workspace.query(self.data(task), Query(budget=BUDGET, starter_knowledge=False))

    def known(self, task: str) -> Ranking:
        """Query before anything is registered: published models, ranked by their results elsewhere."""
        return self.workspace.query(self.data(task), Query(budget=0, top=3, max_params=KNOWN_PARAMS))

    def run(self, task: str) -> Chapter:
        """Query twice, fine-tune from the expert of rank 1, and train from scratch on the same budget.

        A demo that was interrupted resumes with the expert it started from.
        """
        start = time.perf_counter()
        started = RunFolder(self.out / task).is_run
        data = self.workspace.read(self.data(task))
        local = Query(budget=BUDGET, starter_knowledge=False)
        ranking = self.workspace.query(data, local)
        again = self.workspace.query(data, replace(local, top=len(self.workspace.experts())))
        result = self.workspace.warm_start(
            data,
            self.out / task,
            expert=None if started else ranking.best.expert.id,
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
        path = self.out / SUMMARY
        tasks = [asdict(chapter.summary) for chapter in chapters]
        write_json(path, {"tasks": tasks, "seconds": time.perf_counter() - self.started})
        return path
