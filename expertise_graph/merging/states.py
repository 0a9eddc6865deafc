"""The tensors of a model by what merging does with them, and whether two models have the same ones."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from expertise_graph.core import InvalidInputError

State = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """All tensors of a backbone in float32 on the CPU, by name.

    Attributes:
        learnt: parameters.
        statistics: floating buffers, such as running means of batch normalisation.
        fixed: buffers that hold no floating numbers: counters, indices.
    """

    learnt: State
    statistics: State
    fixed: State

    @property
    def all(self) -> State:
        """The tensors as one state, which `put_into` loads."""
        return {**self.learnt, **self.statistics, **self.fixed}

    @property
    def floating(self) -> State:
        """Parameters and statistics."""
        return {**self.learnt, **self.statistics}


def weights_of(module: nn.Module, name: str) -> Weights:
    """Return copies of the tensors of a module.

    Raises:
        InvalidInputError: when a parameter is no floating tensor, as in a quantised model.
    """
    learnt, statistics, fixed = State(), State(), State()
    parameters = {key for key, _ in module.named_parameters(remove_duplicate=False)}
    for key, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            if key in parameters:
                raise InvalidInputError(
                    f"{name} is quantised ({key} is {tensor.dtype}): merge what it was quantised from"
                )
            fixed[key] = tensor.detach().cpu().clone()
        else:
            into = learnt if key in parameters else statistics
            into[key] = tensor.detach().cpu().float().clone()
    return Weights(learnt=learnt, statistics=statistics, fixed=fixed)


def put_into(module: nn.Module, state: State) -> nn.Module:
    """Return a copy of a module, in float32, whose tensors are those of `state`."""
    result = copy.deepcopy(module).float()
    result.load_state_dict(state)
    return result.eval()


def check_alike(states: Sequence[State], names: Sequence[str]) -> None:
    """Refuse states whose tensors differ in name or shape from those of the first.

    Raises:
        InvalidInputError: naming the first tensor that differs.
    """
    for state, name in zip(states[1:], names[1:], strict=True):
        difference = first_difference(states[0], state)
        if difference:
            raise InvalidInputError(f"{names[0]} and {name} cannot be merged: {difference}")


def first_difference(one: State, other: State) -> str:
    """Return in what the tensors of two states differ first, or an empty text."""
    for key in one:
        if key not in other:
            return f"only the first has {key}"
        if one[key].shape != other[key].shape:
            return (
                f"{key} is {tuple(one[key].shape)} in the first and {tuple(other[key].shape)} in the second"
            )
    extra = next((key for key in other if key not in one), None)
    return f"only the second has {extra}" if extra else ""


def common_fixed(weights: Sequence[Weights], parent: Weights | None) -> State:
    """Return the buffers without floating numbers: what all have, else the parent's.

    A counter of batches plays no part in what a model computes and is always the first's.

    Raises:
        InvalidInputError: when they differ and there is no parent to take them from.
    """
    fixed = State()
    for key, tensor in weights[0].fixed.items():
        same = all(torch.equal(tensor, w.fixed[key]) for w in weights[1:] if key in w.fixed)
        if same or key.endswith("num_batches_tracked"):
            fixed[key] = tensor
        elif parent is not None and key in parent.fixed:
            fixed[key] = parent.fixed[key]
        else:
            raise InvalidInputError(f"{key} holds whole numbers that differ and cannot be averaged")
    return fixed
