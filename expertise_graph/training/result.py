"""What a training run reports while it goes on, and when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """Where a run is.

    Attributes:
        strategy: how the expert's weights are used.
        phase: features, head, train or test.
        loss: training loss of the last step, None outside of training.
        validation_accuracy: of the last finished epoch, None before there is one.
        seconds: since the run began, earlier sittings counted in.
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


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The outcome of one training run.

    Attributes:
        strategy: how the expert's weights were used.
        metric: what is called accuracy here: accuracy for classes, average_precision for labels, r2
            for values.
        accuracy: of the kept weights on the test split, which nothing else has looked at.
        validation_accuracy: of the kept epoch.
        kept_epoch: the epoch whose weights were kept; 0 is the linear probe.
        epochs: epochs that were finished.
        stopped: epochs (all were run), early, time or nan.
        temperature: what logits are divided by before they are taken for probabilities, fitted on the
            validation split.
        parts: how many parts each batch was computed in.
        augmentation: what was done to the inputs at random, or none.
        peak_memory: bytes the process, or the GPU, held at most.
        seen: items of the test split that the expert had learnt from before.
        note: one line about anything unusual, or an empty text.
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

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "history": [dict(row) for row in self.history]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainResult:
        """Return the result that `as_dict` gave."""
        return cls(**{**values, "history": tuple(values["history"])})
