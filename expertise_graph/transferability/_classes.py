"""Labels as classes or as columns of numbers, and their products with features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from expertise_graph.core import InvalidInputError
from expertise_graph.transferability._checks import as_tensor

# Rows converted to double precision at a time: 64 MB at 2,048 dimensions, instead of a copy of all features.
_PART = 4096


def parts(matrix: torch.Tensor) -> Iterator[torch.Tensor]:
    """Return some thousand rows after the other as float64, each before the next overwrites it."""
    if matrix.dtype == torch.float64:
        yield from matrix.split(_PART)
        return
    buffer = matrix.new_empty(min(_PART, len(matrix)), matrix.shape[1], dtype=torch.float64)
    for part in matrix.split(_PART):
        yield buffer[: len(part)].copy_(part)


@dataclass(frozen=True, eq=False)
class Classes:
    """Labels of n items: `index` (n,) int64 into the classes that occur, `counts` (c,) float64."""

    index: torch.Tensor
    counts: torch.Tensor

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.counts)

    @property
    def one_hot(self) -> torch.Tensor:
        """The labels as a float64 matrix (n, c)."""
        return torch.nn.functional.one_hot(self.index, len(self)).to(torch.float64)

    @property
    def squares(self) -> torch.Tensor:
        """The squared length (c,) of each column of `one_hot`."""
        return self.counts

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of `values` (n, k) over the items of each class, (c, k) float64."""
        total = values.new_zeros(len(self), values.shape[1], dtype=torch.float64)
        for index, part in zip(self.index.split(_PART), parts(values), strict=True):
            total.index_add_(0, index, part)
        return total

    def means(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of `values` (n, k) over the items of each class, (c, k)."""
        return self.sums(values) / self.counts[:, None]


@dataclass(frozen=True, eq=False)
class NumericTargets:
    """Numbers (n, c) float64 to be predicted, each column by itself."""

    values: torch.Tensor

    @property
    def squares(self) -> torch.Tensor:
        """The squared length (c,) of each column."""
        return self.values.square().sum(0)

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of `values` (n, k) weighted by each column, (c, k) float64."""
        total = values.new_zeros(self.values.shape[1], values.shape[1], dtype=torch.float64)
        for weights, part in zip(parts(self.values), parts(values), strict=True):
            total.addmm_(weights.T, part)
        return total


def as_targets(labels: Any, n: int, device: torch.device) -> Classes | NumericTargets:
    """Return n labels as classes where they are (n,) integers, else as columns (n, c).

    Raises:
        InvalidInputError: when there are not n labels, or targets are not finite.
    """
    tensor = as_tensor(labels, "labels").detach()
    if tensor.ndim not in (1, 2) or tensor.shape[0] != n or not tensor.numel() or tensor.is_complex():
        raise InvalidInputError(f"{n} rows of features need as many labels, got shape {tuple(tensor.shape)}")
    if tensor.ndim == 1 and not tensor.is_floating_point():
        return as_classes(tensor, n, device)
    values = tensor.reshape(n, -1).to(device, torch.float64)
    if not torch.isfinite(values).all():
        raise InvalidInputError("targets hold NaN or infinity; drop those rows first")
    return NumericTargets(values)


def as_classes(labels: Any, n: int, device: torch.device) -> Classes:
    """Return n integer labels as classes; their order and names carry no meaning.

    Raises:
        InvalidInputError: for floats, another rank, or another number of labels.
    """
    tensor = as_tensor(labels, "labels")
    if tensor.is_floating_point() or tensor.is_complex() or tensor.ndim != 1:
        raise InvalidInputError(
            f"classification needs (n,) integers, got {tensor.dtype} {tuple(tensor.shape)}"
        )
    if len(tensor) != n:
        raise InvalidInputError(f"{n} rows of features need as many labels, got {len(tensor)}")
    _, index, counts = torch.unique(tensor.to(device, torch.int64), return_inverse=True, return_counts=True)
    return Classes(index, counts.to(torch.float64))
