"""What a network computes and keeps for an input: counted on shapes alone, without weights or numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from expertise_graph.core import FOOTPRINT, Expert, Footprint
from expertise_graph.models.pooled import PIXELS

# Of texts two lengths tell what a token costs and what a pair of them does.
_SHORT, _LONG = 16, 48
# Parts of networks that are counted: the deepest published ones have 3,000, and each takes a millisecond.
_MOST_PARTS = 5000
# Inputs of a batch, so that what a network does once a batch is told apart from what it does for each.
_ITEMS = 4

_aten = torch.ops.aten
_MATRIX = {_aten.mm.default, _aten.bmm.default, _aten.addmm.default, _aten.baddbmm.default}
_CONVOLUTIONS = {_aten.convolution.default, _aten._convolution.default}
# Views: they read and write nothing.
_FREE = {
    *("view", "_unsafe_view", "t", "transpose", "permute", "expand", "slice", "select", "unsqueeze"),
    *("squeeze", "detach", "alias", "split", "unbind", "as_strided", "reshape", "chunk", "empty"),
}


class _Counter(TorchDispatchMode):
    """Counts what the operations inside the block compute and move."""

    def __init__(self, weights: Set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._weights = weights
        self.linear = self.convolved = self.moved = self.widest = 0.0
        self.kernels = 0

    def __torch_dispatch__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._schema.name.partition("::")[2] in _FREE:
            return out
        # Weights are read once a batch, and of tables a few rows.
        read = sum(_bytes(t) for t in _tensors(args) if _storage(t) not in self._weights)
        written = sum(_bytes(t) for t in _tensors((out,)))
        self.moved += read + written
        self.widest = max(self.widest, written + read)
        self.kernels += 1
        if func in _MATRIX:
            a, b = [t for t in _tensors(args) if t.ndim >= 2][-2:]
            self.linear += a.numel() * b.shape[-1]
        elif func in _CONVOLUTIONS:
            weight = args[1]
            if weight.shape[1] > 1 or args[-1] == 1:
                self.convolved += out.numel() * weight[0].numel()
        elif "attention" in str(func):
            q, k = args[0], args[1]
            self.linear += 2 * q.numel() * k.shape[-2]
        return out


def _tensors(values: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


class _AsOnCpu(TorchFunctionMode):
    """Replaces what draws at random, or is computed in another way on shapes, by what training does."""

    def __torch_function__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        ours = _REPLACED.get(func)
        return func(*args, **(kwargs or {})) if ours is None else ours(*args, **(kwargs or {}))


def _dropout(
    input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> torch.Tensor:
    # A factor for each number, as random numbers that are drawn by item have.
    return input * torch.empty_like(input) if training and p else input


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    if enable_gqa and key.shape[1] != query.shape[1]:
        key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], dim=1) for t in (key, value))
    if dropout_p or query.ndim != 4 or key.shape[-1] != value.shape[-1]:
        weights = (query @ key.transpose(-2, -1) * (scale or 1 / math.sqrt(query.shape[-1]))).softmax(dim=-1)
        return _dropout(weights, dropout_p) @ value
    result: torch.Tensor = _aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, is_causal, scale=scale
    )[0]
    return result


def _undecided(tensor: torch.Tensor) -> bool:
    # Whether all of a mask is set is what networks ask, to leave it out: in a batch of texts it is not.
    return False


_REPLACED: dict[Callable[..., Any], Callable[..., Any]] = {
    functional.dropout: _dropout,
    functional.scaled_dot_product_attention: _attention,
    torch.Tensor.__bool__: _undecided,
}


def footprint_of(module: nn.Module, *, like: Expert) -> Footprint | None:
    """Return what an input costs a network that is fed as an expert is; None where that is not known."""
    known = Footprint.from_dict(like.meta.get(FOOTPRINT))
    if known is None:
        return None
    if not known.numbers:
        return footprint_of_texts(module)
    channels = next((m.in_channels for m in module.modules() if isinstance(m, nn.Conv2d)), 3)
    return footprint_of_images(module, channels=channels, side=math.isqrt(known.numbers // channels))


def footprint_of_images(
    module: nn.Module, *, channels: int, side: int, name: str = PIXELS
) -> Footprint | None:
    """Return what an image costs a network; None where that cannot be found out on shapes alone.

    Args:
        module: on any device; it is not run on its weights, and is left as it is.
        channels: of an image.
        side: pixels of a side.
        name: of the input of the network.
    """
    batch = {name: torch.empty(_ITEMS, channels, side, side, device="meta")}
    counted = _counted(module, batch)
    if counted is None:
        return None
    kernels = counted.pop("kernels")
    return Footprint(
        **counted,  # type: ignore[arg-type]
        params=_size(module),
        kernels=int(kernels),
        lookup=_lookup(module),
        numbers=channels * side * side,
    )


def footprint_of_texts(module: nn.Module) -> Footprint | None:
    """Return what a token, and a pair of tokens, costs a network; None as of images."""
    short, long = (_counted(module, _texts(length)) for length in (_SHORT, _LONG))
    if short is None or long is None:
        return None
    kernels, found = short.pop("kernels"), {}
    for name, value in short.items():
        a_token, more = value / _SHORT, long[name] / _LONG
        pair = max(0.0, (more - a_token) / (_LONG - _SHORT))
        found[name] = max(0.0, a_token - pair * _SHORT)
        if name != "convolved":
            found[f"pair_{name}"] = pair
    rows = max((m.num_embeddings for m in _tables(module)), default=0)
    return Footprint(
        **found,  # type: ignore[arg-type]
        params=_size(module),
        kernels=int(kernels),
        lookup=_lookup(module),
        vocabulary=rows,
    )


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _texts(length: int) -> dict[str, torch.Tensor]:
    ids = torch.empty(_ITEMS, length, dtype=torch.int64, device="meta")
    return {"input_ids": ids, "attention_mask": torch.empty_like(ids)}


def _tables(module: nn.Module) -> list[nn.Embedding]:
    return [m for m in module.modules() if isinstance(m, nn.Embedding)]


def _lookup(module: nn.Module) -> int:
    return sum(table.weight.numel() for table in _tables(module))


def _counted(module: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, float] | None:
    """Return the numbers of a footprint for an item of a batch."""
    tables = {id(table.weight) for table in _tables(module)}
    if sum(1 for _ in module.modules()) > _MOST_PARTS:
        return None
    try:
        passed, kept = _run(module, batch, trained=lambda name, p: id(p) not in tables)
    except Exception:
        return None
    return {
        "linear": passed.linear / _ITEMS,
        "convolved": passed.convolved / _ITEMS,
        "moved": passed.moved / _ITEMS,
        "widest": passed.widest / _ITEMS,
        "kept": kept / _ITEMS,
        "kernels": passed.kernels,
    }


def _run(
    module: nn.Module, batch: dict[str, torch.Tensor], *, trained: Callable[[str, nn.Parameter], bool]
) -> tuple[_Counter, float]:
    """Return what a training pass on shapes computes, and the bytes that it keeps."""
    tensors: dict[str, torch.Tensor] = {
        name: torch.empty_like(p, device="meta").requires_grad_(p.is_floating_point() and trained(name, p))
        for name, p in module.named_parameters()
    }
    tensors |= {name: torch.empty_like(b, device="meta") for name, b in module.named_buffers()}
    own = {_storage(t) for t in tensors.values()}
    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(_storage(tensor), tensor)
        return tensor

    training = {m: m.training for m in module.modules()}
    try:
        module.train()
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()
        with (
            torch.device("meta"),
            _AsOnCpu(),
            _Counter(own) as counter,
            torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t),
        ):
            output = torch.func.functional_call(module, tensors, (), batch, tie_weights=True)
            del output
    finally:
        for part, was in training.items():
            part.training = was
    return counter, sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in own)


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
