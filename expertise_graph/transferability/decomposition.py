"""What estimators need to know of features, worked out once: centring, scale, spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from expertise_graph.transferability._checks import as_matrix
from expertise_graph.transferability._classes import Classes, NumericTargets, as_classes, parts

# Columns of a block of the Gram matrix: wide enough for fast matrix products, and narrow enough that little
# beyond the needed triangle is computed.
_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular value decomposition of `rows` (n, d) from the smaller Gram matrix.

    Attributes:
        matrix: (n, d) float32 or float64.
        unit: the rows are `matrix` over this; kept apart so that no copy need be made.
        values: (k,) squared singular values above rounding, largest first.
        vectors: (min(n, d), k) eigenvectors of the smaller Gram matrix.
    """

    matrix: torch.Tensor
    unit: float
    values: torch.Tensor
    vectors: torch.Tensor

    @property
    def rows(self) -> torch.Tensor:
        """The rows (n, d) float64; the matrix itself where it is that already."""
        rows = self.matrix.to(torch.float64)
        return rows if self.unit == 1.0 else rows / self.unit

    @property
    def wide(self) -> bool:
        """Whether the smaller Gram matrix is that of the n rows."""
        return self.matrix.shape[0] <= self.matrix.shape[1]

    @cached_property
    def left(self) -> torch.Tensor:
        """Left singular vectors (n, k); the largest entry of each is positive, for a defined sign."""
        left = self.vectors if self.wide else self.rows @ (self.vectors / self.values.sqrt())
        largest = left.gather(0, left.abs().argmax(0, keepdim=True)) if left.shape[1] else left[:1]
        return left * torch.where(largest < 0, -1.0, 1.0)

    def project(self, targets: Classes | NumericTargets) -> torch.Tensor:
        """Return the squared projections (c, k) of c targets on the left singular vectors."""
        if self.wide:
            return targets.sums(self.vectors).square()
        return ((targets.sums(self.matrix) / self.unit) @ self.vectors).square() / self.values

    def coordinates(self, most: int | None = None) -> torch.Tensor:
        """Return the rows (n, r) along the principal axes, `most` of them or all k."""
        return self.left[:, :most] * self.values[:most].sqrt()


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Checked features (n, d), float32 as given or float64, with what is worked out from them kept.

    Estimators take it in place of features, see `decompose`.
    """

    given: torch.Tensor

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.given)

    @property
    def device(self) -> torch.device:
        """Where the features are."""
        return self.given.device

    @property
    def width(self) -> int:
        """Dimensions of the features."""
        return self.given.shape[1]

    def classes(self, labels: Any) -> Classes:
        """Return integer labels (n,) of the items as classes.

        Raises:
            InvalidInputError: for floats, another rank, or another number of labels.
        """
        return as_classes(labels, len(self), self.device)

    @cached_property
    def features(self) -> torch.Tensor:
        """The features (n, d) float64."""
        return self.given.to(torch.float64)

    @cached_property
    def raw(self) -> Spectrum:
        """The spectrum of the features as they are, in the unit of their largest entry."""
        if 1e-100 < self._unit < 1e100:
            return _spectrum(self.given, self._unit)
        # Squares would leave the range of float64.
        return _spectrum(self.given / self._unit, 1.0)

    @cached_property
    def centred(self) -> Spectrum:
        """The spectrum of the centred features in the unit `scale`: mean squared row norm one."""
        return _spectrum(self._centring[0], 1.0)

    @cached_property
    def mean(self) -> torch.Tensor:
        """Mean of each column (d,)."""
        return (self.features / self._unit).mean(0) * self._unit

    @property
    def scale(self) -> float:
        """Root mean squared row norm of the centred features; one where they are constant."""
        return self._centring[1]

    @cached_property
    def _unit(self) -> float:
        low, high = torch.aminmax(self.given)
        return max(-float(low), float(high)) or 1.0

    @cached_property
    def _centring(self) -> tuple[torch.Tensor, float]:
        """The centred features over their scale, and that; by the first row so that constants leave zero."""
        rows = self.given.to(torch.float64) / self._unit
        rows -= rows[0].clone()
        rows -= rows.mean(0)
        scale = math.sqrt(float(torch.linalg.vector_norm(rows)) ** 2 / len(rows)) or 1.0
        return rows.div_(scale), scale * self._unit

    def shuffled(self, seed: int) -> torch.Tensor:
        """Return the items (n,) in a random order that does not depend on the order of the rows.

        The rows are put in order of their distance from the mean before they are shuffled.
        """
        order = self._centring[0].square().sum(1).argsort(stable=True)
        shuffle = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return order[shuffle.to(order.device)]


def decompose(features: Any) -> Decomposition:
    """Return features (n, d) checked, and ready to be scored by several estimators.

    Args:
        features: (n, d) float, numpy or torch; or what this function returned before.

    Raises:
        InvalidInputError: for another rank, fewer than two rows, NaN or infinity.
    """
    return features if isinstance(features, Decomposition) else Decomposition(as_matrix(features))


def _spectrum(matrix: torch.Tensor, unit: float) -> Spectrum:
    n, d = matrix.shape
    values, vectors = torch.linalg.eigh(_gram(matrix if n > d else matrix.T) / unit**2)
    keep = values > values[-1].clamp_min(0.0) * max(n, d) * torch.finfo(torch.float64).eps
    return Spectrum(matrix, unit, values[keep].flip(0), vectors[:, keep].flip(1))


def _gram(matrix: torch.Tensor) -> torch.Tensor:
    """Return the lower triangle of M^T M (k, k) float64 of a matrix M (m, k).

    By blocks of columns: the other half would be worked out for nothing.
    """
    k = matrix.shape[1]
    gram = matrix.new_zeros(k, k, dtype=torch.float64)
    for rows in parts(matrix):
        for start in range(0, k, _BLOCK):
            block = slice(start, start + _BLOCK)
            gram[block, start:].addmm_(rows[:, block].T, rows[:, start:])
    return gram.T
