"""What the rows and columns of a tensor stand for, where that is more than one list of channels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

_HEAD_SIZE = ("attention_head_size", "head_dim", "key_value_proj_dim")
_HEAD_COUNT = ("num_attention_heads", "num_heads", "n_heads")
_WIDTH = ("embed_dim", "all_head_size", "dim")
_INTO_HEADS = re.compile(r"^(q|k|v|query|key|value|[qkv]_proj|[qkv]_lin)$")
_OUT_OF_HEADS = re.compile(r"^(o|dense|proj|o_proj|out_proj|out_lin|c_proj)$")
_FUSED = re.compile(r"^(qkv|c_attn|in_proj_weight|in_proj_bias)$")


@dataclass(frozen=True)
class TensorLayout:
    """How the dimensions of one tensor are put together.

    Attributes:
        factors: (outer, ..., inner) sizes whose product is the size of a dimension, by dimension.
        groups: of a grouped convolution; each group of outputs sees one group of inputs only.
    """

    factors: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    groups: int = 1


PLAIN = TensorLayout()


def read_layouts(module: nn.Module) -> dict[str, TensorLayout]:
    """Return the layout of each tensor of `module` that has one: attention heads, grouped convolutions.

    Whole heads belong together: features of one head must not be mixed into another one.
    """
    found = {}
    sizes = _head_sizes(module)
    for name, tensor in module.named_parameters():
        size = sizes.get(_attention_block(name) or "")
        factors = _head_factors(name, tuple(tensor.shape), size) if size else {}
        if factors:
            found[name] = TensorLayout(factors)
    for name, child in module.named_modules():
        if isinstance(child, nn.modules.conv._ConvNd) and child.groups > 1:
            found[f"{name}.weight"] = TensorLayout(groups=child.groups)
    return found


def _attention_block(name: str) -> str | None:
    """Return the name of the outermost part that is about attention.

    Example:
        >>> _attention_block("layer.3.attention.output.dense.weight")
        'layer.3.attention'
    """
    parts = name.split(".")
    place = next((i for i, part in enumerate(parts) if "att" in part.lower()), None)
    return None if place is None else ".".join(parts[: place + 1])


def _head_sizes(module: nn.Module) -> dict[str, int]:
    """Return the number of features a head, by the name of the attention block."""
    sizes: dict[str, int] = {}
    for name, child in module.named_modules():
        block, size = _attention_block(name), _head_size(child)
        if block is not None and size:
            sizes[block] = size
    return sizes


def _head_size(module: nn.Module) -> int | None:
    for name in _HEAD_SIZE:
        if isinstance(size := getattr(module, name, None), int):
            return size
    heads = next((n for a in _HEAD_COUNT if isinstance(n := getattr(module, a, None), int)), None)
    width = next((n for a in _WIDTH if isinstance(n := getattr(module, a, None), int)), None)
    return width // heads if heads and width and width % heads == 0 else None


def _head_factors(name: str, shape: tuple[int, ...], size: int) -> dict[int, tuple[int, ...]]:
    parts = name.split(".")
    layer = parts[-1] if parts[-1].startswith("in_proj") else parts[-2]
    if _FUSED.match(layer):
        # Conv1D of GPT-2 keeps its outputs in the second dimension.
        place = 1 if layer == "c_attn" and len(shape) == 2 else 0
        return {place: (3, shape[place] // 3 // size, size)}
    if _INTO_HEADS.match(layer):
        return {0: (shape[0] // size, size)}
    if _OUT_OF_HEADS.match(layer) and len(shape) == 2:
        place = 0 if layer == "c_proj" else 1
        return {place: (shape[place] // size, size)} if shape[place] % size == 0 else {}
    return {}
