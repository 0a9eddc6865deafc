"""One trial: a fine-tune that may be pruned after each epoch, measured item by item on validation."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from expertise_graph.core import FloatArray, IntArray
from expertise_graph.data import LabelledData, Splits
from expertise_graph.models import Backbone, write_tensors
from expertise_graph.training import (
    DEFAULT_LR,
    OnProgress,
    Tensors,
    TrainConfig,
    Trainer,
    copied,
    private_rng,
    restore,
    trained_tensors,
)

Watch = Callable[[int, float], bool]
"""Called with the epochs and the lowest validation loss so far; tells whether to prune the trial."""

ENOUGH = 0.7
"""A training that ran out of time is as good as finished after this fraction of the epochs.

The learning rate is a quarter of its peak by then; less would keep weights that still change quickly.
"""
HOT = DEFAULT_LR
"""Above the default a learning rate looks worse than it is until it has fallen."""
JUDGED = 1000
"""At most this many validation items are compared one by one, and kept on record."""


@dataclass(kw_only=True)
class Outcome:
    """The outcome of a trial.

    Attributes:
        stopped: epochs, early, time, nan, pruned or interrupted.
        fits: (n,) exp(-loss) of each validation item: of classes, the probability of the right one.
        history: a row an epoch, as of a run.
        temperature: fitted on validation.
        forward: seconds of a forward pass of one item, 0 where that is not known.
    """

    epochs: int
    kept: int
    steps: int
    accuracy: float
    loss: float
    temperature: float
    seconds: float
    stopped: str
    note: str
    fits: FloatArray
    history: list[dict[str, Any]]
    mirror: bool
    parts: int
    forward: float = 0.0


def may_be_judged(config: TrainConfig, epochs: int) -> bool:
    """Tell whether a training may be compared with others after so many epochs.

    One at a high learning rate may not until its schedule has cooled down.
    """
    return config.peak_lr <= HOT or epochs >= ENOUGH * config.epochs


def visible_rows(splits: Splits) -> IntArray:
    """Return the items that trials can look at, all but those of the test split, in their order."""
    return np.sort(np.concatenate([splits.train, splits.validation]))


def without_test(data: LabelledData, splits: Splits) -> LabelledData:
    """Return the data without its test items, so that no trial can use them; validation items stand in."""
    rows = visible_rows(splits)
    place = {name: np.searchsorted(rows, getattr(splits, name)) for name in ("train", "validation")}
    return data.select(rows, {**place, "test": place["validation"]})


def all_to_train(data: LabelledData) -> LabelledData:
    """Return data, as `without_test` gave them, with all items in the training split."""
    return replace(data, splits={**data.splits, "train": np.arange(len(data))})


def run_trial(
    backbone: Backbone,
    data: LabelledData,
    config: TrainConfig,
    *,
    known: dict[int, torch.Tensor],
    folder: Path,
    watch: Watch,
    progress: OnProgress | None,
) -> Outcome:
    """Fine-tune as a warm start does, and leave the kept weights in ``folder/best.safetensors``.

    Ctrl-C ends it with what was kept until then.

    Args:
        backbone: the expert in memory; it is not changed.
        data: without test items.
        config: the settings; the learning rate falls so that the training ends well within the time budget.
        known: features of the expert by item of `data`, as far as they are known; others are added.
        folder: for the weights; emptied first.
        watch: asked after each epoch.
        progress: called after each step.

    Raises:
        OutOfTime: when the time budget is over before there is a head.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with private_rng(config.seed):
        trainer = Trainer.for_data(backbone, data, config, progress=progress)
        _begin(trainer, known)
        _run(trainer, watch)
        trainer.restore_best()
        outcome = _outcome(trainer)
    folder.mkdir(parents=True)
    write_tensors(folder / "best.safetensors", trainer.best)
    return outcome


def train_on_all(
    backbone: Backbone,
    data: LabelledData,
    config: TrainConfig,
    *,
    known: dict[int, torch.Tensor],
    epochs: int,
    loss: float,
    progress: OnProgress | None,
) -> Tensors | None:
    """Train on the validation items too, for as long as was best before; return the weights at the end.

    Args:
        backbone: the expert in memory.
        data: as `all_to_train` gives them.
        config: the settings; their seed orders the batches.
        known: see `run_trial`.
        epochs: after which to stop, the one that was kept of the trial; 0 for the linear probe.
        loss: of the trial on the validation items.
        progress: called after each step.

    Returns:
        None when time was too short for nearly all of it, as near the end the learning rate is low; or
        when the loss on the validation items is above that of the trial, which was not trained on them:
        training sometimes fails.

    Raises:
        OutOfTime: as `run_trial`.
        KeyboardInterrupt: on Ctrl-C.
    """
    with private_rng(config.seed):
        trainer = Trainer.for_data(backbone, data, replace(config, patience=config.epochs), progress=progress)
        _begin(trainer, known)
        if not epochs:
            return trainer.best
        _run(trainer, lambda done, _: done >= epochs)
        if trainer.state.stopped == "interrupted":
            raise KeyboardInterrupt
        if trainer.state.epoch < ENOUGH * epochs or not measure(trainer)[1] <= loss:
            return None
        return copied(trained_tensors(trainer.model.classifier))


def kept_weights(folder: Path) -> Tensors:
    """Return the weights that a trial left."""
    return load_file(folder / "best.safetensors")


class Judge:
    """Measures weights of one expert and strategy on validation, without training."""

    def __init__(self, backbone: Backbone, data: LabelledData, config: TrainConfig) -> None:
        with private_rng(config.seed):
            self.trainer = Trainer.for_data(backbone, data, config)

    def __call__(self, weights: Tensors) -> tuple[float, float, float, FloatArray]:
        """Return accuracy, mean loss, temperature and the fit of each item."""
        restore(self.trainer.model.classifier, weights)
        return measure(self.trainer)


def measure(trainer: Trainer) -> tuple[float, float, float, FloatArray]:
    """Return accuracy, mean loss after the temperature, temperature and fits (n,) on validation."""
    rows, objective = trainer.rows["validation"], trainer.model.objective
    logits, targets = trainer.model.predict(rows), objective.targets[rows]
    temperature = trainer.temperature(logits)
    losses: FloatArray = objective.losses(logits.double() / temperature, targets).double().numpy()
    accuracy = objective.score(logits, targets)
    return accuracy, float(losses.mean()), temperature, np.exp(-losses[:JUDGED])


def _begin(trainer: Trainer, known: dict[int, torch.Tensor]) -> None:
    """Make the head, within the time budget."""
    trainer.model.known, trainer.model.check = known, trainer.budget.check
    trainer.begin()
    trainer.model.check = None


def _run(trainer: Trainer, watch: Watch) -> None:
    """Run the epochs; Ctrl-C stops them."""
    state = trainer.state
    try:
        trainer.run_epochs(
            after_epoch=lambda now: watch(now.epoch, min(row["validation_loss"] for row in now.history))
        )
    except KeyboardInterrupt:
        state.stopped, state.note = "interrupted", f"interrupted in epoch {state.epoch + 1}"


def _outcome(trainer: Trainer) -> Outcome:
    accuracy, loss, temperature, fits = measure(trainer)
    state = trainer.state
    return Outcome(
        epochs=state.epoch,
        kept=state.kept,
        steps=state.step,
        accuracy=accuracy,
        loss=loss,
        temperature=temperature,
        seconds=trainer.budget.seconds,
        stopped=state.stopped,
        note=state.note,
        fits=fits,
        history=state.history,
        mirror=state.mirror,
        parts=trainer.model.parts,
        forward=trainer.budget.forward,
    )
