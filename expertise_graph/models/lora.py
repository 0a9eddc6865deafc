"""Low-rank adapters that peft wrote for a network with a head, added to the weights of its backbone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from expertise_graph.core import SourceError

_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"


def merge_lora(
    module: nn.Module, tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any], root: Path
) -> None:
    """Add the matrices of an adapter to the weights that they belong to, in place.

    Weights of a head, which a backbone does not have, are left out; those that were trained as a whole
    replace what is there.

    Args:
        module: the backbone.
        tensors: of adapter_model.safetensors.
        config: of adapter_config.json.
        root: their folder, for messages.

    Raises:
        SourceError: for adapters of other kinds, and those that do not fit.
    """
    _check(config, root)
    layers, placed = dict(module.named_modules()), 0
    for name in [name for name in tensors if name.endswith(_A)]:
        path = name.removesuffix(_A)
        layer, down, up = _find(layers, path), tensors[name], tensors.get(path + _B)
        weight = getattr(layer, "weight", None)
        if weight is None or up is None:
            raise SourceError(f"the adapter in {root} does not fit its base model: there is no {path!r}")
        rank = down.shape[0]
        scale = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
        change = scale * (up.float().flatten(1) @ down.float().flatten(1))
        # GPT-2 keeps its matrices the other way round.
        change = change.T if type(layer).__name__ == "Conv1D" else change
        if change.numel() != weight.numel():
            raise SourceError(f"the adapter in {root} does not fit its base model: {path!r} is of other size")
        with torch.no_grad():
            weight += change.reshape(weight.shape).to(weight.dtype)
        placed += 1
    if not placed or sum("lora_" in name for name in tensors) != 2 * placed:
        raise SourceError(f"the adapter in {root} holds other matrices than those of linear layers")
    _replace_whole(module, tensors)


def _check(config: Mapping[str, Any], root: Path) -> None:
    kind = config.get("peft_type")
    if kind != "LORA" or not isinstance(config.get("lora_alpha"), int | float):
        raise SourceError(f"{root} is an adapter of the kind {kind!r}: LORA is possible; merge it with peft")
    odd = [name for name in ("use_dora", "alpha_pattern", "lora_bias") if config.get(name)]
    if odd or config.get("bias", "none") != "none":
        raise SourceError(
            f"{root} is an adapter with {', '.join(odd) or 'bias'}, which is not read: merge it with peft, "
            "merge_and_unload().save_pretrained(...), and register the result"
        )


def _find(layers: Mapping[str, nn.Module], path: str) -> nn.Module | None:
    """Return a layer of the backbone by the name it has in a network with a head."""
    name = path.removeprefix(_PREFIX)
    within = (name, name.partition(".")[2])
    return next((layers[f"model.{n}"] for n in within if n and f"model.{n}" in layers), None)


def _replace_whole(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    layers = dict(module.named_modules())
    for name, tensor in tensors.items():
        path, _, kind = name.rpartition(".")
        layer = None if "lora_" in name else _find(layers, path)
        parameter = getattr(layer, kind, None)
        if isinstance(parameter, nn.Parameter) and parameter.shape == tensor.shape:
            with torch.no_grad():
                parameter.copy_(tensor)
