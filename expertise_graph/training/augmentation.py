"""Random augmentation of images: position, size, angle, light, mirroring.

They work on whole batches of tensors, after the expert's own preprocessing, so they need no decoding
and run where the model runs. How an item is changed in an epoch does not depend on the batch it is in.

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
DRAWS = 7
"""Random numbers of an image: two for its position, then size, angle, mirroring, contrast, brightness."""


def augmented(batch: Batch, draws: torch.Tensor, *, mirror: bool) -> Batch:
    """Return the batch with every image in it changed; tensors of other shapes stay.

    Args:
        batch: images are the float tensors (n, channels, height, width).
        draws: (n, DRAWS) numbers from 0 to 1, drawn for the items.
        mirror: whether half of them may be mirrored.
    """
    return _each(batch, lambda images, rows: _changed(images, draws[rows], mirror=mirror))


def mirrored(batch: Batch) -> Batch:
    """Return the batch with every image in it mirrored left to right."""
    return _each(batch, lambda images, _: images.flip(-1))


def _each(batch: Batch, change: Callable[[torch.Tensor, slice], torch.Tensor]) -> Batch:
    """Return the batch with its images changed, given which they are; padded ones without their padding."""
    if SIZES not in batch:
        return {name: change(t, slice(None)) if is_images(t) else t for name, t in batch.items()}
    images, sizes = batch[PIXELS], batch[SIZES].tolist()
    return image_batch(
        [
            change(images[i : i + 1, :, :height, :width], slice(i, i + 1))[0]
            for i, (height, width) in enumerate(sizes)
        ]
    )


def is_images(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor of a batch holds images."""
    return tensor.ndim == 4 and tensor.is_floating_point()


def _changed(images: torch.Tensor, draws: torch.Tensor, *, mirror: bool) -> torch.Tensor:
    even = 2.0 * draws.to(images.device) - 1.0
    shift = even[:, :2] * SHIFT * 2
    scale = 1.0 + even[:, 2] * SCALE
    angle = even[:, 3] * math.radians(DEGREES)
    side = torch.where(even[:, 4] < 0, -1.0, 1.0) if mirror else torch.ones_like(angle)
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
    contrast, brightness = (even[:, 5:, None, None, None] * LIGHT).to(images.dtype).unbind(dim=1)
    return moved * (1.0 + contrast) + brightness


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
