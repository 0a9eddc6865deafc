"""Tensors made small: low rank and 8 bits, and back, with what that loses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

from expertise_graph.core import InvalidInputError
from expertise_graph.merging import State

T = TypeVar("T")

VALUE, CODE, SCALE = "value", "int8", "scale"
LEFT, RIGHT = "left", "right"
# Of a signed byte on each side of zero; -128 is left out so that both have as many.
LEVELS = 127


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How the differences are written.

    Attributes:
        rank: of the factors that stand for a matrix, None for the matrix itself.
        bits: 8 for whole numbers with a scale for each row, None for float32.
    """

    rank: int | None = None
    bits: int | None = None

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank < 1:
            raise InvalidInputError(f"rank is {self.rank}: give a whole number of at least 1")
        if self.bits not in (None, 8):
            raise InvalidInputError(f"bits is {self.bits}: give 8, or leave it out for full precision")

    @property
    def method(self) -> str:
        """What people call it: plain, rank 4, 8 bits, rank 4 in 8 bits."""
        rank = f"rank {self.rank}" if self.rank else ""
        bits = f"{self.bits} bits" if self.bits else ""
        return " in ".join(filter(None, (rank, bits))) or "plain"


PLAIN = Packing()


def pack(tensor: torch.Tensor, packing: Packing) -> State:
    """Return the parts that stand for a float32 tensor.

    Vectors stay as they are: they are few, and batch normalisation is sensitive to them. Kernels of
    convolutions count as matrices (out, in x height x width). Factors that would be no smaller than
    the matrix are not made.

    Returns:
        "value"; or "int8" and "scale"; or these for the factors, as in "left.value".
    """
    if tensor.ndim < 2 or tensor.numel() == 0:
        return {VALUE: tensor.float()}
    matrix = tensor.float().flatten(1)
    rows, columns = matrix.shape
    if packing.rank is None or packing.rank * (rows + columns) >= rows * columns:
        return {name: _shaped_as(part, tensor) for name, part in _rounded(matrix, packing.bits).items()}
    # The factors share the singular values, so that neither has entries of another size.
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    root = s[: packing.rank].sqrt()
    left, right = u[:, : packing.rank] * root, root[:, None] * v[: packing.rank]
    packed = {LEFT: _rounded(left.float(), packing.bits), RIGHT: _rounded(right.float(), packing.bits)}
    return {f"{side}.{name}": part for side, parts in packed.items() for name, part in parts.items()}


def unpack(parts: Mapping[str, torch.Tensor], shape: torch.Size) -> torch.Tensor:
    """Return the float32 tensor of `shape` that checked parts stand for."""
    if VALUE in parts:
        return parts[VALUE].float().reshape(shape)
    if CODE in parts:
        codes = parts[CODE].float().flatten(1)
        return (codes * parts[SCALE][:, None]).reshape(shape)
    left, right = (
        unpack(_named(parts, side), torch.Size(_matrix(parts, side).shape)) for side in (LEFT, RIGHT)
    )
    return (left.double() @ right.double()).float().reshape(shape)


def check_parts(shapes: Mapping[str, tuple[tuple[int, ...], str]], shape: torch.Size) -> str:
    """Return why parts cannot stand for a tensor of `shape`, or an empty text.

    Args:
        shapes: shape and dtype, as safetensors names it, of each part.
        shape: of the tensor.
    """
    factors = {name.partition(".")[0] for name in shapes} & {LEFT, RIGHT}
    if not factors:
        return _check_one(shapes, tuple(shape))
    if len(shape) < 2 or factors != {LEFT, RIGHT} or any("." not in name for name in shapes):
        return f"the parts {', '.join(sorted(shapes))} do not belong together"
    rows, columns = shape[0], shape[1:].numel()
    sides = {side: _named(shapes, side) for side in factors}
    left = next((sides[LEFT][name][0] for name in (VALUE, CODE) if name in sides[LEFT]), ())
    if len(left) != 2 or not 1 <= left[1] <= min(rows, columns):
        return f"a factor of shape {left} has no possible rank"
    rank = left[1]
    return _check_one(sides[LEFT], (rows, rank)) or _check_one(sides[RIGHT], (rank, columns))


def relative_error(true: Mapping[str, torch.Tensor], unpacked: Mapping[str, torch.Tensor]) -> float:
    """Return the Euclidean norm of unpacked - true over that of true, all tensors together."""
    lost = sum(float((unpacked[key].double() - t.double()).square().sum()) for key, t in true.items())
    norm = sum(float(t.double().square().sum()) for t in true.values())
    return float((lost / norm) ** 0.5) if norm else 0.0


def _rounded(matrix: torch.Tensor, bits: int | None) -> State:
    """Return a matrix as it is, or as whole numbers of its rows' largest entry over 127."""
    if bits is None:
        return {VALUE: matrix}
    scale = matrix.abs().amax(dim=1) / LEVELS
    codes = torch.where(scale[:, None] > 0, matrix / scale.clamp(min=1e-45)[:, None], 0.0)
    return {CODE: codes.round().clamp(-LEVELS, LEVELS).to(torch.int8), SCALE: scale}


def _shaped_as(part: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    return part.reshape(tensor.shape) if part.numel() == tensor.numel() and part.ndim > 1 else part


def _named(parts: Mapping[str, T], side: str) -> dict[str, T]:
    """Return the parts of one factor by their names within it."""
    return {name.partition(".")[2]: part for name, part in parts.items() if name.startswith(f"{side}.")}


def _matrix(parts: Mapping[str, torch.Tensor], side: str) -> torch.Tensor:
    part = _named(parts, side)
    return part[VALUE] if VALUE in part else part[CODE]


def _check_one(shapes: Mapping[str, tuple[tuple[int, ...], str]], shape: tuple[int, ...]) -> str:
    expected = (
        {VALUE: (shape, "F32")} if VALUE in shapes else {CODE: (shape, "I8"), SCALE: (shape[:1], "F32")}
    )
    if set(shapes) != set(expected):
        return f"the parts {', '.join(sorted(shapes))} do not belong together"
    for name, wanted in expected.items():
        if shapes[name] != wanted:
            return f"{name} is {shapes[name][1]} {shapes[name][0]}, {wanted[1]} {wanted[0]} is expected"
    return ""
