"""Random augmentation of images: position, size, angle, light, mirroring.

They work on whole batches of tensors, after the expert's own preprocessing, so they need no decoding
and run where the model runs. Random numbers come from torch's current generator.

References:
    Cubuk et al., arXiv:1909.13719, RandAugment: a few mild operations of one strength for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

from expertise_graph.core import Z_80
from expertise_graph.models import PIXELS, SIZES, Batch, image_batch

SHIFT = 0.03
"""Images are moved by up to this fraction of their size.

All four are mild, so that they leave the class of a letter or an icon alone; stronger ones were not measured.
"""
SCALE = 0.05
"""Images are enlarged or shrunk by up to this fraction."""
DEGREES = 4.0
"""Images are rotated by up to this angle."""
LIGHT = 0.06
"""Contrast and brightness change by up to this fraction of the range of the preprocessed pixels."""


def augmented(batch: Batch, *, mirror: bool) -> Batch:
    """Return the batch with every image in it changed at random; tensors of other shapes stay.

    Args:
        batch: images are the float tensors (n, channels, height, width).
        mirror: whether half of them may be mirrored.
    """
    return _each(batch, lambda images: _changed(images, mirror=mirror))


def mirrored(batch: Batch) -> Batch:
    """Return the batch with every image in it mirrored left to right."""
    return _each(batch, lambda images: images.flip(-1))


def _each(batch: Batch, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
    """Return the batch with its images changed; those that are padded without their padding."""
    if SIZES not in batch:
        return {name: change(t) if is_images(t) else t for name, t in batch.items()}
    images, sizes = batch[PIXELS], batch[SIZES].tolist()
    return image_batch(
        [change(image[None, :, :h, :w])[0] for image, (h, w) in zip(images, sizes, strict=True)]
    )


def is_images(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor of a batch holds images."""
    return tensor.ndim == 4 and tensor.is_floating_point()


def _changed(images: torch.Tensor, *, mirror: bool) -> torch.Tensor:
    n, device = len(images), images.device
    shift = _uniform((n, 2), device, SHIFT * 2)
    scale = 1.0 + _uniform((n,), device, SCALE)
    angle = _uniform((n,), device, math.radians(DEGREES))
    side = torch.ones(n, device=device)
    if mirror:
        side -= 2.0 * (torch.rand(n, device=device) < 0.5)
    height, width = images.shape[-2:]
    cos, sin, ratio = torch.cos(angle) * scale, torch.sin(angle) * scale, height / width
    first = torch.stack([cos * side, -sin * ratio, shift[:, 0]], dim=1)
    second = torch.stack([sin * side / ratio, cos, shift[:, 1]], dim=1)
    grid = functional.affine_grid(
        torch.stack([first, second], dim=1), list(images.shape), align_corners=False
    )
    moved = functional.grid_sample(
        images, grid.to(images.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )
    contrast = 1.0 + _uniform((n, 1, 1, 1), device, LIGHT)
    return moved * contrast + _uniform((n, 1, 1, 1), device, LIGHT)


def _uniform(shape: tuple[int, ...], device: torch.device, limit: float) -> torch.Tensor:
    """Return numbers drawn evenly from -limit to limit."""
    return (2.0 * torch.rand(shape, device=device) - 1.0) * limit


def mirroring_harms(plain: torch.Tensor, mirrored: torch.Tensor) -> bool:
    """Tell whether items are told apart worse when they are mirrored, beyond what chance does.

    A one-sided sign test at 10 %: letters and digits fail it, most photographs do not.

    Args:
        plain: (n,) bool, whether each held-out item was right.
        mirrored: (n,) bool, the same after mirroring.
    """
    lost = int((plain & ~mirrored).sum())
    won = int((~plain & mirrored).sum())
    return lost - won > Z_80 * math.sqrt(lost + won)
