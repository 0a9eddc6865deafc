"""Starter experts in memory, and a network that is another one with every channel doubled."""

from __future__ import annotations

import torch
from PIL import Image
from torch import nn

from expertise_graph.core.types import Expert
from expertise_graph.models.base import Backbone, SourceOptions
from expertise_graph.models.loading import load, resolve
from tests.materials import LETTERS, gloss_rows


def starter(name: str) -> tuple[Expert, Backbone]:
    """Return a starter expert as node and in memory."""
    expert = resolve(f"zoo:{name}", SourceOptions())
    return expert, load(expert)


def pictures(n: int, *, split: str = "train") -> list[Image.Image]:
    """Return pictures of letters, spread over the alphabet."""
    paths = sorted((LETTERS / split).glob("*/*.png"))
    return [Image.open(path).convert("RGB") for path in paths[:: len(paths) // n][:n]]


def texts(n: int) -> list[str]:
    """Return short texts."""
    return [text for text, _ in gloss_rows(n // 4 + 1)][:n]


class Chain(nn.Module):
    """Convolutions, one of them depthwise, one grouped, with a skip and a normalisation."""

    def __init__(self, width: int, groups: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stride=2)
        self.norm = nn.BatchNorm2d(width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.grouped = nn.Conv2d(width, width, 3, padding=1, groups=groups)
        self.last = nn.Linear(width, 2 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + torch.relu(self.grouped(self.depthwise(x)))
        return self.last(x.mean((2, 3)))


def chain(width: int, *, seed: int = 0, groups: int = 2) -> Chain:
    """Return a chain with random weights and statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = Chain(width, groups).eval()
        nn.init.uniform_(made.norm.running_mean)
        nn.init.uniform_(made.norm.running_var, 0.5, 2.0)
        nn.init.uniform_(made.norm.weight, 0.5, 2.0)
    return made


def doubled(small: Chain) -> Chain:
    """Return the network in which every channel is there twice, side by side, and that gives the same twice.

    What is summed over twice as many channels has half the weight.
    """
    width = small.stem.out_channels
    large = chain(2 * width, seed=1, groups=small.grouped.groups)
    state = {}
    for name, tensor in small.state_dict().items():
        if tensor.ndim:
            tensor = tensor.repeat_interleave(2, dim=0)
        if name in ("grouped.weight", "last.weight"):
            tensor = tensor.repeat_interleave(2, dim=1) / 2
        state[name] = tensor
    large.load_state_dict(state)
    return large
