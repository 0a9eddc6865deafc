"""The training loop: a linear probe for a head, then epochs; the best one is kept, each one is resumable."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import nn

from expertise_graph.core import Expert, IntArray, InvalidInputError, count, duration, setting
from expertise_graph.data import VALUE, LabelledData, known_modalities, plural_of
from expertise_graph.models import Backbone, Classifier, RunFolder
from expertise_graph.training.batches import BatchLoader, even_batches, training_order, training_splits
from expertise_graph.training.calibration import fit_temperature
from expertise_graph.training.checkpoints import (
    Checkpoints,
    Tensors,
    TrainingState,
    copied,
    restore,
    trained_tensors,
)
from expertise_graph.training.config import TENSORBOARD, TrainConfig
from expertise_graph.training.device import peak_memory, private_rng
from expertise_graph.training.objective import check_distillation, objective_of
from expertise_graph.training.optimizer import cosine_schedule
from expertise_graph.training.output import write_outputs
from expertise_graph.training.preparation import ask_teacher, prepare_head, probe, set_head
from expertise_graph.training.rate_search import choose_lr, described
from expertise_graph.training.result import (
    OnProgress,
    TrainingProgress,
    TrainResult,
    last_improvement,
    seen_note,
    unseen_note,
    worth_keeping,
)
from expertise_graph.training.strategy import unfreeze
from expertise_graph.training.time_budget import TimeBudget
from expertise_graph.training.trackers import Tracker, check_tracker, open_tracker
from expertise_graph.training.trainable import TrainableModel

AfterEpoch = Callable[[TrainingState], bool]
"""Called after each epoch that was not the last; stops the training when it returns True."""


def train(
    backbone: Backbone,
    data: LabelledData,
    *,
    out: Path,
    config: TrainConfig,
    expert: Expert | None = None,
    teacher: Backbone | None = None,
    seen: int = 0,
    tracker: str = TENSORBOARD,
    started: float | None = None,
    progress: OnProgress | None = None,
) -> TrainResult:
    """Fine-tune `backbone` with a new linear head on `data`; call again to resume or to read the result.

    Epoch 0 of most strategies is the linear probe: a regularised regression on frozen features, which
    becomes the head, so that an untrained head does not distort the pretrained features. Then the
    weights that the strategy selects are trained, early stages at lower learning rates. The best epoch
    on the validation split is kept. Neither `backbone` nor the caller's random state is changed.

    Args:
        backbone: the expert in memory.
        data: labelled inputs of the modality of the backbone.
        out: folder of the run; holds model, head, card and logs, and checkpoints until it is done.
        config: the settings.
        expert: the node the backbone was loaded from, for the card and to recognise the run.
        teacher: source of the soft labels, for distillation.
        seen: items of the test split that the expert was trained on before; noted in the result.
        tracker: experiment tracker: tensorboard, trackio, mlflow or wandb.
        started: when the time budget began, by `time.perf_counter`; by default now.
        progress: called after each step and phase.

    Raises:
        InvalidInputError: when the modalities differ, `out` holds something else, or there is no such
            tracker.
        MissingExtraError: when the tracker is not installed.
        DatasetError: when the data leave nothing to train, validate or test on.
        SourceError: when the expert gives features that are not finite.
        NotFoundError: when the run has finished, and a file of its model is gone.

    References:
        Kumar et al., arXiv:2202.10054, linear probing then fine-tuning.
    """
    check_tracker(tracker)
    if backbone.modality != data.modality:
        raise InvalidInputError(
            f"{data.name} holds {plural_of(data.modality)}, but {expert.short if expert else 'the expert'} "
            f"takes {plural_of(backbone.modality)}: choose an expert for {plural_of(data.modality)}"
        )
    # The launcher tells each process through the environment which one it is.
    processes = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    folder, leads = RunFolder(out), processes.is_main_process
    identity = _as_recorded(folder, identity_of(config, data, expert), expert)
    with processes.main_process_first():
        recorded = folder.claim(identity)
    checkpoints = Checkpoints(out, writes=leads)
    if recorded is None:
        with private_rng(config.seed):
            trainer = Trainer.for_data(
                backbone, data, config, teacher=teacher, checkpoints=checkpoints, progress=progress
            )
            if config.time_budget is not None and started is not None:
                trainer.budget.budget = config.time_budget - (time.perf_counter() - started)
            trainer.begin()
            chosen = config if trainer.state.lr is None else replace(config, lr=trainer.state.lr)
            shown = open_tracker(tracker, out, chosen, step=trainer.state.step) if leads else None
            try:
                trainer.run_epochs(tracker=shown)
            finally:
                if shown is not None:
                    shown.finish()
            result, logits = trainer.test(seen)
        recorded = result.as_dict()
        if leads:
            write_outputs(
                folder,
                backbone,
                trainer.model.classifier,
                result=result,
                tested=logits,
                data=data,
                expert=expert,
            )
            folder.finish(identity, recorded)
        processes.wait_for_everyone()
    else:
        folder.check_complete()
    if leads:
        checkpoints.remove()
    return TrainResult.from_dict(recorded)


def identity_of(config: TrainConfig, data: LabelledData, expert: Expert | None) -> dict[str, Any]:
    """Return what a run folder is recognised by: the same settings, data and expert."""
    return {
        "config": config.as_dict(),
        "digest": config.digest(),
        "expert": expert.id if expert else None,
        "data": data.sha256,
    }


def _as_recorded(folder: RunFolder, identity: dict[str, Any], expert: Expert | None) -> dict[str, Any]:
    """Return the identity of a run with the id that an earlier version knew the same expert by, if it did."""
    record, former = folder.record(), expert.meta.get("former_id") if expert else None
    if record is not None and former is not None and record.identity.get("expert") == former:
        return {**identity, "expert": former}
    return identity


@dataclass(kw_only=True)
class Trainer:
    """One training: `begin`, `run_epochs`, `test`.

    Attributes:
        model: what is trained.
        rows: indices of the items of each split: train, validation, test. Without validation items the
            last epoch is kept.
        expert: the pretrained backbone, where it is not the one that is trained.
        teacher: the backbone that soft labels come from.
        checkpoints: where each epoch is saved; None to save none.
        progress: called after each step and phase.
        order: the training items in the order of an epoch.
        schedule: the learning rate after a fraction of the training, as a fraction of its peak.
        state: how far the training is.
        best: the weights of the kept epoch.
    """

    model: TrainableModel
    rows: Mapping[str, IntArray]
    budget: TimeBudget = field(default_factory=TimeBudget)
    expert: nn.Module | None = None
    teacher: nn.Module | None = None
    checkpoints: Checkpoints | None = None
    progress: OnProgress | None = None
    order: Callable[[int], IntArray]
    schedule: Callable[[float], float] = cosine_schedule
    state: TrainingState = field(default_factory=TrainingState)
    best: Tensors = field(default_factory=dict)

    @classmethod
    def for_data(
        cls,
        backbone: Backbone,
        data: LabelledData,
        config: TrainConfig,
        *,
        teacher: Backbone | None = None,
        checkpoints: Checkpoints | None = None,
        progress: OnProgress | None = None,
    ) -> Trainer:
        """Return the training of a copy of `backbone`, or of fresh weights of its architecture, on `data`.

        Raises:
            DatasetError: when the data leave nothing to train, validate or test on.
            InvalidInputError: when distillation is not possible, or processes would share too few items.
            SourceError: when the strategy is not possible for the architecture.
        """
        budget = TimeBudget(config.time_budget)
        splits = training_splits(data, config.seed)
        balanced = config.class_weights == "balanced"
        objective = objective_of(data, splits.train, splits.validation, balanced=balanced)
        if config.distill:
            check_distillation(data)
            if teacher is None:
                raise InvalidInputError("distill needs a teacher: the expert that training starts from")
        batches = BatchLoader(
            data.items, decode=known_modalities[data.modality].decode, collate=backbone.collate
        )
        classifier = new_classifier(backbone, objective.outputs, config)
        model = TrainableModel(classifier, objective, batches, config)
        model.augment = config.augment and known_modalities[data.modality].augmented
        _check_share(splits.train, config.batch_size, model.accelerator.num_processes)
        return cls(
            model=model,
            rows={"train": splits.train, "validation": splits.validation, "test": splits.test},
            budget=budget,
            expert=None if config.way.pretrained else backbone.module,
            teacher=teacher.module if teacher is not None and config.distill else None,
            checkpoints=checkpoints,
            progress=progress,
            order=lambda epoch: training_order(splits.train, seed=config.seed, epoch=epoch),
        )

    def __post_init__(self) -> None:
        config = self.config = self.model.config
        self.budget.sizes = {split: len(rows) for split, rows in self.rows.items()} | {
            "batch": config.batch_size
        }
        per_epoch = len(list(even_batches(self.rows["train"], config.batch_size)))
        self.steps = config.epochs * per_epoch if config.way.fine_tunes else 0

    def begin(self) -> None:
        """Resume from the newest checkpoint, or make the head and validate it as epoch 0.

        Where the learning rate is to be chosen, that comes next.

        Raises:
            SourceError: when features are not finite.
        """
        if not self._resume():
            self._report("head")
            ask_teacher(self.model, self.rows, self.teacher)
            self.state.head_scale = prepare_head(self.model, self.rows, self.expert)
            self.state.mirror = self.model.mirror
            self._validate(loss=None, train_accuracy=None)
            self.budget.since = self.budget.seconds
            self.save()
            self._unscale_probe()
        if self.config.searches_lr and not self.state.stopped:
            choose_lr(self)

    def run_epochs(self, *, tracker: Tracker | None = None, after_epoch: AfterEpoch | None = None) -> None:
        """Run epochs until one of these stops the training; then `state.stopped` says which.

        All epochs were run (epochs), patience (early), the time budget (time), a loss that is not finite
        (nan), or `after_epoch` (pruned).
        """
        config, model, state, budget = self.config, self.model, self.state, self.budget
        if state.epoch == 0:
            self._log(tracker)
        while not state.stopped:
            if not model.agreed(budget.room_for_step()):
                state.stopped = "time"
                return
            number, late = state.epoch + 1, False
            order, losses, outputs, seen, done = self.order(number), 0.0, [], [], 0
            model.training_mode()
            # Dropout and augmentation depend on seed and epoch alone, so that a resumed run is the same.
            with private_rng(config.seed, number):
                model.new_draws()
                for rows in even_batches(order, config.batch_size):
                    # The learning rate falls to zero by the last step or the end of the time budget; a
                    # single step has half of it, or nothing would be learnt.
                    started = budget.seconds
                    fraction = max((state.step + 1) / max(self.steps, 2), model.agreed(budget.fraction()))
                    loss, logits = model.step(rows, fraction=fraction, lr_scale=self.schedule(fraction))
                    state.step += 1
                    if not math.isfinite(loss):
                        self._stop("nan", f"loss became {_name(loss)} at step {state.step}")
                        return
                    losses += loss * model.objective.weight(rows)
                    seen.append(model.share(rows))
                    outputs.append(logits)
                    self._report("train", loss)
                    done += len(rows)
                    budget.measured(step=budget.seconds - started)
                    if late := not model.agreed(budget.room_for_step()):
                        break
            state.epoch = number
            trained, answers = model.gathered(np.concatenate(seen), torch.cat(outputs))
            accuracy = model.objective.score(answers, model.objective.targets[trained])
            # Where time ends within an epoch the learning rate has fallen to zero: what was learnt counts.
            if not self._validate(
                loss=losses / model.objective.weight(order[:done]), train_accuracy=accuracy
            ):
                return
            if late and not state.stopped:
                state.stopped = "time"
            self.save()
            self._log(tracker)
            if after_epoch is not None and not state.stopped and after_epoch(state):
                state.stopped = "pruned"

    def test(self, seen: int = 0) -> tuple[TrainResult, torch.Tensor]:
        """Restore the kept weights, calibrate and measure them; return the result and the test logits (n, k).

        The classifier is then as it is saved. `seen` items of the test split were trained on before.
        """
        self._report("test")
        self.restore_best()
        untrained = self._replace_untrained_head()
        config, model, state, rows = self.config, self.model, self.state, self.rows
        logits = model.predict(rows["test"])
        accuracy = model.objective.score(logits, model.objective.targets[rows["test"]])
        temperature = self.temperature() if state.temperature is None else state.temperature
        model.objective.rescale(model.classifier.head)
        notes = (
            seen_note(seen, len(rows["test"])),
            state.note,
            untrained or self._probe_note(),
            described(state.lr, state.lr_search) if config.searches_lr else "",
            f"memory was short: each batch was computed in {model.parts} parts"
            if model.parts > config.accumulate
            else "",
            unseen_note(model.objective),
        )
        return TrainResult(
            strategy=config.strategy,
            metric=model.objective.metric,
            accuracy=accuracy,
            validation_accuracy=state.history[state.kept]["validation_accuracy"],
            kept_epoch=state.kept,
            epochs=state.epoch,
            steps=state.step,
            seconds=self.budget.seconds,
            seed=config.seed,
            n_train=len(rows["train"]),
            n_validation=len(rows["validation"]),
            n_test=len(rows["test"]),
            stopped=state.stopped,
            temperature=temperature,
            parts=model.parts,
            augmentation=self._augmentation(),
            peak_memory=peak_memory(),
            note="; ".join(filter(None, notes)),
            history=tuple(state.history),
            seen=seen,
            lr=(state.lr or config.peak_lr) if config.way.fine_tunes else None,
            lr_search=tuple({name: row[name] for name in ("lr", "steps", "loss")} for row in state.lr_search),
        ), model.objective.natural(logits)

    def restore_best(self) -> None:
        """Load the weights of the kept epoch into the classifier."""
        restore(self.model.classifier, self.best)

    def temperature(self, logits: torch.Tensor | None = None) -> float:
        """Return the temperature of the classifier, fitted to its logits (n, k) on the validation split."""
        if self.model.objective.kind == VALUE:
            return 1.0
        rows = self.rows["validation"]
        logits = self.model.predict(rows) if logits is None else logits
        return fit_temperature(logits, self.model.objective.targets[rows])

    def _resume(self) -> bool:
        """Continue from the newest checkpoint; return False when there is none."""
        model = self.model
        loaded = self.checkpoints and self.checkpoints.load(model.classifier, model.adamw)
        model.accelerator.wait_for_everyone()
        if not loaded:
            return False
        self.state, self.best = loaded
        self._unscale_probe()
        self.budget.resume(self.state.clock)
        model.mirror, model.parts = self.state.mirror, self.state.parts
        ask_teacher(self.model, self.rows, self.teacher)
        if model.accelerator.scaler is not None:
            model.accelerator.scaler.load_state_dict(self.state.scaler)
        return True

    def _unscale_probe(self) -> None:
        """Keep a probe that is the best so far as it was fitted, not as short as training starts from it."""
        if self.state.kept == 0:
            for name in self.best.keys() & {"head.weight", "head.bias"}:
                self.best[name] = self.best[name] / self.state.head_scale

    def _validate(self, *, loss: float | None, train_accuracy: float | None) -> bool:
        """End an epoch: validate it, keep the weights if they are the best so far, decide whether to go on.

        Returns False when the validation loss is not finite; the epoch does not count then.
        """
        state, model, started = self.state, self.model, time.perf_counter()
        rows = self.rows["validation"]
        if len(rows) == 0:
            state.stopped = "epochs" if state.step >= self.steps else ""
            return True
        score, validation_loss = map(model.agreed, model.evaluate(rows))
        self.budget.measured(forward=(time.perf_counter() - started) / len(rows))
        if not math.isfinite(validation_loss):
            state.epoch -= 1
            self._stop("nan", f"validation loss became {_name(validation_loss)} after step {state.step}")
            return False
        state.history.append(
            {
                "epoch": state.epoch,
                "step": state.step,
                "loss": loss,
                "train_accuracy": train_accuracy,
                "validation_accuracy": score,
                "validation_loss": validation_loss,
                "lr": model.lr if state.step else None,
                "seconds": self.budget.seconds,
            }
        )
        if worth_keeping(state.history, model.objective.one_item):
            state.kept = state.epoch
            self.best = copied(trained_tensors(model.classifier))
        if state.step >= self.steps:
            state.stopped = "epochs"
        elif state.epoch - last_improvement(state.history) >= self.config.patience:
            state.stopped = "early"
        self._report("train")
        return True

    def _stop(self, stopped: str, reason: str = "") -> None:
        """Stop in the middle of an epoch; the best weights before it are kept."""
        self.state.stopped = stopped
        if reason:
            self.state.note = f"{reason} in epoch {self.state.epoch + 1}; epoch {self.state.kept} was kept"

    def save(self) -> None:
        """Write the checkpoint of the epoch that has just ended; the first of several processes does."""
        if self.checkpoints is None or not self.model.leads:
            return
        started, scaler = self.budget.seconds, self.model.accelerator.scaler
        self.state.clock, self.state.parts = self.budget.as_dict(), self.model.parts
        if scaler is not None:
            self.state.scaler = scaler.state_dict()
        self.checkpoints.save(self.state, self.model.classifier, self.model.adamw)
        self.budget.saving = max(self.budget.saving, self.budget.seconds - started)

    def _replace_untrained_head(self) -> str:
        """Make a new head that no epoch was kept of a linear probe; return a note that says so."""
        if self.state.kept or self.config.way.probe:
            return ""
        if not self.config.way.pretrained:
            return "no epoch was kept: the weights are random"
        model = self.model
        set_head(model, probe(model, self.rows, model.classifier.backbone)[0])
        score, loss = map(model.agreed, model.evaluate(self.rows["validation"]))
        self.state.history[0] |= {"validation_accuracy": score, "validation_loss": loss}
        return "no epoch was kept: the model is a linear probe on the expert's features"

    def _probe_note(self) -> str:
        """Return a note where the linear probe was kept of a fine-tune, else an empty text."""
        if self.state.kept or not self.config.way.fine_tunes:
            return ""
        if self.state.epoch or self.state.stopped != "time":
            return "no epoch was better than the linear probe, which was kept"
        needed = duration(self.budget.step_seconds * self.steps / self.config.epochs)
        return (
            "the time budget ended before the first epoch: this is a linear probe on the expert's features; "
            f"an epoch takes about {needed}"
        )

    def _augmentation(self) -> str:
        if not self.model.augment or not self.config.way.fine_tunes:
            return "none"
        return "position, size, angle, light" + (", mirroring" if self.model.mirror else "")

    def _log(self, tracker: Tracker | None) -> None:
        """Log the last epoch."""
        if tracker is None:
            return
        row = self.state.history[-1]
        names = ("loss", "train_accuracy", "validation_accuracy", "validation_loss", "lr")
        tracker.log({name: row[name] for name in names if row[name] is not None}, row["step"])

    def _report(self, phase: str, loss: float | None = None) -> None:
        if self.progress is None or not self.model.leads:
            return
        history = self.state.history
        self.progress(
            TrainingProgress(
                strategy=self.config.strategy,
                phase=phase,
                epoch=self.state.epoch,
                epochs=self.config.epochs if self.config.way.fine_tunes else 0,
                step=self.state.step,
                steps=self.steps,
                loss=loss,
                validation_accuracy=history[-1]["validation_accuracy"] if history else None,
                seconds=self.budget.seconds,
            )
        )


def new_classifier(backbone: Backbone, outputs: int, config: TrainConfig) -> Classifier:
    """Return a copy of the backbone, or fresh weights, with a new head; in float32, frozen by strategy.

    Raises:
        SourceError: when the strategy is not possible for the architecture.
    """
    pretrained = config.way.pretrained
    module = (copy.deepcopy(backbone.module) if pretrained else backbone.fresh(config.seed)).float()
    unfreeze(module, config.strategy, rank=config.rank)
    return Classifier(module, nn.Linear(backbone.dim, outputs))


def _name(loss: float) -> str:
    return "NaN" if math.isnan(loss) else "infinite"


def _check_share(rows: IntArray, batch_size: int, processes: int) -> None:
    """Raise InvalidInputError when the smallest batch has fewer items than there are processes."""
    smallest = min(map(len, even_batches(rows, batch_size)))
    if smallest < processes:
        raise InvalidInputError(
            f"{count(processes, 'process')} share batches of {smallest} of {count(len(rows), 'item')}: "
            f"use fewer processes, or a larger {setting('batch_size')}"
        )
