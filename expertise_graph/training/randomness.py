"""Random numbers by item: a batch draws the same in one piece, in parts and on several processes.

Dropout and stochastic depth draw one block of numbers for a whole batch from the global generator, so that
a batch computed in parts is another training than the same batch in one piece. Here each item has a
generator of its own, seeded by the epoch and the item.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Tensor = torch.Tensor

# The largest seed that a generator takes.
_SEEDS = 2**63 - 1
# The golden ratio in 64 bits: items that follow each other get seeds far apart.
_SPREAD = 0x9E3779B97F4A7C15


class RandomByItem(TorchFunctionMode):
    """Inside this block, what a network draws at random for its batch is drawn for each item by itself.

    It covers dropout, that of attention included, and stochastic depth, where the first dimension is the
    batch.

    Args:
        seed: of the epoch.
        rows: the items of the batch, in its order.

    Attributes:
        used: whether anything was drawn.
    """

    def __init__(self, seed: int, rows: Iterable[int]) -> None:
        super().__init__()
        self._seeds = [(seed + (int(row) + 1) * _SPREAD) % _SEEDS for row in rows]
        self._generators: list[torch.Generator] = []
        self.used = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace the functions that draw; the mode is off meanwhile."""
        ours = _REPLACEMENTS.get(func)
        result = NotImplemented if ours is None else ours(self, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if result is NotImplemented else result

    def covers(self, shape: Sequence[int]) -> bool:
        """Tell whether the first dimension of a shape is the batch."""
        return len(shape) > 0 and shape[0] == len(self._seeds)

    def uniform(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """Return float32 numbers from 0 to 1 of a shape that `covers` the batch."""
        self.used = True
        if not self._generators:
            self._generators = [torch.Generator(device).manual_seed(seed) for seed in self._seeds]
        numbers = torch.empty(tuple(shape), device=device)
        for item, generator in zip(numbers, self._generators, strict=True):
            item.uniform_(generator=generator)
        return numbers


def _dropout(
    mode: RandomByItem, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Any:
    return _dropped(mode, input, input.shape, p if training else 0.0, inplace=inplace)


def _channel_dropout(
    mode: RandomByItem, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Any:
    shape = (*input.shape[:2], *(1 for _ in input.shape[2:]))
    return _dropped(mode, input, shape, p if training else 0.0, inplace=inplace)


def _dropped(
    mode: RandomByItem, input: Tensor, shape: Sequence[int], p: float, *, inplace: bool = False
) -> Any:
    if not 0 < p < 1 or not mode.covers(shape):
        return NotImplemented
    factor = (mode.uniform(shape, input.device) >= p).to(input.dtype) / (1 - p)
    return input.mul_(factor) if inplace else input * factor


def _attention(
    mode: RandomByItem,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    if not dropout_p or enable_gqa or not mode.covers(query.shape):
        return NotImplemented
    scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        # Not minus infinity: a query that may look nowhere would give NaN.
        scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = scores.softmax(dim=-1)
    return _dropped(mode, weights, weights.shape, dropout_p) @ value


def _rand(mode: RandomByItem, *size: Any, **options: Any) -> Any:
    """Stand in for `torch.rand` as stochastic depth calls it: (batch, 1, ...), a type and a device."""
    shape = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
    if not mode.covers(shape) or options.keys() - {"dtype", "device"}:
        return NotImplemented
    numbers = mode.uniform(shape, torch.device(options.get("device") or "cpu"))
    return numbers.to(options.get("dtype") or torch.get_default_dtype())


def _bernoulli(mode: RandomByItem, tensor: Tensor, p: Any = 0.5, *, generator: Any = None) -> Any:
    if not isinstance(p, float) or generator is not None or not mode.covers(tensor.shape):
        return NotImplemented
    return tensor.copy_(mode.uniform(tensor.shape, tensor.device) < p)


_REPLACEMENTS: dict[Callable[..., Any], Callable[..., Any]] = {
    functional.dropout: _dropout,
    functional.dropout1d: _channel_dropout,
    functional.dropout2d: _channel_dropout,
    functional.dropout3d: _channel_dropout,
    functional.scaled_dot_product_attention: _attention,
    torch.rand: _rand,
    torch.Tensor.bernoulli_: _bernoulli,
}
