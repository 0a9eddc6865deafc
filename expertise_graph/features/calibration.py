"""How fast this machine trains: a quarter of a second of the operations that training consists of."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from expertise_graph.features.demand import Speed
from expertise_graph.features.processor import quickest

# Shapes that are timed: 512 tokens through a layer of a small transformer; four maps of a residual network.
_TOKENS, _WIDTH, _INNER = 512, 384, 1536
_IMAGES, _CHANNELS, _SIDE, _KERNEL = 4, 64, 56, 3
# Numbers of what element-wise operations are timed on: 4 MB, as activations of a small batch take.
_NUMBERS = 1 << 20
# Operations in a chain, so that the clock's own cost does not count.
_CHAIN = 50


@functools.cache
def calibrate(clock: Callable[[], float] = time.perf_counter) -> Speed:
    """Return how fast this machine computes with as many threads as torch is set to; once a process.

    Args:
        clock: in seconds; that of the processor leaves out what others take of it.
    """
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    tokens, weight, bias = numbers(_TOKENS, _WIDTH), numbers(_INNER, _WIDTH), numbers(_INNER)
    images, filters = (
        numbers(_IMAGES, _CHANNELS, _SIDE, _SIDE),
        numbers(_CHANNELS, _CHANNELS, _KERNEL, _KERNEL),
    )
    many, few = numbers(_NUMBERS), numbers(8)

    def chain() -> torch.Tensor:
        result = few
        for _ in range(_CHAIN):
            result = result + 1.0
        return result

    timed = functools.partial(quickest, clock=clock)
    with torch.inference_mode():
        linear = timed(lambda: functional.linear(tokens, weight, bias))
        convolved = timed(lambda: functional.conv2d(images, filters, padding=1))
        # One operation that is arithmetic, and one that only moves numbers.
        moved = timed(lambda: functional.gelu(many)) + timed(lambda: many + many)
        kernel = timed(chain)
    products = images.numel() * filters[0].numel()
    return Speed(
        linear=_TOKENS * _WIDTH * _INNER / linear,
        convolved=products / convolved,
        moved=5 * many.numel() * many.element_size() / moved,
        kernel=kernel / _CHAIN,
    )
