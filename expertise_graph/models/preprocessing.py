"""Preprocessing of images for experts that come without a preprocessing file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from expertise_graph.core import InvalidInputError, setting
from expertise_graph.models.base import InputSpec


def image_collate(
    spec: InputSpec, transform: Callable[[Any], torch.Tensor] | None = None
) -> Callable[[Sequence[Any]], dict[str, torch.Tensor]]:
    """Return a function from PIL images to {"x": (n, channels, size, size)} as `spec` declares."""
    one = transform or (lambda image: image_tensor(image, spec))
    return lambda items: {"x": torch.stack([one(item) for item in items])}


def image_tensor(image: Image.Image, spec: InputSpec) -> torch.Tensor:
    """Return (channels, size, size) float32: resized, scaled to [0, 1], normalised."""
    mode = {1: "L", 3: "RGB"}[spec.channels]
    resized = image.convert(mode).resize((spec.size, spec.size), Image.Resampling.BILINEAR)
    pixels = np.asarray(resized, dtype=np.float32).reshape(spec.size, spec.size, spec.channels) / 255.0
    scaled = (pixels - np.asarray(spec.mean, dtype=np.float32)) / np.asarray(spec.std, dtype=np.float32)
    return torch.from_numpy(scaled.transpose(2, 0, 1).copy())


def check_input(spec: InputSpec) -> InputSpec:
    """Return `spec` after checking it.

    Raises:
        InvalidInputError: for a size, channel count or scaling that cannot be.
    """
    if not 4 <= spec.size <= 4096 or spec.channels not in (1, 3):
        raise InvalidInputError(
            f"{setting('input_size', spec.size)} and {setting('channels', spec.channels)} were given: 4 to "
            "4096 pixels and 1 or 3 channels are possible"
        )
    if len(spec.mean) not in (1, spec.channels) or len(spec.std) not in (1, spec.channels):
        raise InvalidInputError(
            f"{setting('mean')} and {setting('std')} need one number, or one for each of "
            f"{spec.channels} channels"
        )
    if min(spec.std) <= 0:
        raise InvalidInputError(f"{setting('std')} must be positive, got {min(spec.std)}")
    return spec
