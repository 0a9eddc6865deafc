"""One trial: a fine-tune that is watched at its rungs, judged item by item on validation."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from expertise_graph.core import FloatArray
from expertise_graph.data import CLASS, VALUE, LabelledData, Splits
from expertise_graph.models import Backbone, write_tensors
from expertise_graph.training import (
    Checkpoints,
    Clock,
    Learner,
    LinearHead,
    Run,
    Tensors,
    TrainConfig,
    TrainingProgress,
    fit_temperature,
    private_rng,
    restore,
    trained_tensors,
)

Watch = Callable[[int, float], bool]
"""Told epochs and the lowest validation loss so far; tells whether to give the trial up."""

Report = Callable[[TrainingProgress], None]

ENOUGH = 0.7
"""Share of the epochs after which a training that ran out of time is as good as finished."""
JUDGED = 1000
"""So many validation items at most are compared one by one."""


@dataclass(kw_only=True)
class Outcome:
    """What a trial reached.

    Attributes:
        stopped: epochs, early, time, nan, pruned or interrupted.
        fits: (n,) exp(-loss) of each validation item: of classes, the probability of the right one.
        history: a row an epoch, as of a run.
        temperature: fitted on validation.
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


def without_test(data: LabelledData, splits: Splits) -> LabelledData:
    """Return the data without its test items, so that no trial can look at them; validation stands in."""
    rows = np.sort(np.concatenate([splits.train, splits.validation]))
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
    folder: Path,
    budget: float,
    watch: Watch,
    report: Report | None,
) -> Outcome:
    """Fine-tune as a warm start does, and leave the kept weights in ``folder/best.safetensors``.

    Ctrl-C ends it with what was kept until then.

    Args:
        backbone: the expert in memory; it is not changed.
        data: without test items.
        config: the settings.
        folder: for the weights; emptied first.
        budget: seconds it may take; the learning rate falls so that it ends well in time.
        watch: asked after each epoch.
        report: called after each step.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with private_rng(config.seed):
        clock = Clock(budget)
        run = Run(Learner(backbone, data, config), clock, Checkpoints(folder), report=report)
        run.begin()
        _course(run, watch)
        run.put_back()
        outcome = _judged(run, data.kind)
    write_tensors(folder / "best.safetensors", run.best)
    Checkpoints(folder).remove()
    return outcome


class Everything(Learner):
    """A learner whose validation items are among those it trains on.

    The strength of its linear probe is chosen as if they were not, and then fitted on all: chosen on
    items that it has seen it would always be the weakest. Six tuning tasks: that mistake cost 4 points.
    """

    def _probe(self, module: nn.Module) -> tuple[LinearHead, torch.Tensor]:
        rows, validation = self.rows["train"], self.rows["validation"]
        features = self._features(module, rows)
        others = rows[~np.isin(rows, validation)]
        chosen = self._fitted(features, train=others, validation=validation)
        head = self._fitted(features, train=rows, validation=rows, strengths=(chosen.strength,))
        return head, features


def train_on_all(
    backbone: Backbone,
    data: LabelledData,
    config: TrainConfig,
    *,
    epochs: int,
    loss: float,
    folder: Path,
    budget: float,
    report: Report | None,
) -> Tensors | None:
    """Train on the validation items too, for as long as was best before; return the weights at the end.

    Args:
        backbone: the expert in memory.
        data: as `all_to_train` gives them.
        config: the settings; their seed orders the batches.
        epochs: after which to stop, the one that was kept of the trial; 0 for the linear probe.
        loss: of the trial on the validation items.
        folder: for what is written on the way.
        budget: seconds it may take.
        report: called after each step.

    Returns:
        None when time was too short for nearly all of it, as near the end the learning rate is low; or
        when the loss on the validation items is above that of the trial, which had not seen them:
        training sometimes fails.

    Raises:
        KeyboardInterrupt: on Ctrl-C.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with private_rng(config.seed):
        patient = replace(config, patience=config.epochs)
        learner = Everything(backbone, data, patient)
        run = Run(learner, Clock(budget), Checkpoints(folder), report=report)
        run.begin()
        if epochs:
            _course(run, lambda done, _: done >= epochs)
        tensors = (
            {n: t.clone() for n, t in trained_tensors(learner.classifier).items()} if epochs else run.best
        )
        if run.state.stopped == "interrupted":
            raise KeyboardInterrupt
        short = run.state.epoch < ENOUGH * epochs
        failed = not short and epochs and not judged(learner, data.kind)[1] <= loss
    shutil.rmtree(folder, ignore_errors=True)
    return None if short or failed else tensors


def kept_weights(folder: Path) -> Tensors:
    """Return the weights that a trial left."""
    return load_file(folder / "best.safetensors")


class Judge:
    """Judges weights of one expert and strategy on validation, without training."""

    def __init__(self, backbone: Backbone, data: LabelledData, config: TrainConfig) -> None:
        with private_rng(config.seed):
            self.learner, self.kind = Learner(backbone, data, config), data.kind

    def __call__(self, weights: Tensors) -> tuple[float, float, float, FloatArray]:
        """Return accuracy, mean loss, temperature and the fit of each item."""
        restore(self.learner.classifier, weights)
        return judged(self.learner, self.kind)


def judged(learner: Learner, kind: str) -> tuple[float, float, float, FloatArray]:
    """Return accuracy, mean loss after the temperature, temperature and fits (n,) on validation."""
    logits, wanted = learner.predict(learner.rows["validation"]), learner.wanted("validation")
    temperature = 1.0 if kind == VALUE else fit_temperature(logits, wanted)
    losses = _losses(logits.double() / temperature, wanted, kind)
    accuracy = learner.objective.score(logits, wanted)
    return accuracy, float(losses.mean()), temperature, np.exp(-losses[:JUDGED])


def _course(run: Run, watch: Watch) -> None:
    state = run.state
    try:
        while not state.stopped:
            if not run.clock.room_for_epoch():
                state.stopped = "time"
                return
            started = run.clock.seconds
            if run.epoch() and not state.stopped:
                run.clock.longest = max(run.clock.longest, run.clock.seconds - started)
                if watch(state.epoch, min(row["validation_loss"] for row in state.history)):
                    state.stopped = "pruned"
    except KeyboardInterrupt:
        state.stopped, state.note = "interrupted", f"interrupted in epoch {state.epoch + 1}"


def _judged(run: Run, kind: str) -> Outcome:
    accuracy, loss, temperature, fits = judged(run.learner, kind)
    state = run.state
    return Outcome(
        epochs=state.epoch,
        kept=state.kept,
        steps=state.step,
        accuracy=accuracy,
        loss=loss,
        temperature=temperature,
        seconds=run.clock.seconds,
        stopped=state.stopped,
        note=state.note,
        fits=fits,
        history=state.history,
        mirror=state.mirror,
        parts=run.learner.parts,
    )


def _losses(outputs: torch.Tensor, wanted: torch.Tensor, kind: str) -> FloatArray:
    """Return the loss (n,) of each item."""
    if kind == CLASS:
        losses = torch.nn.functional.cross_entropy(outputs, wanted, reduction="none")
    elif kind == VALUE:
        losses = (outputs - wanted).square().mean(dim=1)
    else:
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            outputs, wanted.double(), reduction="none"
        ).mean(dim=1)
    found: FloatArray = losses.double().numpy()
    return found
