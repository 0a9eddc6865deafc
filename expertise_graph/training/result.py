"""Progress and result of a training run, and what its history says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from expertise_graph.training.objective import Objective


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """How far a run is.

    Attributes:
        strategy: name of the training strategy.
        phase: features, head, learning rate, train or test.
        loss: training loss of the last step, None outside of training.
        validation_accuracy: of the last finished epoch, None before there is one.
        seconds: since the run began, those before it was resumed included.
    """

    strategy: str
    phase: str
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float | None
    validation_accuracy: float | None
    seconds: float


OnProgress = Callable[[TrainingProgress], None]
"""Called after each step and phase of a training."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The outcome of one training run.

    Attributes:
        strategy: name of the training strategy.
        metric: of all scores called accuracy here: accuracy for classes, average_precision for labels, r2
            for values.
        accuracy: of the kept weights on the test split, which is used for nothing else.
        validation_accuracy: of the kept epoch.
        kept_epoch: the epoch whose weights were kept; 0 is the linear probe.
        epochs: epochs that were finished.
        stopped: epochs (all were run), early, time or nan.
        temperature: logits are divided by it before the softmax; fitted on the validation split.
        parts: how many parts each batch was computed in.
        augmentation: random changes of the inputs, or none.
        peak_memory: of the GPU, or without one of the process, in bytes.
        seen: items of the test split that the expert was trained on before.
        note: one line about anything unusual, or an empty text.
        lr: peak learning rate of the head; None for a linear probe, and of runs of earlier versions.
        lr_search: where it was searched for, a row a rate: lr; steps; loss, the mean on the validation split
            after a temperature was fitted, None where training diverged.
        history: per epoch: epoch, step, loss, train_accuracy, validation_accuracy,
            validation_loss, lr, seconds.
    """

    strategy: str
    metric: str
    accuracy: float
    validation_accuracy: float
    kept_epoch: int
    epochs: int
    steps: int
    seconds: float
    seed: int
    n_train: int
    n_validation: int
    n_test: int
    stopped: str
    temperature: float
    parts: int
    augmentation: str
    peak_memory: int
    note: str
    history: tuple[Mapping[str, Any], ...]
    seen: int = 0
    lr: float | None = None
    lr_search: tuple[Mapping[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "history": [dict(row) for row in self.history]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainResult:
        """Return the result that `as_dict` gave."""
        rows = {name: tuple(values.get(name, ())) for name in ("history", "lr_search")}
        return cls(**{**values, **rows})


def worth_keeping(history: Sequence[Mapping[str, Any]], one_item: float) -> bool:
    """Tell whether the weights of the last epoch are to be kept instead of earlier ones.

    A difference of one validation item is a tie and ties go to the later epoch: of a dozen items
    the best accuracy is an accident, and later epochs, at a lower learning rate, are the better ones.
    """
    best = max(row["validation_accuracy"] for row in history)
    return bool(history[-1]["validation_accuracy"] >= best - one_item * 1.001)


def last_improvement(history: Sequence[Mapping[str, Any]]) -> int:
    """Return the last epoch that had a higher accuracy or a lower loss on validation than any before."""
    improved, accuracy, loss = 0, -math.inf, math.inf
    for row in history:
        if row["validation_accuracy"] > accuracy or row["validation_loss"] < loss:
            improved = row["epoch"]
        accuracy = max(accuracy, row["validation_accuracy"])
        loss = min(loss, row["validation_loss"])
    return improved


def seen_note(seen: int, n_test: int) -> str:
    """Return a note if the expert was trained on test items before, else an empty text."""
    if not seen:
        return ""
    return f"the expert was trained on {seen} of the {n_test} test items before: they are no new items to it"


def unseen_note(objective: Objective) -> str:
    """Return a note if there are classes without a training item, else an empty text."""
    unseen = objective.unseen
    if not unseen:
        return ""
    named = ", ".join(unseen[:3]) + (", ..." if len(unseen) > 3 else "")
    return f"no training items for {len(unseen)} of {objective.outputs} classes ({named})"
