"""Validation shared by the estimators."""

from __future__ import annotations

from typing import Any

import torch

from expertise_graph.errors import InvalidInputError


def as_features(features: Any) -> torch.Tensor:
    """Return `features` (n, d), numpy or torch, as a finite float64 tensor.

    Raises:
        InvalidInputError: for another rank, fewer than two rows, NaN or infinity.
    """
    tensor = torch.as_tensor(features).detach().to(torch.float64)
    if tensor.ndim != 2 or tensor.shape[0] < 2 or tensor.shape[1] < 1:
        raise InvalidInputError(f"features must be (n, d) with n >= 2 and d >= 1, got {tuple(tensor.shape)}")
    if not torch.isfinite(tensor).all():
        raise InvalidInputError("features hold NaN or infinity; drop those rows first")
    return tensor


def as_targets(labels: Any, n: int, device: torch.device) -> torch.Tensor:
    """Return labels as a float64 target matrix (n, c): one-hot for integers, columns for floats.

    Raises:
        InvalidInputError: when there are not n labels, or targets are not finite.
    """
    tensor = torch.as_tensor(labels, device=device)
    if tensor.ndim not in (1, 2) or tensor.shape[0] != n:
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
