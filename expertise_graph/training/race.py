"""A race before the answer: the most promising experts are fine-tuned briefly, the better half for longer.

Each rung trains those that are left for about twice as many epochs as the one before, until two or
fewer are left. What is measured, on the validation split, is recorded as transfer edges.

References:
    Jamieson and Talwalkar, arXiv:1502.07943, successive halving.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from expertise_graph.core import (
    DatasetError,
    Edge,
    Expert,
    ExpertiseError,
    InvalidInputError,
    SourceError,
    first_line,
)
from expertise_graph.core import Progress as Report
from expertise_graph.data import LabelledData, Splits
from expertise_graph.models import Backbone, load
from expertise_graph.retrieval import RACE, Expected, Measured, RaceResults, measured
from expertise_graph.store import Store
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.result import TrainingProgress
from expertise_graph.training.trial import Trial, trial_id, trial_splits, try_out

VERSION = "1"
FINAL = 2
"""So many are left in the last rung at most."""

DONE, FAILED = "done", "failed"


def epochs_after(rung: int) -> int:
    """Return the epochs that an expert has been trained for at the end of a rung, counted from 0.

    Example:
        >>> [epochs_after(rung) for rung in range(4)]
        [1, 3, 7, 15]
    """
    return int(2 ** (rung + 1)) - 1


@dataclass(frozen=True, kw_only=True)
class Race:
    """A race on one dataset; calling it runs it.

    Attributes:
        size: how many enter.
        seed: of the splits and the training; with it, items that a warm start tests on are not seen.
        progress: told about every step.

    Raises:
        InvalidInputError: when `size` is below 1.
        DatasetError: when the dataset is too small to have a validation split.
    """

    store: Store
    data: LabelledData
    size: int
    seed: int
    trust_code: bool
    progress: Report

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InvalidInputError(f"a race of {self.size} is none; give 1 or more, or 0 for no race")
        try:
            _ = self.splits
        except DatasetError as error:
            raise DatasetError(f"{error}, or ask without a race") from error

    @cached_property
    def splits(self) -> Splits:
        """What is trained on, and what is measured on."""
        return trial_splits(self.data, self.seed)

    def __call__(self, entrants: Sequence[Expert], expected: Expected) -> RaceResults:
        """Race the entrants, the most promising first, and return what they reach.

        An expert that cannot be run is noted and passed over. Ctrl-C ends the race; what was
        measured until then counts.
        """
        failed: dict[str, str] = {}
        interrupted = False
        try:
            with tempfile.TemporaryDirectory(dir=self.store.folder, prefix=".race-") as scratch:
                self._run(entrants, expected, failed, Path(scratch))
        except KeyboardInterrupt:
            interrupted = True
        return RaceResults(measured=self._measured(), failed=failed, interrupted=interrupted)

    def _run(
        self, entrants: Sequence[Expert], expected: Expected, failed: dict[str, str], scratch: Path
    ) -> None:
        rung = 0
        while entrants:
            fit = [expert for expert in entrants if self._heat(expert, rung, failed, scratch)]
            if len(entrants) <= FINAL:
                break
            promise = expected(self._measured(rungs=rung + 1))
            fit.sort(key=lambda expert: -promise[expert.id])
            half = (len(entrants) + 1) // 2
            for expert in fit[half:]:
                shutil.rmtree(self._out(expert, scratch), ignore_errors=True)
            entrants, rung = fit[:half], rung + 1

    def _measured(self, rungs: int | None = None) -> dict[str, Measured]:
        """Return the results of the first rungs, so that a race that is on record takes the same course."""
        return measured(self.store, self.data.task, rungs=rungs)

    def _heat(self, expert: Expert, rung: int, failed: dict[str, str], scratch: Path) -> bool:
        """Train an expert to the end of a rung unless that is on record; tell whether it may go on."""
        run = self._run_id(expert, rung)
        found = [e for e in self.store.edges("transfer", expert.id) if e.run == run]
        if found and found[0].meta["status"] != FAILED:
            return _sound(expert, found[0], failed)
        try:
            backbone = load(expert, trust_code=self.trust_code)
            trial = self._trial(backbone, expert, rung, scratch)
        except (ExpertiseError, OSError, torch.OutOfMemoryError) as error:
            failed[expert.id] = f"{expert.name} was not raced: {first_line(error)}"
            return False
        edge = self._edge(expert, rung, trial)
        with self.store.transaction():
            self.store.drop_run_edges(run)
            self.store.put_edges([edge])
        return _sound(expert, edge, failed)

    def _trial(self, backbone: Backbone, expert: Expert, rung: int, scratch: Path) -> Trial:
        """Go on from the checkpoint of the rung before; without one, every rung up to this is run.

        What cannot be trained is worth as much as a guess.
        """
        out = self._out(expert, scratch)
        try:
            for earlier in () if out.is_dir() else range(rung):
                self._leg(backbone, expert, earlier, out)
            return self._leg(backbone, expert, rung, out)
        except torch.OutOfMemoryError:
            raise
        except (SourceError, RuntimeError) as error:
            return Trial(
                accuracy=1.0 / len(self.data.classes),
                epochs=0,
                n_train=len(self.splits.train),
                n_validation=len(self.splits.validation),
                seconds=0.0,
                stopped=FAILED,
                note=first_line(error),
            )

    def _out(self, expert: Expert, scratch: Path) -> Path:
        return scratch / hashlib.sha256(expert.id.encode()).hexdigest()[:16]

    def _leg(self, backbone: Backbone, expert: Expert, rung: int, out: Path) -> Trial:
        epochs = epochs_after(rung)

        def report(progress: TrainingProgress) -> None:
            label = f"race {expert.name}, {epochs} epoch{'' if epochs == 1 else 's'}"
            self.progress(label, progress.step, progress.steps)

        return try_out(backbone, self.data, out=out, config=self._config(rung), progress=report)

    def _config(self, rung: int) -> TrainConfig:
        return TrainConfig(epochs=epochs_after(rung), seed=self.seed)

    def _run_id(self, expert: Expert, rung: int) -> str:
        """The same expert, data, splits, settings and epochs have the same id."""
        config = self._config(rung)
        return trial_id(RACE, VERSION, expert, self.data, splits=self.splits, config=config)

    def _edge(self, expert: Expert, rung: int, trial: Trial) -> Edge:
        return Edge(
            kind="transfer",
            source=expert.id,
            target=self.data.task.id,
            weight=trial.accuracy,
            metric="accuracy",
            method=RACE,
            version=VERSION,
            seed=self.seed,
            n=trial.n_validation,
            seconds=trial.seconds,
            run=self._run_id(expert, rung),
            meta={
                "epochs": trial.epochs,
                "rung": rung,
                "n_train": trial.n_train,
                "split": "validation",
                "status": {"nan": "diverged", FAILED: FAILED}.get(trial.stopped, DONE),
                "note": trial.note,
            },
        )


def _sound(expert: Expert, edge: Edge, failed: dict[str, str]) -> bool:
    """Tell whether a run went well; one that did not is noted."""
    status = edge.meta["status"]
    if status != DONE:
        failed[expert.id] = f"{expert.name} {status} in the race: {edge.meta['note']}"
    return bool(status == DONE)
