"""What a network computes and keeps for one input, as numbers that need no network to read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

FOOTPRINT = "footprint"
"""In the meta of an expert: what one input costs it."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What one input costs a network, independent of the machine.

    Of texts the numbers are for one token, and `pair_` numbers for each pair of tokens of a text (attention);
    of other inputs they are for one input of the size that the network is fed with, and pairs cost nothing.

    Attributes:
        params: parameters of the network; of a model with two towers, those of the one for these inputs.
        linear: multiply-adds of matrix products, of one forward pass.
        convolved: multiply-adds of convolutions; those of one channel each count as `moved` only.
        moved: bytes that all operations read and write.
        kept: bytes that a training step keeps for its backward pass. Low-rank adapters need the same.
        widest: bytes that the largest operation reads and writes: what a pass takes for the moment.
        kernels: operations of one forward pass, of however many inputs at once.
        lookup: parameters in token tables, which most strategies leave as they are.
        vocabulary: rows of the largest of them.
        longest: tokens that texts are cut to; 0 for other inputs, or where it is not known.
        numbers: numbers that one input consists of, once preprocessed; 0 for texts.
    """

    params: int
    linear: float
    convolved: float = 0.0
    moved: float
    kept: float
    widest: float
    kernels: int
    lookup: int = 0
    vocabulary: int = 0
    longest: int = 0
    numbers: int = 0
    pair_linear: float = 0.0
    pair_moved: float = 0.0
    pair_kept: float = 0.0
    pair_widest: float = 0.0

    def of(self, name: str, tokens: float = 1.0) -> float:
        """Return a number for a text of so many tokens, or for another input, which has one."""
        whole: float = getattr(self, name) * tokens + getattr(self, f"pair_{name}", 0.0) * tokens**2
        return whole

    def as_dict(self) -> dict[str, float]:
        """Return the numbers that are not zero, for JSON."""
        return {name: value for name, value in asdict(self).items() if value}

    @classmethod
    def from_dict(cls, values: object) -> Footprint | None:
        """Return what `as_dict` gave; None where it is missing, or no such numbers."""
        if not isinstance(values, Mapping):
            return None
        known: dict[str, Any] = {f.name: values.get(f.name, 0) for f in fields(cls)}
        usable = all(
            isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) and v >= 0
            for v in known.values()
        )
        return cls(**known) if usable and min(known["params"], known["moved"]) > 0 else None
