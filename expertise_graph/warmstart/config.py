"""What a fine-tune can be told, checked once."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from expertise_graph.errors import InvalidInputError

METHOD_VERSION = 1
"""Raised when the loop computes something else, so that an older run is not continued by a newer loop."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of one training run.

    Attributes:
        epochs: passes over the training split after the linear probe.
        time_budget: seconds the whole run may take, or None.
        batch_size: items a step.
        lr: peak learning rate of the head, and of everything when training from scratch.
        weight_decay: of AdamW, on weight matrices only.
        seed: of the split, the order of the batches, dropout and fresh weights.
        patience: epochs without a higher accuracy or lower loss on validation that end the training.
        freeze: fit the linear head only.
        from_scratch: random weights of the same architecture, the cold start.
    """

    epochs: int = 20
    time_budget: float | None = None
    batch_size: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.01
    seed: int = 0
    patience: int = 8
    freeze: bool = False
    from_scratch: bool = False

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0), ("patience", 1)):
            _check_integer(name, getattr(self, name), least)
        _check_number("lr", self.lr, positive=True)
        _check_number("weight_decay", self.weight_decay, positive=False)
        if self.time_budget is not None:
            _check_number("time_budget", self.time_budget, positive=True)
        if self.freeze and self.from_scratch:
            raise InvalidInputError(
                "freeze keeps the expert's weights and from_scratch throws them away: give one of the two"
            )

    @property
    def strategy(self) -> str:
        """The name of what the run does: lp-ft, linear-probe or from-scratch."""
        if self.from_scratch:
            return "from-scratch"
        return "linear-probe" if self.freeze else "lp-ft"

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values for JSON."""
        return asdict(self)

    def digest(self) -> str:
        """Return a hash of the settings; a folder is resumed only by the settings that began it."""
        text = json.dumps({**self.as_dict(), "method_version": METHOD_VERSION}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def cold(self) -> TrainConfig:
        """Return the same budget for a training from scratch."""
        return replace(self, from_scratch=True, freeze=False)


def _check_integer(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInputError(f"{name} is {value!r}: give a whole number of at least {least}")


def _check_number(name: str, value: object, *, positive: bool) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (positive and value == 0):  # type: ignore[operator]
        least = "above" if positive else "of at least"
        raise InvalidInputError(f"{name} is {value!r}: give a number {least} 0")
