"""Transformers models as feature extractors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from expertise_graph.models.base import Batch

MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""How token states can be pooled; "pooler" is what the model's own layer gives."""
PIXELS = "pixel_values"
"""Name of the tensor of images in a batch."""
SIZES = "sizes"
"""Name of the tensor (n, 2) in a batch that says how high and wide each image is; the rest is padding."""


class PooledModel(nn.Module):
    """A transformers model whose forward gives one vector an input.

    With pooling "pooler" that is what the model's own pooling layer gives. With others feature maps
    (n, c, h, w) are averaged over space, and token states (n, t, c) pooled as `pooling` says, padding
    left out. Images of several shapes are run shape by shape, so that padding changes no features.
    """

    def __init__(self, model: nn.Module, pooling: str, after: nn.Sequential | None = None) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        # Absent, not empty, where there are none: names of tensors and of layers stay as they were.
        if after is not None and len(after):
            self.after = after

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Return features (n, dim)."""
        sizes = batch.pop(SIZES, None)
        if sizes is None:
            features = self._features(batch)
            return self.after(features) if hasattr(self, "after") else features
        shapes, shape_of = sizes.unique(dim=0, return_inverse=True)
        rows = [(shape_of == i).nonzero().flatten() for i in range(len(shapes))]
        images = batch[PIXELS]
        parts = [
            self._features({PIXELS: images[of_shape, :, :height, :width]})
            for of_shape, (height, width) in zip(rows, shapes.tolist(), strict=True)
        ]
        return torch.cat(parts)[torch.cat(rows).argsort()]

    def _features(self, batch: Batch) -> torch.Tensor:
        output = self.model(**batch)
        if self.pooling == "pooler":
            pooled: torch.Tensor = output.pooler_output
            return pooled.flatten(1)
        states: torch.Tensor = output.last_hidden_state
        if states.ndim == 4:
            return states.mean(dim=(2, 3))
        mask = batch.get("attention_mask")
        if mask is None:
            mask = torch.ones(states.shape[:2], device=states.device)
        return pool(states, mask, self.pooling)


def image_batch(images: Sequence[torch.Tensor]) -> Batch:
    """Return images (c, h, w) as a batch; those of several shapes are padded at the right and the bottom."""
    sizes = torch.tensor([image.shape[1:] for image in images])
    if bool((sizes == sizes[0]).all()):
        return {PIXELS: torch.stack(list(images))}
    height, width = sizes.amax(dim=0).tolist()
    padded = [
        nn.functional.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in images
    ]
    return {PIXELS: torch.stack(padded), SIZES: sizes}


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Return (n, c) from token states (n, t, c) and a 0/1 mask (n, t); several modes side by side."""
    if "+" in pooling:
        return torch.cat([pool(states, mask, mode) for mode in pooling.split("+")], dim=1)
    if pooling == "cls":
        first = mask.to(torch.int32).argmax(1)
        return states[torch.arange(len(states), device=states.device), first.long()]
    if pooling == "lasttoken":
        last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
        return states[torch.arange(len(states), device=states.device), last.long()]
    weights = mask.unsqueeze(-1).to(states.dtype)
    if pooling == "max":
        return states.masked_fill(weights == 0, torch.finfo(states.dtype).min).max(dim=1).values
    if pooling == "weightedmean":
        # Later tokens of a decoder have seen more: SGPT, arXiv:2202.08904.
        start = mask.to(torch.int32).argmax(1, keepdim=True)
        places = torch.arange(1, mask.shape[1] + 1, device=mask.device) - start
        weights = weights * places.unsqueeze(-1).to(states.dtype)
    total = weights.sum(1).clamp_min(1.0)
    return (states * weights).sum(1) / (total.sqrt() if pooling == "mean_sqrt_len_tokens" else total)


def image_pooling(model: Any) -> str:
    """Return how the token states of an image model are pooled: its class token, or the mean."""
    return "cls" if any(name.endswith("cls_token") for name, _ in model.named_parameters()) else "mean"
