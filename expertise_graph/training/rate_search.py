"""The peak learning rate by a short search: a few rates, each trained briefly from the same start."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from expertise_graph.training.batches import even_batches
from expertise_graph.training.checkpoints import Tensors, TrainingState, copied, restore, trained_tensors
from expertise_graph.training.config import DEFAULT_LR
from expertise_graph.training.optimizer import set_peaks
from expertise_graph.training.result import OnProgress, TrainingProgress
from expertise_graph.training.time_budget import MARGIN, TimeBudget

if TYPE_CHECKING:
    from expertise_graph.training.trainer import Trainer

HIGHER, LOWER = (3e-3, 1e-2, 3e-2), (3e-4, 1e-4)
"""The rates beside the default, in half-decades: a finer grid would be chosen from by chance."""
MOST_TRIED = 1 + len(HIGHER) + len(LOWER)
SHARE = 0.1
"""Steps of each short training as a fraction of those of the whole one.

On three tasks of letters a quarter told no more: losses of 3e-4 to 3e-3 within .1, and 3e-2 far worse.
"""
FEWEST, MOST = 10, 200
"""Steps of a short training: fewer tell the rates apart by chance, more only cost time."""
TIME = 0.08
"""Fraction of a time budget that each short training may take; three or four are usual."""
JUDGED = 1000
"""Rates are compared on at most so many validation items."""


def choose_lr(trainer: Trainer) -> None:
    """Choose the peak learning rate of a training that has its head, or take that of its checkpoint.

    Each rate is trained for a few steps from the weights of now, its schedule ending within them, and
    measured by the log loss on the validation split after a temperature was fitted: of a few dozen items
    accuracy takes few values and most rates tie. Rates are tried upwards from the default until one is worse
    by more than chance, and downwards while training diverges. Of those that the best does not beat by more
    than chance, the lowest is chosen. Without time for the search it is the default. Weights, optimiser and
    random numbers are afterwards as they were.
    """
    state, model = trainer.state, trainer.model
    steps = _steps(trainer) if state.lr is None else 0
    if steps:
        start = copied(trained_tensors(model.classifier))
        while state.lr is None:
            state.lr_search.append(_trial(trainer, next_lr(state.lr_search) or DEFAULT_LR, steps, start))
            if next_lr(state.lr_search) is None:
                state.lr = chosen_lr(state.lr_search)
            trainer.budget.since = trainer.budget.seconds
            trainer.save()
    state.lr = state.lr or DEFAULT_LR
    set_peaks(model.adamw.param_groups, state.lr)


Tried = Sequence[Mapping[str, Any]]
"""Rows with lr and the losses of the same items; none where training diverged."""


def next_lr(tried: Tried) -> float | None:
    """Return the rate to try next, None where the search is over."""
    if not tried:
        return DEFAULT_LR
    last, good = tried[-1]["lr"], _unbeaten(tried)
    if last in good and last >= DEFAULT_LR:
        return next((lr for lr in HIGHER if lr > last), None)
    return None if good else next((lr for lr in LOWER if lr < last), None)


def chosen_lr(tried: Tried) -> float:
    """Return the lowest rate that the best does not beat by more than chance."""
    return min(_unbeaten(tried), default=min(row["lr"] for row in tried))


def _unbeaten(tried: Tried) -> list[float]:
    """Return the rates whose loss is within one standard error of the lowest, item by item."""
    losses = {float(row["lr"]): np.array(row["losses"]) for row in tried if row["losses"]}
    best = min(losses.values(), key=lambda found: float(found.mean()), default=np.zeros(0))
    behind = {lr: found - best for lr, found in losses.items()}
    return [lr for lr, by in behind.items() if by.mean() <= by.std() / math.sqrt(max(len(by) - 1, 1))]


def described(lr: float | None, tried: Tried) -> str:
    """Return a sentence on which rate was chosen, and what was measured of each."""
    if not tried:
        return f"there was no time to search for a learning rate: it is {lr:g}"
    losses = ", ".join(
        f"{row['lr']:g} {'diverged' if row['loss'] is None else format(row['loss'], '.3f')}" for row in tried
    )
    return f"learning rate {lr:g}, by the validation loss after {tried[0]['steps']} steps: {losses}"


def _steps(trainer: Trainer) -> int:
    """Return the steps of a short training, 0 where there is no time for enough of them."""
    budget, before = trainer.budget, trainer.state.lr_search
    if before:
        return int(before[0]["steps"])
    steps = min(max(FEWEST, min(round(SHARE * trainer.steps), MOST)), trainer.steps)
    if budget.budget is not None:
        possible = _seconds_each(trainer) / (MARGIN * max(budget.step_seconds, 1e-9))
        steps = min(steps, int(possible)) if possible >= min(FEWEST, steps) else 0
    return int(trainer.model.agreed(steps))


def _seconds_each(trainer: Trainer) -> float:
    """Return the seconds that a short training may take, within a time budget."""
    return TIME * max(0.0, (trainer.budget.budget or 0.0) - trainer.budget.seconds)


def _trial(trainer: Trainer, lr: float, steps: int, start: Tensors) -> dict[str, Any]:
    """Return what a short training at a rate reaches, and undo it."""
    model, scaler = trainer.model, trainer.model.accelerator.scaler
    scale = None if scaler is None else scaler.state_dict()
    set_peaks(model.adamw.param_groups, lr)
    trial = _short(trainer, steps)
    trial.run_epochs()
    trainer.budget.measured(step=trial.budget.step)
    row: dict[str, Any] = {"lr": lr, "steps": trial.state.step, "loss": None, "losses": []}
    if trial.state.stopped != "nan":
        rows = trial.rows["validation"]
        logits = model.predict(rows)
        scaled = logits.double() / trial.temperature(logits)
        losses = model.objective.losses(scaled, model.objective.targets[rows])
        row["losses"] = [model.agreed(loss) for loss in losses.tolist()]
        row["loss"] = float(np.mean(row["losses"]))
    restore(model.classifier, start)
    model.adamw.state.clear()
    if scaler is not None and scale is not None:
        scaler.load_state_dict(scale)
    return row


def _short(trainer: Trainer, steps: int) -> Trainer:
    """Return a training of the same model for about so many steps, in whole epochs or a part of one."""
    size, state, validation = trainer.config.batch_size, trainer.state, trainer.rows["validation"]
    per_epoch = len(list(even_batches(trainer.rows["train"], size)))
    budget = TimeBudget(None if trainer.budget.budget is None else _seconds_each(trainer))
    budget.measured(forward=trainer.budget.forward, step=trainer.budget.step)
    trial = dataclasses.replace(
        trainer,
        rows={
            "train": trainer.rows["train"],
            "validation": validation[:: -(-len(validation) // JUDGED)],
            "test": validation[:0],
        },
        budget=budget,
        checkpoints=None,
        progress=_progress(trainer),
        order=lambda epoch: trainer.order(epoch)[: steps * size],
        state=TrainingState(mirror=state.mirror, parts=state.parts),
        best={},
    )
    trial.config = dataclasses.replace(trainer.config, patience=trainer.config.epochs)
    trial.steps = max(1, round(steps / per_epoch)) * min(per_epoch, steps)
    return trial


def _progress(trainer: Trainer) -> OnProgress | None:
    """Return what reports a short training as a part of the search."""
    report, done = trainer.progress, len(trainer.state.lr_search)
    if report is None:
        return None

    def progress(now: TrainingProgress) -> None:
        report(
            dataclasses.replace(
                now,
                phase="learning rate",
                step=done * now.steps + now.step,
                steps=MOST_TRIED * now.steps,
                seconds=trainer.budget.seconds,
            )
        )

    return progress
