"""The strategy that trains low-rank adapters: apart from the others, since it brings peft, which is slow."""

from __future__ import annotations

from torch import nn

from expertise_graph.models import adaptable, add_adapter, save_adapter
from expertise_graph.training.strategy import Strategy


def _moving(module: nn.Module, rank: int) -> list[nn.Parameter]:
    return add_adapter(module, rank=rank) if adaptable(module) else []


strategy = Strategy(
    summary="low-rank adapters beside frozen weights", moving=_moving, lr=3.0, save=save_adapter
)
