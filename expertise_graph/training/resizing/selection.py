"""Weight selection: a smaller network starts from some of the weights of a larger one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import numpy as np
import torch

from expertise_graph.core import InvalidInputError
from expertise_graph.training.resizing.layout import PLAIN, TensorLayout

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
    """Refuse a target that no selection from `source` can fill.

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
