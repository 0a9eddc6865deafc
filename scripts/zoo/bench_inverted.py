"""Networks of inverted residuals (MobileNetV2, EfficientNet), filled from published weights by position.

All publications of these networks list the same tensors in the same order under other names, so a
tensor is found by its place and checked by its shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

Stage = tuple[int, int, int, int, int]
"""Expansion, channels, repeats, stride of the first, kernel."""

MOBILENET: tuple[Stage, ...] = (
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 32, 3, 2, 3), (6, 64, 4, 2, 3), (6, 96, 3, 1, 3),
    (6, 160, 3, 2, 3), (6, 320, 1, 1, 3),
)  # fmt: skip
EFFICIENT: tuple[Stage, ...] = (
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5), (6, 320, 1, 1, 3),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Style:
    """How publications of one design differ: activation, padding, epsilon of the norms, attention."""

    activation: type[nn.Module] = nn.ReLU6
    uneven: bool = False
    epsilon: float = 1e-5
    squeeze: bool = False


class UnevenConv(nn.Conv2d):
    """A convolution padded as TensorFlow does: the odd pixel on the right and at the bottom."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the padded convolution."""
        pads: list[int] = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(functional.pad(x, pads), self.weight, None, self.stride, 0, 1, self.groups)


class Squeeze(nn.Module):
    """Channels weighed by what the whole image shows."""

    def __init__(self, channels: int, narrow: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, narrow, 1), nn.Conv2d(narrow, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the weighted map."""
        return x * torch.sigmoid(self.up(functional.silu(self.down(x.mean((2, 3), keepdim=True)))))


class Inverted(nn.Module):
    """An inverted residual: expand, convolve each channel, project; added to the input where sizes agree."""

    def __init__(self, wide: int, stage: Stage, style: Style) -> None:
        super().__init__()
        expansion, out, _, stride, kernel = stage
        inner = wide * expansion
        layers: list[nn.Module] = _conv(wide, inner, style) if expansion > 1 else []
        layers += _conv(inner, inner, style, kernel=kernel, stride=stride, groups=inner)
        layers += [Squeeze(inner, wide // 4)] if style.squeeze else []
        layers += _conv(inner, out, style)[:-1]
        self.layers = nn.Sequential(*layers)
        self.adds = stride == 1 and wide == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        result: torch.Tensor = self.layers(x)
        return x + result if self.adds else result


class InvertedNet(nn.Module):
    """A stem, stages of inverted residuals, a last convolution, the mean over space: (n, 1280)."""

    def __init__(self, stages: Sequence[Stage], style: Style) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Sequential(*_conv(3, 32, style, kernel=3, stride=2))]
        wide = 32
        for expansion, out, repeats, stride, kernel in stages:
            for turn in range(repeats):
                blocks.append(Inverted(wide, (expansion, out, 1, stride if turn == 0 else 1, kernel), style))
                wide = out
        self.blocks = nn.Sequential(*blocks, nn.Sequential(*_conv(wide, 1280, style)))
        # Nearly twice as fast on a CPU.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (n, 1280)."""
        features: torch.Tensor = self.blocks(x.contiguous(memory_format=torch.channels_last))
        return features.mean((2, 3))

    def fill(self, published: Iterable[torch.Tensor]) -> InvertedNet:
        """Take over tensors in the order of publication; those of a head at the end are left out."""
        given = iter([t for t in published if t.ndim])
        own = {name: t for name, t in self.state_dict().items() if t.ndim}
        for name, tensor in own.items():
            new = next(given)
            if new.shape != tensor.shape:
                raise ValueError(f"{name}: {tuple(tensor.shape)} is needed, {tuple(new.shape)} comes next")
            tensor.copy_(new)
        return self


def _conv(
    wide: int, out: int, style: Style, *, kernel: int = 1, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    kind, pad = (UnevenConv, 0) if style.uneven else (nn.Conv2d, kernel // 2)
    convolution = kind(wide, out, kernel, stride, pad, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(out, eps=style.epsilon), style.activation()]
