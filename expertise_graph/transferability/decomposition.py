"""What estimators need to know of features, worked out once: centring, scale, spectrum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from expertise_graph.transferability._checks import as_features


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular value decomposition of `rows` (n, d) from the smaller Gram matrix.

    Attributes:
        rows: (n, d) float64.
        values: (k,) squared singular values above rounding, largest first.
        vectors: (min(n, d), k) eigenvectors of the smaller Gram matrix.
    """

    rows: torch.Tensor
    values: torch.Tensor
    vectors: torch.Tensor

    @property
    def wide(self) -> bool:
        """Whether the smaller Gram matrix is that of the n rows."""
        return self.rows.shape[0] <= self.rows.shape[1]

    @cached_property
    def left(self) -> torch.Tensor:
        """Left singular vectors (n, k); the largest entry of each is positive, for a defined sign."""
        left = self.vectors if self.wide else self.rows @ (self.vectors / self.values.sqrt())
        largest = left.gather(0, left.abs().argmax(0, keepdim=True)) if left.shape[1] else left[:1]
        return left * torch.where(largest < 0, -1.0, 1.0)

    def project(self, targets: torch.Tensor) -> torch.Tensor:
        """Return the squared projections (k, c) of `targets` (n, c) on the left singular vectors."""
        if self.wide:
            return (self.vectors.T @ targets).square()
        return (self.vectors.T @ (self.rows.T @ targets)).square() / self.values[:, None]

    def coordinates(self, most: int | None = None) -> torch.Tensor:
        """Return the rows (n, r) along the principal axes, `most` of them or all k."""
        return self.left[:, :most] * self.values[:most].sqrt()


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Checked features (n, d) float64, with what is worked out from them kept.

    Estimators take it in place of features, see `decompose`.
    """

    features: torch.Tensor

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.features)

    @cached_property
    def raw(self) -> Spectrum:
        """The spectrum of the features as they are, in the unit of their largest entry."""
        return _spectrum(self.features / self._unit)

    @cached_property
    def centred(self) -> Spectrum:
        """The spectrum of the centred features in the unit `scale`: mean squared row norm one."""
        return _spectrum(self._deviations / (self.scale / self._unit))

    @cached_property
    def mean(self) -> torch.Tensor:
        """Mean of each column (d,)."""
        return (self.features / self._unit).mean(0) * self._unit

    @cached_property
    def scale(self) -> torch.Tensor:
        """Root mean squared row norm of the centred features; one where they are constant."""
        return self._unit * _positive(self._deviations.square().sum(1).mean().sqrt())

    @cached_property
    def _unit(self) -> torch.Tensor:
        return _positive(self.features.abs().max())

    @cached_property
    def _deviations(self) -> torch.Tensor:
        """Centred features over their largest entry, by the first row so that constants leave zero."""
        rows = self.features / self._unit
        rows = rows - rows[0]
        return rows - rows.mean(0)

    def shuffled(self, seed: int) -> torch.Tensor:
        """Return the items (n,) in a random order that does not depend on the order of the rows.

        The rows are put in order of their distance from the mean before they are shuffled.
        """
        order = self.centred.rows.square().sum(1).argsort(stable=True)
        shuffle = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return order[shuffle.to(order.device)]


def decompose(features: Any) -> Decomposition:
    """Return features (n, d) checked, and ready to be scored by several estimators.

    Args:
        features: (n, d) float, numpy or torch; or what this function returned before.

    Raises:
        InvalidInputError: for another rank, fewer than two rows, NaN or infinity.
    """
    return features if isinstance(features, Decomposition) else Decomposition(as_features(features))


def _positive(value: torch.Tensor) -> torch.Tensor:
    return torch.where(value > 0, value, torch.ones_like(value))


def _spectrum(rows: torch.Tensor) -> Spectrum:
    n, d = rows.shape
    values, vectors = torch.linalg.eigh(rows @ rows.T if n <= d else rows.T @ rows)
    keep = values > values[-1].clamp_min(0.0) * max(n, d) * torch.finfo(torch.float64).eps
    return Spectrum(rows, values[keep].flip(0), vectors[:, keep].flip(1))
