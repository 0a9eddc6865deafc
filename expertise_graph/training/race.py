"""A race: the most promising experts are fine-tuned briefly, the better half of them for longer.

Each rung trains those that are left for about twice as many epochs as the one before, until two or
fewer are left. The accuracies, on the validation split, are recorded as transfer edges.

References:
    Jamieson and Talwalkar, arXiv:1502.07943, successive halving.
    Loshchilov and Hutter, arXiv:1608.03983, warm restarts: the learning rate falls to zero at the end of
    each rung and rises again in the next, so that every rung ends with weights worth measuring.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from expertise_graph.core import (
    DatasetError,
    Edge,
    Expert,
    FailedError,
    InvalidInputError,
    MissingExtraError,
    NotFoundError,
    SourceError,
    UntrustedError,
    count,
    expert_errors,
)
from expertise_graph.data import LabelledData, Splits
from expertise_graph.features import Context, remembered
from expertise_graph.models import Backbone, load
from expertise_graph.retrieval import RACE, Expected, RaceResults, measured
from expertise_graph.training.batches import training_splits
from expertise_graph.training.checkpoints import Checkpoints
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.device import private_rng
from expertise_graph.training.result import TrainingProgress
from expertise_graph.training.spec import trial_id
from expertise_graph.training.trainer import Trainer

VERSION = "1"
FINAL = 2
"""The last rung has at most this many experts: a rung for the winner alone would tell nothing apart."""

# Earlier versions recorded the accuracy of a guess for an expert whose training failed; it is raced again.
DONE, FAILED = "done", "failed"


def epochs_after(rung: int) -> int:
    """Return the epochs that an expert has been trained for at the end of a rung, counted from 0.

    Example:
        >>> [epochs_after(rung) for rung in range(4)]
        [1, 3, 7, 15]
    """
    return int(2 ** (rung + 1)) - 1


@dataclass(frozen=True)
class _Retired:
    """Who is out of the race, and why: a line by id of the expert."""

    failed: dict[str, str] = field(default_factory=dict)
    diverged: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SuccessiveHalving:
    """A race of experts on one dataset; calling it runs it.

    Attributes:
        context: registry, progress, and the seed of splits and training: items that a warm start with
            this seed tests on are not looked at.
        size: how many experts enter.

    Raises:
        InvalidInputError: when `size` is below 1.
        DatasetError: when the dataset is too small to have a validation split.
    """

    context: Context
    data: LabelledData
    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InvalidInputError(f"race is {self.size}: give a number of experts, or 0 for no race")
        try:
            _ = self.splits
        except DatasetError as error:
            raise DatasetError(f"{error}, or ask without a race") from error

    @cached_property
    def splits(self) -> Splits:
        """The splits of a warm start with the same seed."""
        return training_splits(self.data, self.context.seed)

    def __call__(self, entrants: Sequence[Expert], expected: Expected) -> RaceResults:
        """Race the first `size` entrants; what was trained in an earlier race is read from the registry.

        An expert that cannot be run is noted and passed over. Ctrl-C ends the race; results until
        then stay.

        Args:
            entrants: experts that may be run, the most promising first.
            expected: asked after each rung; the better half goes on.
        """
        out, interrupted = _Retired(), False
        try:
            with tempfile.TemporaryDirectory(dir=self.context.store.folder, prefix=".race-") as scratch:
                self._run(list(entrants[: self.size]), expected, out, Path(scratch))
        except KeyboardInterrupt:
            interrupted = True
        results = measured(self.context.store, self.data.task)
        return RaceResults(
            measured=results, failed=out.failed, diverged=out.diverged, interrupted=interrupted
        )

    def _run(self, entrants: list[Expert], expected: Expected, out: _Retired, scratch: Path) -> None:
        rung = 0
        while entrants:
            fit = [expert for expert in entrants if self._train(expert, rung, out, scratch)]
            if len(entrants) <= FINAL:
                return
            # Of the first rungs only, so that a race that is on record takes the same course.
            promise = expected(measured(self.context.store, self.data.task, rungs=rung + 1))
            fit.sort(key=lambda expert: -promise[expert.id])
            half = (len(entrants) + 1) // 2
            for expert in fit[half:]:
                shutil.rmtree(_folder(expert, scratch), ignore_errors=True)
            entrants, rung = fit[:half], rung + 1

    def _train(self, expert: Expert, rung: int, out: _Retired, scratch: Path) -> bool:
        """Train an expert to the end of a rung, unless that is on record; tell whether it may go on."""
        store, run = self.context.store, self._run_id(expert, rung)
        edge = next(iter(store.edges("transfer", source=expert.id, run=run)), None)
        if edge is None or edge.meta["status"] == FAILED:
            try:
                with remembered(store, expert, self.data.task.id), expert_errors(expert.name):
                    backbone = load(expert, trust_code=self.context.trust_code)
                    edge = self._measure(backbone, expert, rung, _folder(expert, scratch))
            except FailedError as error:
                out.failed[expert.id] = str(error)
                return False
            except (SourceError, UntrustedError, NotFoundError, MissingExtraError) as error:
                out.failed[expert.id] = f"{expert.name} was not raced: {error}"
                return False
            with store.transaction():
                store.drop_run_edges(run)
                store.put_edges([edge])
        status = edge.meta["status"]
        if status != DONE:
            out.diverged[expert.id] = f"{expert.name} {status} in the race: {edge.meta['note']}"
        return bool(status == DONE)

    def _measure(self, backbone: Backbone, expert: Expert, rung: int, folder: Path) -> Edge:
        """Continue from the checkpoint of the rung before; without one, run every rung up to this."""
        for earlier in () if folder.is_dir() else range(rung):
            self._run_rung(backbone, expert, earlier, folder)
        trainer = self._run_rung(backbone, expert, rung, folder)
        state = trainer.state
        return self._edge(
            expert,
            rung,
            state.history[state.kept]["validation_accuracy"],
            epochs=state.epoch,
            seconds=trainer.budget.seconds,
            note=state.note,
            status="diverged" if state.stopped == "nan" else DONE,
        )

    def _run_rung(self, backbone: Backbone, expert: Expert, rung: int, folder: Path) -> Trainer:
        """Train until the end of a rung; the checkpoint in `folder` is that of the one before."""
        config = self._config(rung)

        def progress(now: TrainingProgress) -> None:
            label = f"race {expert.name}, {count(config.epochs, 'epoch')}"
            self.context.progress(label, now.step, now.steps)

        with private_rng(config.seed):
            checkpoints = Checkpoints(folder)
            trainer = Trainer.for_data(
                backbone, self.data, config, checkpoints=checkpoints, progress=progress
            )
            trainer.begin()
            if trainer.state.stopped == "epochs" and trainer.state.step < trainer.steps:
                trainer.state.stopped = ""
            trainer.run_epochs()
        return trainer

    def _config(self, rung: int) -> TrainConfig:
        return TrainConfig(epochs=epochs_after(rung), seed=self.context.seed)

    def _run_id(self, expert: Expert, rung: int) -> str:
        """Return an id that is the same for the same expert, data, splits, settings and epochs."""
        config = self._config(rung)
        return trial_id(RACE, VERSION, expert, self.data, splits=self.splits, config=config)

    def _edge(
        self,
        expert: Expert,
        rung: int,
        accuracy: float,
        *,
        status: str,
        note: str,
        epochs: int,
        seconds: float,
    ) -> Edge:
        return Edge(
            kind="transfer",
            source=expert.id,
            target=self.data.task.id,
            weight=accuracy,
            metric="accuracy",
            method=RACE,
            version=VERSION,
            seed=self.context.seed,
            n=len(self.splits.validation),
            seconds=seconds,
            run=self._run_id(expert, rung),
            meta={
                "epochs": epochs,
                "rung": rung,
                "n_train": len(self.splits.train),
                "split": "validation",
                "status": status,
                "note": note,
            },
        )


def _folder(expert: Expert, scratch: Path) -> Path:
    return scratch / hashlib.sha256(expert.id.encode()).hexdigest()[:16]
