"""Small image networks of five kinds for 32x32 pixels, each mapping a batch to features (n, d)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from transformers import ResNetConfig, ResNetModel


class Pooled(nn.Module):
    """Stages whose last feature map is averaged over space."""

    def __init__(self, *stages: nn.Module) -> None:
        super().__init__()
        self.stages = nn.Sequential(*stages)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (n, d)."""
        features: torch.Tensor = self.stages(x)
        return features.mean((2, 3))


class Residual(nn.Module):
    """What a block computes, added to its input."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum."""
        result: torch.Tensor = x + self.block(x)
        return result


class Hub(nn.Module):
    """A transformers vision model, pooled by itself."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (n, d)."""
        features: torch.Tensor = self.model(x).pooler_output.flatten(1)
        return features


class Attention(nn.Module):
    """A few transformer layers on patches of four pixels, averaged over patches."""

    def __init__(self, width: int = 80, depth: int = 3, patches: int = 64) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.place = nn.Parameter(torch.randn(1, patches, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (n, width)."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.place
        for layer in self.layers:
            tokens = layer(tokens)
        features: torch.Tensor = self.norm(tokens).mean(1)
        return features


def vgg() -> nn.Module:
    """Return plain convolutions."""
    return Pooled(
        _conv(3, 16), nn.Sequential(_conv(16, 32, 2), _conv(32, 32)),
        nn.Sequential(_conv(32, 64, 2), _conv(64, 64)), nn.Sequential(_conv(64, 128, 2), _conv(128, 128)),
    )  # fmt: skip


def mobile() -> nn.Module:
    """Return depthwise-separable convolutions."""
    return Pooled(
        _conv(3, 24, 2), _separable(24, 48), _separable(48, 64, 2), _separable(64, 64), _separable(64, 96, 2),
        _separable(96, 128),
    )  # fmt: skip


def mixer() -> nn.Module:
    """Return large depthwise convolutions on patches of four pixels."""
    width = 96
    blocks = [
        nn.Sequential(Residual(_conv(width, width, kernel=5, groups=width)), _conv(width, width, kernel=1))
        for _ in range(4)
    ]
    return Pooled(nn.Sequential(nn.Conv2d(3, width, 4, 4), nn.GELU(), nn.BatchNorm2d(width)), *blocks)


def resnet() -> nn.Module:
    """Return residual blocks, in the implementation of transformers."""
    config = ResNetConfig(
        num_channels=3, embedding_size=32, hidden_sizes=[32, 64, 128], depths=[1, 1, 1], layer_type="basic"
    )
    return Hub(ResNetModel(config))


ARCHITECTURES: Mapping[str, Callable[[], nn.Module]] = {
    "vgg": vgg, "mobile": mobile, "mixer": mixer, "resnet": resnet, "attention": Attention,
}  # fmt: skip


def _conv(wide: int, out: int, stride: int = 1, *, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(wide, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU())


def _separable(wide: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(_conv(wide, wide, stride, groups=wide), _conv(wide, out, kernel=1))
