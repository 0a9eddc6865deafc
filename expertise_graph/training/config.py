"""What a fine-tune can be told, checked once."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from expertise_graph.core import InvalidInputError, NotFoundError
from expertise_graph.training.strategies import Strategy, strategies

METHOD_VERSION = 6
"""Raised when the loop computes something else, so that an older run is not continued by a newer loop."""

MOST_SEED = 2**32 - 1
MOST = 1e30
"""Larger numbers than this do not fit into float32, in which training computes."""

HEADS = ("linear", "native")
PRECISIONS = ("auto", "no", "bf16", "fp16")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of one training run.

    Attributes:
        strategy: name of the way to use the expert's weights, see `strategies`.
        epochs: passes over the training split after the linear probe.
        time_budget: seconds the whole run may take, or None.
        batch_size: items a step.
        accumulate: parts that a step is computed in, so that one part has to fit in memory.
        lr: peak learning rate of the head, and of everything when training from scratch.
        weight_decay: of AdamW, on weight matrices only.
        prior: strength of the pull towards the expert's weights, where the strategy has one.
        into: the architecture to train instead of the expert's, see `resizing.into_architecture`.
        distill: share of the loss that is the expert's answers instead of the labels, 0 for none.
        distill_temperature: softens those answers.
        rank: of the adapters, where the strategy has some.
        head: what the new head sees: linear for the expert's features, native for those that the
            classifier of its library sees, so that the library reads the result.
        augment: whether images are shifted, scaled, recoloured, and mirrored unless the data forbid it.
        precision: of the computation: bf16 or fp16, no for float32, auto for the best on a GPU.
        seed: of the split, the order of the batches, dropout and fresh weights.
        patience: epochs without a higher accuracy or lower loss on validation that end the training.
    """

    strategy: str = "lp-ft"
    epochs: int = 20
    time_budget: float | None = None
    batch_size: int = 32
    accumulate: int = 1
    lr: float = 1e-3
    weight_decay: float = 0.01
    prior: float = 0.01
    rank: int = 8
    head: str = "linear"
    into: str | None = None
    distill: float = 0.0
    distill_temperature: float = 2.0
    augment: bool = True
    precision: str = "auto"
    seed: int = 0
    patience: int = 8

    def __post_init__(self) -> None:
        least = {"epochs": 1, "batch_size": 1, "accumulate": 1, "rank": 1, "seed": 0, "patience": 1}
        for name, bound in least.items():
            _check_integer(name, getattr(self, name), bound)
        _check_number("lr", self.lr, positive=True)
        _check_number("weight_decay", self.weight_decay, positive=False)
        _check_number("prior", self.prior, positive=False)
        _check_number("distill_temperature", self.distill_temperature, positive=True)
        if not 0 <= self.distill <= 1:
            raise InvalidInputError(
                f"distill is {self.distill}: give a share from 0 (the labels alone) to 1 (the expert alone)"
            )
        if self.time_budget is not None:
            _check_number("time_budget", self.time_budget, positive=True)
        if self.accumulate > self.batch_size:
            raise InvalidInputError(
                f"accumulate is {self.accumulate}: a step has at most its {self.batch_size} items as parts"
            )
        _check_choice("precision", self.precision, PRECISIONS)
        _check_choice("head", self.head, HEADS)
        try:
            _ = strategies[self.strategy]
        except NotFoundError as error:
            raise InvalidInputError(str(error)) from error
        if self.seed > MOST_SEED:
            raise InvalidInputError(f"seed is {self.seed}: give a whole number of at most {MOST_SEED}")
        if self.into is not None and self.way.save is not None:
            raise InvalidInputError(
                f"{self.strategy} leaves an adapter beside the expert's weights, and a network of another "
                "architecture has none of those: give another strategy, e.g. lp-ft, or leave into out"
            )
        if self.head == "native" and self.way.save is not None:
            raise InvalidInputError(
                f"{self.strategy} keeps its parent's features: give head linear, or another strategy"
            )

    @property
    def way(self) -> Strategy:
        """What the strategy does."""
        return strategies[self.strategy]

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values for JSON."""
        return asdict(self)

    def digest(self) -> str:
        """Return a hash of the settings; a folder is resumed only by the settings that began it."""
        text = json.dumps({**self.as_dict(), "method_version": METHOD_VERSION}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def cold(self) -> TrainConfig:
        """Return the same budget for a training from scratch."""
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


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidInputError(f"{name} is {value!r}: give one of {', '.join(choices)}")
