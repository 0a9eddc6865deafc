"""A smaller network of the expert's family that starts from the expert's weights."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

from expertise_graph.core import Expert
from expertise_graph.models import Backbone
from expertise_graph.training.resizing.architectures import into_architecture
from expertise_graph.training.resizing.fitting import fit_layers
from expertise_graph.training.resizing.selection import (
    chosen,
    picker,
    read_layouts,
    select_weights,
)

MOST_ITEMS = 256
"""Layers are fitted to at most this many inputs, which are in memory together.

More hardly change the least squares, of which each layer samples thousands of positions.
"""


def resize(
    backbone: Backbone,
    expert: Expert,
    reference: str | Expert,
    *,
    selection: str = "uniform",
    items: Sequence[Any] = (),
    trust_code: bool = False,
) -> Backbone:
    """Return a smaller network with weights of an expert, ready to be trained as one.

    Args:
        backbone: the expert in memory; it is not changed.
        expert: its node.
        reference: the architecture, see `into_architecture`.
        selection: which channels are taken: uniform, first or random.
        items: decoded inputs of the training split, without labels. When there are any, the layers
            are fitted to answer to them as the expert's do; else the weights stay as selected.
        trust_code: whether a factory of the user may be run.

    Returns:
        A backbone whose `fresh` gives the small architecture with random weights, and whose
        `save` writes a folder that the ``dir`` source reads back.

    Raises:
        InvalidInputError: when the architecture is of another family, larger, or not understood.
        NotFoundError, SourceError, UntrustedError, MissingExtraError: see the sources.

    References:
        Xu et al., arXiv:2311.18823.
    """
    small = into_architecture(backbone, expert, reference, trust_code=trust_code)
    return transfer(backbone, small, selection=selection, items=items)


def transfer(
    large: Backbone, small: Backbone, *, selection: str = "uniform", seed: int = 0, items: Sequence[Any] = ()
) -> Backbone:
    """Return `small` with weights selected from `large`, fitted to it on `items` if there are any.

    Args:
        large: the expert in memory.
        small: an architecture that is no larger in any layer.
        selection: uniform, first or random.
        seed: of the random selection.
        items: decoded inputs; at most 256 are used, evenly spaced.

    Raises:
        InvalidInputError: when the two do not fit.
    """
    module = copy.deepcopy(small.module).eval()
    layouts = read_layouts(large.module), read_layouts(module)
    module.load_state_dict(
        select_weights(
            large.module.state_dict(), module.state_dict(), selection=selection, seed=seed, layouts=layouts
        )
    )
    if len(items):
        pick = picker(selection, seed=seed)
        spread = picker("uniform")(len(items), min(len(items), MOST_ITEMS)).tolist()
        fit_layers(
            module,
            large.module,
            small.collate([items[i] for i in spread]),
            channels=lambda name, sizes: chosen(f"{name}.weight", 0, sizes, pick=pick, layouts=layouts),
        )
    return dataclasses.replace(small, module=module)
