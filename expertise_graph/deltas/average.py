"""The weighted mean of deltas, added to the parent in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from expertise_graph.core import InvalidInputError, setting
from expertise_graph.deltas.delta import DIFFERENCE, NO_HEAD, About, Delta
from expertise_graph.deltas.delta_file import tensor_shapes
from expertise_graph.merging import LoadedModel, State, normalised, put_into, sum_of
from expertise_graph.models import Head


def combine(
    parent: LoadedModel,
    deltas: Sequence[Delta],
    *,
    weights: Sequence[float] | None = None,
    scale: float = 1.0,
) -> tuple[nn.Module, Head | None]:
    """Return the parent's network and head with the weighted mean of the deltas added.

    theta = theta_0 + scale * sum_i w_i d_i with sum_i w_i = 1; a tensor that a delta leaves out has
    not moved there. One plain delta at scale 1 gives back the child to float32 rounding: an entry c
    of the child that was p in the parent comes back as c, or differs by at most 2^-23 max(|p|, |c|).
    A head is the weighted mean of the heads that the deltas stand for; without one the parent's stays.
    A running variance never falls below zero.

    Args:
        parent: what the deltas were made from.
        deltas: checked ones.
        weights: one for each; None for the items their children were trained on.
        scale: of the average.

    Raises:
        InvalidInputError: when weights do not fit or are not known, or heads are for other classes.

    References:
        McMahan et al., arXiv:1602.05629, algorithm 1, w_i = n_i / n.
    """
    shares = shares_of(deltas, weights)
    moves = [delta.difference(tensor_shapes(parent, delta.about)) for delta in deltas]
    state = parent.weights.all
    for name, tensor in parent.weights.floating.items():
        key = f"backbone.{name}"
        terms = [s * m[key].double() for s, m in zip(shares, moves, strict=True) if key in m]
        if terms:
            moved = (tensor.double() + scale * sum_of(terms)).float()
            state[name] = moved.clamp(min=0) if name.endswith("running_var") else moved
    head = _head(parent, deltas, moves, shares=shares, scale=scale)
    for name, tensor in {**state, **(head.state if head else {})}.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InvalidInputError(
                f"the deltas lead to NaN or infinite values in {name}: nothing was written"
            )
    return put_into(parent.backbone.module, state), head


def shares_of(deltas: Sequence[Delta], weights: Sequence[float] | None) -> list[float]:
    """Return the share of each delta: of the weights given, else of the items trained on.

    Raises:
        InvalidInputError: when a number of items is not known and no weights are given.
    """
    if weights is None and len(deltas) > 1:
        weights = [float(delta.about.items) for delta in deltas]
        if not all(weights):
            raise InvalidInputError(
                "a delta does not say how many items its child was trained on: give one weight for each "
                f"delta as {setting('weights')}"
            )
    return normalised(weights, len(deltas))


def _head(
    parent: LoadedModel,
    deltas: Sequence[Delta],
    moves: Sequence[State],
    *,
    shares: Sequence[float],
    scale: float,
) -> Head | None:
    with_head = [delta for delta in deltas if delta.about.head != NO_HEAD]
    if not with_head:
        return parent.head
    classes, kind = with_head[0].about.classes, with_head[0].about.kind
    same = all((set(d.about.classes), d.about.kind) == (set(classes), kind) for d in with_head)
    if len(with_head) < len(deltas) or not same:
        raise InvalidInputError(
            "the deltas have heads for different classes: leave them out with "
            f"{setting('head', False)}, or apply one alone"
        )
    heads = [_proposed(parent, d.about, m) for d, m in zip(deltas, moves, strict=True)]
    ordered = [head.ordered(classes).state for head in heads]
    mean = {
        name: sum_of([s * state[name].double() for s, state in zip(shares, ordered, strict=True)])
        for name in ("weight", "bias")
    }
    before = parent.head_for(classes, kind)
    if before is not None:
        start = before.state
        mean = {name: start[name] + scale * (tensor - start[name]) for name, tensor in mean.items()}
    return Head(weight=mean["weight"].float(), bias=mean["bias"].float(), classes=classes, kind=kind)


def _proposed(parent: LoadedModel, about: About, moves: State) -> Head:
    """Return the head of the child that a delta stands for."""
    start = parent.head.ordered(about.classes).state if parent.head and about.head == DIFFERENCE else {}
    tensors = {}
    for name, shape in tensor_shapes(parent, about).items():
        if name.startswith("head."):
            key = name.removeprefix("head.")
            moved = moves[name].double() if name in moves else None
            before = start[key].double() if key in start else None
            if moved is None and before is None:
                raise InvalidInputError(f"a delta with a head of shape {tuple(shape)} lacks its {key}")
            tensors[key] = sum_of([t for t in (before, moved) if t is not None])
    return Head(weight=tensors["weight"], bias=tensors["bias"], classes=about.classes, kind=about.kind)
