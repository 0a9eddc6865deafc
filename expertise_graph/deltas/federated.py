"""Federated averaging by deltas: clients train where their data is, only differences travel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from expertise_graph.core import InvalidInputError
from expertise_graph.deltas.average import combine
from expertise_graph.deltas.delta import make_delta
from expertise_graph.deltas.delta_file import read_delta, write_delta
from expertise_graph.deltas.packing import PLAIN, Packing
from expertise_graph.merging import LoadedModel, changed

Client = Callable[[LoadedModel], LoadedModel]
"""Gets the global model and gives back its own, trained from it, with `items` set."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one round of federated averaging left.

    Attributes:
        model: the new global model.
        bytes: size of the delta that each client sent.
        errors: what packing lost of each, as a relative error.
        weights: the share of each client.
    """

    model: LoadedModel
    bytes: tuple[int, ...]
    errors: tuple[float, ...]
    weights: tuple[float, ...]


def federated_round(
    parent: LoadedModel, clients: Sequence[Client], *, folder: Path, packing: Packing = PLAIN
) -> Round:
    """Let each client train from `parent`, and average what they learnt, weighted by their items.

    Every delta goes through a file in `folder`, written and checked as ``delta make`` and
    ``delta apply`` do, so that the sizes are those of what would be sent.

    Args:
        parent: the global model.
        clients: at least one.
        folder: where the deltas are written, ``client-0.safetensors`` and so on.
        packing: how they are written.

    Returns:
        The new global model, in memory; its parent is the old one's.

    Raises:
        InvalidInputError: when a client gives back a model that is none of the parent's children.

    References:
        McMahan et al., arXiv:1602.05629, algorithm 1.
    """
    if not clients:
        raise InvalidInputError("a round without clients has nothing to average")
    deltas, sizes, errors = [], [], []
    for number, client in enumerate(clients):
        delta, error = make_delta(parent, client(parent), packing=packing)
        path = folder / f"client-{number}.safetensors"
        sizes.append(write_delta(delta, path))
        errors.append(error)
        deltas.append(read_delta(path, parent))
    items = [delta.about.items for delta in deltas]
    module, head = combine(parent, deltas)
    return Round(
        model=changed(parent, module, head, items=sum(items)),
        bytes=tuple(sizes),
        errors=tuple(errors),
        weights=tuple(n / sum(items) for n in items),
    )
