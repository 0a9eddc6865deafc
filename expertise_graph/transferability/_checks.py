"""Validation shared by the estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from expertise_graph.core import InvalidInputError

# Elements of the largest temporary array: 64 MB in double precision, few enough for any machine, and so many
# that the loop over parts costs nothing beside the arithmetic.
MOST_ELEMENTS = 1 << 23


def as_features(features: Any, *, least: int = 2) -> torch.Tensor:
    """Return `features` (n, d), numpy or torch, as a finite float64 tensor.

    Raises:
        InvalidInputError: for another rank, fewer than `least` rows, NaN or infinity.
    """
    return as_matrix(features, least=least).to(torch.float64)


def as_matrix(features: Any, *, least: int = 2) -> torch.Tensor:
    """Return `features` (n, d) as a finite tensor, float32 where it is that, else float64.

    Raises:
        InvalidInputError: as `as_features`.
    """
    tensor = as_tensor(features, "features").detach()
    if tensor.ndim != 2 or tensor.shape[0] < least or tensor.shape[1] < 1:
        raise InvalidInputError(
            f"features must be (n, d) with n >= {least} and d >= 1, got {tuple(tensor.shape)}"
        )
    if tensor.is_complex():
        raise InvalidInputError("features must be real numbers, got complex ones")
    matrix = tensor if tensor.dtype == torch.float32 else tensor.to(torch.float64)
    # The extremes are NaN or infinite if any entry is, and take no memory of the size of the features.
    if not torch.isfinite(torch.stack(torch.aminmax(matrix))).all():
        raise InvalidInputError("features hold NaN or infinity; drop those rows first")
    return matrix


def as_tensor(values: Any, what: str) -> torch.Tensor:
    """Return an array, tensor or list of numbers as a tensor; the memory may be shared.

    Raises:
        InvalidInputError: for anything else.
    """
    try:
        # Contiguous and writable, which torch needs of arrays; lists keep their double precision.
        return (
            values
            if isinstance(values, torch.Tensor)
            else torch.from_numpy(np.require(values, None, ["C", "W"]))
        )
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInputError(f"{what} must be an array of numbers, got {type(values).__name__}") from error
