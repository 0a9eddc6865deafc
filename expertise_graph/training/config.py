"""The settings of a training, checked once."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from expertise_graph.core import MOST_SEED, InvalidInputError, NotFoundError, setting, sha256_of_json
from expertise_graph.training.strategy import Strategy, strategies

METHOD_VERSION = 6
"""Incremented when a newer loop must not continue an older run.

Other random numbers, as when augmentation and dropout came to be drawn by item, are no reason.
"""

_ADDED = {"class_weights": "auto"}
"""Settings that came later, with the value that runs before them had: left out of what a run is known by."""

MOST = 1e30
"""Larger numbers overflow in float32, in which training computes."""

HEADS = ("linear", "native")
PRECISIONS = ("auto", "no", "bf16", "fp16")
TENSORBOARD = "tensorboard"
TRACKERS = (TENSORBOARD, "trackio", "mlflow", "wandb")
CLASS_WEIGHTS = ("auto", "balanced", "none")
AUTO = "auto"
DEFAULT_LR = 1e-3


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of one training run.

    Attributes:
        strategy: name of the training strategy, see `strategies`.
        epochs: passes over the training split after the linear probe.
        time_budget: seconds the whole run may take; None for no limit.
        batch_size: items per optimiser step.
        accumulate: gradient-accumulation steps: a batch is computed in this many parts.
        lr: peak learning rate of the head, other layers have a fraction of it; or auto for the best of a few
            on the validation split, see `choose_lr`.
        weight_decay: of AdamW, on weight matrices only.
        prior: L2 strength towards the pretrained weights, of the l2-sp strategy.
        rank: of the adapters, of the lora strategy.
        head: features of the new head: linear for the expert's own, native for those that the classifier
            of transformers uses, so that transformers loads the result.
        into: a smaller architecture to train from the expert's weights, see `into_architecture`.
        distill: weight of the distillation loss (0-1), with the expert as the teacher.
        distill_temperature: of the softmax of teacher and student in the distillation loss.
        class_weights: balanced to let rare classes weigh more in the loss, none to let all items count alike;
            auto for what serves the score that is kept by, which for the accuracy is none.
        augment: whether images are augmented at random; mirrored only where that does not harm.
        precision: bf16 or fp16 mixed precision, no for float32, auto for the best that a GPU supports.
        seed: of the splits, the order of the batches, augmentation, dropout and new weights.
        patience: stop after this many epochs without a higher accuracy or lower loss on validation.
    """

    strategy: str = "lp-ft"
    epochs: int = 20
    time_budget: float | None = None
    batch_size: int = 32
    accumulate: int = 1
    lr: float | str = DEFAULT_LR
    weight_decay: float = 0.01
    prior: float = 0.01
    rank: int = 8
    head: str = "linear"
    into: str | None = None
    distill: float = 0.0
    distill_temperature: float = 2.0
    class_weights: str = "auto"
    augment: bool = True
    precision: str = "auto"
    seed: int = 0
    patience: int = 8

    def __post_init__(self) -> None:
        least = {"epochs": 1, "batch_size": 1, "accumulate": 1, "rank": 1, "seed": 0, "patience": 1}
        for name, bound in least.items():
            _check_integer(name, getattr(self, name), bound)
        _check_lr(self.lr)
        _check_number("weight_decay", self.weight_decay, positive=False)
        _check_number("prior", self.prior, positive=False)
        _check_number("distill_temperature", self.distill_temperature, positive=True)
        if not 0 <= self.distill <= 1:
            raise InvalidInputError(
                f"distill is {self.distill}: give a weight from 0 (labels only) to 1 (teacher only)"
            )
        if self.time_budget is not None:
            _check_number("time_budget", self.time_budget, positive=True)
        if self.accumulate > self.batch_size:
            raise InvalidInputError(
                f"accumulate is {self.accumulate}: give at most batch_size, which is {self.batch_size}"
            )
        _check_choice("precision", self.precision, PRECISIONS)
        _check_choice("head", self.head, HEADS)
        _check_choice("class_weights", self.class_weights, CLASS_WEIGHTS)
        try:
            _ = strategies[self.strategy]
        except NotFoundError as error:
            raise InvalidInputError(str(error)) from error
        if self.seed > MOST_SEED:
            raise InvalidInputError(f"seed is {self.seed}: give a whole number of at most {MOST_SEED}")
        if self.into is not None and self.way.save is not None:
            raise InvalidInputError(
                f"strategy {self.strategy} trains an adapter of the expert, and {setting('into')} replaces "
                f"the expert: give another strategy, e.g. lp-ft, or leave out {setting('into')}"
            )
        if self.head == "native" and self.way.save is not None:
            raise InvalidInputError(
                f"strategy {self.strategy} keeps the expert's features: give {setting('head', 'linear')}, "
                "or another strategy"
            )

    @staticmethod
    def choices(name: str) -> tuple[str, ...]:
        """Return the values that a setting may have; of strategies those of plug-ins too."""
        return {"strategy": tuple(strategies), "tracker": TRACKERS}[name]

    @property
    def way(self) -> Strategy:
        """The strategy that `strategy` names."""
        return strategies[self.strategy]

    @property
    def peak_lr(self) -> float:
        """The peak learning rate; where it is yet to be chosen, the default."""
        return DEFAULT_LR if isinstance(self.lr, str) else self.lr

    @property
    def searches_lr(self) -> bool:
        """Whether a learning rate is to be chosen; a linear probe has none."""
        return self.lr == AUTO and self.way.fine_tunes

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values for JSON; those of later versions where they were given."""
        return {n: v for n, v in asdict(self).items() if n not in _ADDED or v != _ADDED[n]}

    def digest(self) -> str:
        """Return a hash of the settings; a run is resumed with the same settings only."""
        return sha256_of_json({**self.as_dict(), "method_version": METHOD_VERSION})

    def cold(self) -> TrainConfig:
        """Return the same settings for a training from scratch."""
        return replace(self, strategy="from-scratch", distill=0.0)


def _check_integer(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInputError(f"{name} is {value!r}: give a whole number of at least {least}")


def _check_number(name: str, value: object, *, positive: bool) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (positive and value == 0):  # type: ignore[operator]
        least = "above" if positive else "of at least"
        raise InvalidInputError(f"{name} is {value!r}: give a number {least} 0")
    if value > MOST:  # type: ignore[operator]
        raise InvalidInputError(f"{name} is {value!r}: give a number of at most {MOST:g}")


def _check_lr(value: float | str) -> None:
    if isinstance(value, str) and value != AUTO:
        raise InvalidInputError(f"lr is {value!r}: give a number above 0, or {AUTO}")
    if value != AUTO:
        _check_number("lr", value, positive=True)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidInputError(f"{name} is {value!r}: give one of {', '.join(choices)}")
