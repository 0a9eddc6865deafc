"""Which epoch is kept, and when to give up waiting for a better one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


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
