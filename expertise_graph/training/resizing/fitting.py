"""Layer-wise least squares: the layers of a small network are fitted to the outputs of the large one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

Batch = Mapping[str, torch.Tensor]
Channels = Callable[[str, tuple[int, int]], torch.Tensor]
"""`channels(layer, (n, k))`: which of the n outputs of a layer its k outputs in the small network are."""

STRENGTH = 0.1
"""L2 strength of the fit.

Two tasks: .865, .908, .914, .901 at .003, .03, .1, .3; .760, .747, .724, .681 at .03, .3, 1, 3.
"""
LEAST_POSITIONS = 4096
"""Each layer is fitted to at least this many output positions ..."""
POSITIONS_A_WEIGHT = 8
"""... and to this many for each weight of an output; fewer overfit, more cost time and memory. Not tuned."""
SPREAD = 4
"""Positions are drawn from this many times the items that would suffice, so that they are less correlated."""


@dataclass
class _Target:
    """Outputs (positions, k) of a layer of the large network, at some positions of some items."""

    items: torch.Tensor
    positions: torch.Tensor
    values: torch.Tensor


def fit_layers(
    small: nn.Module, large: nn.Module, batch: Batch, *, channels: Channels, strength: float = STRENGTH
) -> dict[str, tuple[float, float]]:
    """Fit the weights of `small` so that its layers give the outputs on `batch` that those of `large` give.

    In the order of the computation each convolution and linear layer is fitted by ridge regression:
    from what reaches it in the small network, where the layers before are fitted already, to what
    the same channels of it are in the large one. The penalty is on the change of the weights.
    Layers of other kinds, and those that run more than once, stay as they are.

    Args:
        small: the network to fit, in place; its layers have the names of the large one's.
        large: the one that it was selected from; not changed.
        batch: inputs for both; no labels are needed.
        channels: which output of the large network an output of the small one stands for.
        strength: of the ridge, relative to the mean power of the inputs of a layer.

    Returns:
        By layer, the fraction of the power of the large network's outputs that the residuals have before
        and after, on the positions fitted to.

    References:
        He et al., arXiv:1707.06168, equation 3; Luo et al., arXiv:1707.06342, equation 7.
    """
    small.eval()
    large.eval()
    targets = _targets(small, large, batch, channels=channels)
    missed: dict[str, tuple[float, float]] = {}

    def hook(name: str) -> Callable[[Any, Any], None]:
        def fit(layer: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            missed[name] = _fit(layer, inputs[0], targets.pop(name), strength=strength)

        return fit

    with torch.no_grad(), ExitStack() as hooks:
        for name, layer in _layers(small).items():
            if name in targets:
                hooks.callback(layer.register_forward_pre_hook(hook(name)).remove)
        small(**batch)
    return missed


def _layers(module: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Return the layers that can be fitted, by name."""
    return {
        name: child
        for name, child in module.named_modules()
        if isinstance(child, nn.Linear)
        or (
            isinstance(child, nn.Conv2d)
            and child.padding_mode == "zeros"
            and not isinstance(child.padding, str)
        )
    }


def _targets(small: nn.Module, large: nn.Module, batch: Batch, *, channels: Channels) -> dict[str, _Target]:
    """Run the large network once and return the targets of the layers of the small one."""
    fitted, calls = _layers(small), dict[str, int]()
    targets: dict[str, _Target] = {}

    def hook(name: str) -> Callable[[Any, Any, torch.Tensor], None]:
        def keep(layer: Any, inputs: Any, output: torch.Tensor) -> None:
            calls[name] = calls.get(name, 0) + 1
            if calls[name] == 1:
                sampled = _sampled(output, fitted[name], batch.get("attention_mask"))
                index = channels(name, (sampled.values.shape[1], fitted[name].weight.shape[0]))
                sampled.values = sampled.values[:, index.to(output.device)]
                targets[name] = sampled

        return keep

    with torch.no_grad(), ExitStack() as hooks:
        for name, layer in _layers(large).items():
            if name in fitted:
                hooks.callback(layer.register_forward_hook(hook(name)).remove)
        large(**batch)
    return {name: target for name, target in targets.items() if calls[name] == 1}


def _sampled(output: torch.Tensor, layer: nn.Module, mask: torch.Tensor | None) -> _Target:
    """Return the outputs at random positions, padding left out; as many as the fit of `layer` needs."""
    generator = torch.Generator().manual_seed(0)
    output = output.movedim(1, -1) if isinstance(layer, nn.Conv2d) else output
    wanted = max(LEAST_POSITIONS, POSITIONS_A_WEIGHT * layer.weight[0].numel())  # type: ignore[index]
    each = output[0, ..., 0].numel()
    items = torch.randperm(len(output), generator=generator)[: -(-SPREAD * wanted // each)]
    real = torch.arange(len(items) * each)
    if mask is not None and mask.shape == output.shape[:-1]:
        real = mask[items].flatten().nonzero().flatten().cpu()
    positions = real[torch.randperm(len(real), generator=generator)[:wanted]]
    return _Target(items, positions, output[items].flatten(0, -2)[positions])


def _fit(layer: Any, inputs: torch.Tensor, target: _Target, *, strength: float) -> tuple[float, float]:
    """Change weight and bias of a layer by ridge regression on its residuals."""
    groups, out = (layer.groups if isinstance(layer, nn.Conv2d) else 1), layer.weight.shape[0]
    x = _positions(layer, inputs[target.items])[target.positions].double()
    x = x.reshape(len(x), groups, -1).transpose(0, 1)
    weight = layer.weight.double().reshape(groups, out // groups, -1).transpose(1, 2)
    wanted = target.values.double().reshape(-1, groups, out // groups).transpose(0, 1)
    missed = wanted - x @ weight
    if layer.bias is not None:
        missed = missed - layer.bias.double().reshape(groups, 1, -1)
    before, centre, level = missed, torch.zeros_like(x[:, :1]), torch.zeros_like(missed[:, :1])
    if layer.bias is not None:
        centre, level = x.mean(1, keepdim=True), missed.mean(1, keepdim=True)
    change = _ridge(x - centre, missed - level, strength)
    shift = level - centre @ change
    layer.weight.add_(change.transpose(1, 2).reshape(layer.weight.shape).to(layer.weight))
    if layer.bias is not None:
        layer.bias.add_(shift.flatten().to(layer.bias))
    power = wanted.square().mean().clamp_min(1e-12)
    shares = [(m.square().mean() / power).item() for m in (before, before - x @ change - shift)]
    return shares[0], shares[1]


def _ridge(x: torch.Tensor, y: torch.Tensor, strength: float) -> torch.Tensor:
    """Return the weights (groups, d, k) of the ridge regression of y (groups, n, k) on x (groups, n, d)."""
    gram = x.transpose(1, 2) @ x
    diagonal = gram.diagonal(dim1=1, dim2=2)
    # The mean over all groups: a channel that is silent on these items must not become singular.
    diagonal += strength * diagonal.mean() + 1e-9
    solved: torch.Tensor = torch.linalg.solve(gram, x.transpose(1, 2) @ y)
    return solved


def _positions(layer: nn.Conv2d | nn.Linear, inputs: torch.Tensor) -> torch.Tensor:
    """Return the inputs (items x positions, d) that each output of the layer is a weighted sum of."""
    if isinstance(layer, nn.Linear):
        return inputs.flatten(0, -2)
    patches = functional.unfold(
        inputs,
        layer.kernel_size,
        dilation=layer.dilation,
        padding=layer.padding,  # type: ignore[arg-type]
        stride=layer.stride,
    )
    return patches.transpose(1, 2).flatten(0, 1)
