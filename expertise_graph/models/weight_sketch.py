"""A thousand numbers of a model's weights, always at the same places: enough to tell who descends from whom.

Only the blocks count, the tensors whose names have a number (`encoder.layer.3...`): fine-tuning changes the
head, and the part of a name before the blocks is written or left out. Of them only matrices and kernels: the
ones and zeros that normalisation begins with are alike in all models.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import sha256_of_json
from expertise_graph.models.weights import inspect

# Numbers that are kept of a model: 4 kB. The distance of two models is then off by some 5 % of itself, which
# tells 3 % from 40 % and 40 % from 140 %.
SKETCH_SIZE = 1024
# To be changed whenever the places or the names change.
WEIGHT_SKETCH_VERSION = "1"

# A tensor of so many numbers that has no more than 256 different ones was rounded to eight bits or less.
_LOOKED_AT, _LEVELS = 4096, 256

# First words of the parts of networks that a task brings along; pretraining leaves some of them, too.
_CLASSIFIERS = frozenset(("classifier", "qa_outputs", "score"))
_HEADS = _CLASSIFIERS | {"cls", "fc", "head", "heads", "lm_head", "logits", "predictions"}

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightSketch:
    """Numbers from the blocks of one model.

    Attributes:
        shapes: hash of names and shapes of the tensors in the blocks; of equal ones models can be compared.
        values: (SKETCH_SIZE,) float32.
        classifier: whether the files also hold the head of a downstream task.
        rounded: whether the largest tensor has 256 different numbers at most, as after quantisation.
    """

    shapes: str
    values: NDArray[np.float32]
    classifier: bool
    rounded: bool


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor is: file, offset of its first byte, type and shape as safetensors names them."""

    path: Path
    offset: int
    kind: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def read(self, places: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """Return some of its numbers; nothing else of the file is read."""
        stored = np.memmap(self.path, _TYPES[self.kind], mode="r", offset=self.offset, shape=(self.size,))
        found = np.asarray(stored[places])
        if self.kind == "BF16":
            return (found.astype("<u4") << 16).view("<f4").astype(np.float32)
        return found.astype(np.float32)


def sketch_weights(files: Sequence[Path]) -> WeightSketch | None:
    """Return the sketch of the weights in safetensors files; None where they have no blocks of real numbers.

    Headers are read, and a thousand numbers at places that depend on names and shapes only.

    Raises:
        SourceError: when a file is damaged.
    """
    tensors = dict(_tensors(files))
    blocks = _blocks(tensors)
    total = sum(tensor.size for tensor in blocks.values())
    if not total:
        return None
    shapes = sha256_of_json([[name, list(tensor.shape)] for name, tensor in blocks.items()])
    places = np.sort(np.random.default_rng(int(shapes[:16], 16)).integers(0, total, size=SKETCH_SIZE))
    values = _values(blocks.values(), places)
    if not np.isfinite(values).all() or not values.any():
        return None
    largest = max(blocks.values(), key=lambda tensor: tensor.size)
    seen = largest.read(slice(0, _LOOKED_AT))
    return WeightSketch(
        shapes=shapes,
        values=values,
        classifier=any(_begins_with(name, _CLASSIFIERS) for name in tensors),
        rounded=len(seen) == _LOOKED_AT and len(np.unique(seen)) <= _LEVELS,
    )


def relative_distance(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float:
    """Return how far weights are from each other, in units of their size: 0 if equal, 1.41 if unrelated.

    Args:
        a: (m,) numbers of one model.
        b: (m,) those at the same places of another.

    Example:
        >>> relative_distance(np.array([3.0, 4.0]), np.array([-4.0, 3.0])) == 2**0.5
        True
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    size = 0.5 * float(x @ x + y @ y)
    return math.sqrt(float(np.square(x - y).sum()) / size) if size else 0.0


def is_half_of(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """Tell whether numbers `a` are `b` rounded to half precision (float16 or bfloat16), and `b` are not."""
    equal = (np.array_equal(a, rounded(b)) for rounded in (_float16, _bfloat16))
    return not np.array_equal(a, b) and any(equal)


def _float16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


def _bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4").astype(np.uint64)
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
    return nearest.astype("<u4").view("<f4").astype(np.float32)


def _tensors(files: Sequence[Path]) -> Iterator[tuple[str, _Tensor]]:
    for path in files:
        inspect(path)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                offset = 8 + length + entry["data_offsets"][0]
                yield name, _Tensor(path, offset, entry["dtype"], tuple(entry["shape"]))


def _blocks(tensors: Mapping[str, _Tensor]) -> dict[str, _Tensor]:
    """Return the matrices of the blocks by the end of their names; of all parts where there are no blocks."""
    real = {n: t for n, t in tensors.items() if t.kind in _TYPES and len(t.shape) > 1 and t.size}
    inside = {_in_blocks(name): tensor for name, tensor in real.items() if not _is_head(name)}
    named = {name: tensor for name, tensor in inside.items() if name}
    return dict(sorted((named or {n: t for n, t in real.items() if not _is_head(n)}).items()))


def _in_blocks(name: str) -> str:
    """Return a name from the part before its first number on; empty where it has none."""
    parts = name.split(".")
    first = _first_number(parts)
    return "" if first == len(parts) else ".".join(parts[max(0, first - 1) :])


def _is_head(name: str) -> bool:
    return _begins_with(name, _HEADS)


def _begins_with(name: str, words: frozenset[str]) -> bool:
    """Tell whether one of some words stands before the first number of a name."""
    parts = name.split(".")
    return not words.isdisjoint(parts[: _first_number(parts)])


def _first_number(parts: Sequence[str]) -> int:
    return next((i for i, part in enumerate(parts) if part.isdigit()), len(parts))


def _values(tensors: Iterable[_Tensor], places: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the numbers at sorted places of all tensors one after the other."""
    found, start = [], 0
    for tensor in tensors:
        here = places[(places >= start) & (places < start + tensor.size)] - start
        if len(here):
            found.append(tensor.read(here))
        start += tensor.size
    return np.concatenate(found)
