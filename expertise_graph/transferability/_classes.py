"""Class labels as indices and counts, with sums by class that need no loop over classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from expertise_graph.errors import InvalidInputError
from expertise_graph.transferability._checks import as_tensor


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

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of `values` (n, k) over the items of each class, (c, k)."""
        empty = torch.zeros(len(self), values.shape[1], dtype=values.dtype, device=values.device)
        return empty.index_add_(0, self.index, values)

    def means(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of `values` (n, k) over the items of each class, (c, k)."""
        return self.sums(values) / self.counts[:, None]


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
