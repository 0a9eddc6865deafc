"""Weight selection: a smaller network starts from a part of the weights of a larger one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch
from torch import nn

from expertise_graph.core import InvalidInputError

_HEAD_SIZE = ("attention_head_size", "head_dim", "key_value_proj_dim")
_HEAD_COUNT = ("num_attention_heads", "num_heads", "n_heads")
_WIDTH = ("embed_dim", "all_head_size", "dim")
_INTO_HEADS = re.compile(r"^(q|k|v|query|key|value|[qkv]_proj|[qkv]_lin)$")
_OUT_OF_HEADS = re.compile(r"^(o|dense|proj|o_proj|out_proj|out_lin|c_proj)$")
_FUSED = re.compile(r"^(qkv|c_attn|in_proj_weight|in_proj_bias)$")


@dataclass(frozen=True)
class TensorLayout:
    """The structure of the dimensions of one tensor.

    Attributes:
        factors: (outer, ..., inner) sizes whose product is the size of a dimension, by dimension.
        groups: of a grouped convolution; each group of outputs sees one group of inputs only.
    """

    factors: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    groups: int = 1


PLAIN = TensorLayout()

State = Mapping[str, torch.Tensor]
Layouts = Mapping[str, TensorLayout]
Pick = Callable[[int, int], torch.Tensor]
"""`pick(n, k)` returns k sorted indices out of n, always the same ones for the same two numbers."""

SELECTIONS = ("uniform", "first", "random")


def picker(selection: str, *, seed: int = 0) -> Pick:
    """Return how channels are chosen: evenly spaced, the first ones, or at random.

    Raises:
        InvalidInputError: for another name.

    Example:
        >>> picker("uniform")(8, 4).tolist()
        [0, 2, 4, 6]
    """
    if selection == "uniform":
        return lambda n, k: torch.arange(k) * n // k
    if selection == "first":
        return lambda n, k: torch.arange(k)
    if selection == "random":
        return lambda n, k: torch.from_numpy(np.sort(np.random.default_rng([seed, n, k]).permutation(n)[:k]))
    raise InvalidInputError(f"selection {selection!r}: possible are {', '.join(SELECTIONS)}")


def select_weights(
    source: State,
    target: State,
    *,
    selection: str = "uniform",
    seed: int = 0,
    layouts: tuple[Layouts, Layouts] = ({}, {}),
) -> dict[str, torch.Tensor]:
    """Return tensors in the shapes of `target`, each a part of the tensor of that name in `source`.

    Layers are matched by name, so of a shallower network each stage takes the first layers of the
    larger one's. Of each dimension evenly spaced channels are taken. Which ones depends on the two
    sizes alone: what one layer gives is what the next one takes, along skip connections as well.

    Args:
        source: tensors of the larger network by name; those without a counterpart are left out.
        target: tensors of the smaller network by name, for their names and shapes.
        selection: uniform, first or random.
        seed: of the random selection.
        layouts: of source and target, see `read_layouts`; without them heads are cut through.

    Raises:
        InvalidInputError: when a tensor is missing in `source`, or larger in `target`, or has
            another kernel.

    References:
        Xu et al., arXiv:2311.18823, section 3.
    """
    pick = picker(selection, seed=seed)
    check_fits(source, target)
    return {name: _part(source, tensor, name, pick=pick, layouts=layouts) for name, tensor in target.items()}


def check_fits(source: State, target: State) -> None:
    """Check that a selection from `source` can fill `target`.

    Raises:
        InvalidInputError: naming the first tensor that does not fit.
    """
    for name, tensor in target.items():
        if name not in source:
            raise InvalidInputError(
                f"the expert has no tensor {name}: the architecture is of another family, or deeper"
            )
        large, small = tuple(source[name].shape), tuple(tensor.shape)
        # The scale of a whole feature map, (1, 1, 1, channels), has no kernel.
        kernels = len(large) > 3 and large[:2] != (1, 1)
        if len(large) != len(small) or (kernels and large[2:] != small[2:]):
            raise InvalidInputError(f"{name} is {small} in the architecture and {large} in the expert")
        if any(s > n for n, s in zip(large, small, strict=True)):
            raise InvalidInputError(
                f"{name} is {small} in the architecture and only {large} in the expert: weights are selected "
                "from the larger network, so choose an architecture that is smaller in every layer"
            )


def chosen(
    name: str, dimension: int, sizes: tuple[int, int], *, pick: Pick, layouts: tuple[Layouts, Layouts]
) -> torch.Tensor:
    """Return the indices that are taken of one dimension of a tensor.

    Args:
        name: of the tensor.
        dimension: which one.
        sizes: of it in the source and in the target.
        pick: how channels are chosen.
        layouts: of source and target.
    """
    parts = [side.get(name, PLAIN).factors.get(dimension) for side in layouts]
    if not parts[0] or not parts[1] or (prod(parts[0]), prod(parts[1])) != sizes:
        return pick(*sizes)
    index = torch.zeros(1, dtype=torch.int64)
    for large, small in zip(*parts, strict=True):
        index = (index[:, None] * large + pick(large, small)).flatten()
    return index


def _part(
    source: State, target: torch.Tensor, name: str, *, pick: Pick, layouts: tuple[Layouts, Layouts]
) -> torch.Tensor:
    tensor = source[name]
    groups = [side.get(name, PLAIN).groups for side in layouts]
    if groups != [1, 1]:
        return _of_grouped(tensor, tuple(target.shape), groups=(groups[0], groups[1]), pick=pick)
    for dimension, sizes in enumerate(zip(tensor.shape, target.shape, strict=True)):
        if sizes[0] != sizes[1]:
            index = chosen(name, dimension, sizes, pick=pick, layouts=layouts)
            tensor = tensor.index_select(dimension, index.to(tensor.device))
    return tensor.clone()


def _of_grouped(
    weight: torch.Tensor, shape: tuple[int, ...], *, groups: tuple[int, int], pick: Pick
) -> torch.Tensor:
    """Return the kernel (out, in / groups, ...) among the channels chosen, as of a block-diagonal matrix.

    An input that the larger network keeps in another group has weight zero.
    """
    rows = pick(weight.shape[0], shape[0])
    columns = pick(weight.shape[1] * groups[0], shape[1] * groups[1]).reshape(groups[1], shape[1])
    mine = torch.arange(shape[0]) // (shape[0] // groups[1])
    first = rows // (weight.shape[0] // groups[0]) * weight.shape[1]
    place = columns[mine] - first[:, None]
    inside = (place >= 0) & (place < weight.shape[1])
    spread = (*place.shape, *[1] * (weight.ndim - 2))
    where = place.clamp(0, weight.shape[1] - 1).reshape(spread).expand(*place.shape, *weight.shape[2:])
    return weight[rows].gather(1, where) * inside.reshape(spread).to(weight.dtype)


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
