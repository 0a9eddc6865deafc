"""Validation shared by the estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from expertise_graph.errors import InvalidInputError


def as_features(features: Any, *, least: int = 2) -> torch.Tensor:
    """Return `features` (n, d), numpy or torch, as a finite float64 tensor.

    Raises:
        InvalidInputError: for another rank, fewer than `least` rows, NaN or infinity.
    """
    tensor = as_tensor(features, "features").detach().to(torch.float64)
    if tensor.ndim != 2 or tensor.shape[0] < least or tensor.shape[1] < 1:
        raise InvalidInputError(
            f"features must be (n, d) with n >= {least} and d >= 1, got {tuple(tensor.shape)}"
        )
    if not torch.isfinite(tensor).all():
        raise InvalidInputError("features hold NaN or infinity; drop those rows first")
    return tensor


def as_targets(labels: Any, n: int, device: torch.device) -> torch.Tensor:
    """Return labels as a float64 target matrix (n, c): one-hot for integers, columns for floats.

    Raises:
        InvalidInputError: when there are not n labels, or targets are not finite.
    """
    tensor = as_tensor(labels, "labels").to(device)
    if tensor.ndim not in (1, 2) or tensor.shape[0] != n or not tensor.numel():
        raise InvalidInputError(f"{n} rows of features need as many labels, got shape {tuple(tensor.shape)}")
    if tensor.is_floating_point():
        targets = tensor.reshape(n, -1).to(torch.float64)
        if not torch.isfinite(targets).all():
            raise InvalidInputError("targets hold NaN or infinity; drop those rows first")
        return targets
    if tensor.ndim == 2:
        return tensor.to(torch.float64)
    classes, index = torch.unique(tensor, return_inverse=True)
    return torch.nn.functional.one_hot(index, len(classes)).to(torch.float64)


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
