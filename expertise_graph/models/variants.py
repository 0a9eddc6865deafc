"""Untrained backbones of another shape, fed like a given one: changed settings, or another's settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from expertise_graph.core import InvalidInputError, SourceError, first_line
from expertise_graph.models.base import Backbone
from expertise_graph.models.checkpoint import feature_dim
from expertise_graph.models.hub import split_revision
from expertise_graph.models.hub_client import fetch_config
from expertise_graph.models.layout import existing_folder, read_layout
from expertise_graph.models.networks import is_network_folder
from expertise_graph.models.pooled import PooledModel
from expertise_graph.models.transformers_backend import new_model, read_config

_DROPPED = ("stage_names", "out_features", "out_indices", "auto_map")
"""Worked out from the number of layers, so that another network's do not fit; and code, which is not run."""


def settings_of(backbone: Backbone) -> dict[str, Any] | None:
    """Return the configuration of a transformers backbone, or None for a network of another kind."""
    if not isinstance(backbone.module, PooledModel):
        return None
    settings: dict[str, Any] = backbone.module.model.config.to_dict()  # type: ignore[union-attr,operator]
    return settings


def read_settings(reference: str) -> dict[str, Any]:
    """Return the configuration that ``dir:PATH`` or ``hf:org/name[@revision]`` holds; no weights are read.

    Raises:
        NotFoundError, OfflineError: when there is nothing.
        SourceError: when it is no configuration of transformers.
        UntrustedError: when it needs code of its own.
    """
    scheme, _, locator = reference.partition(":")
    if scheme == "hf":
        folder = fetch_config(*split_revision(locator, None))
    else:
        folder = existing_folder(locator)
        if is_network_folder(folder):
            raise SourceError(
                f"{folder} holds no configuration of transformers; give timm: or factory: instead"
            )
        folder = read_layout(folder).model
    settings: dict[str, Any] = read_config(folder).to_dict()
    return settings


def reconfigured(backbone: Backbone, changes: Mapping[str, Any]) -> Backbone:
    """Return a transformers backbone with other settings and random weights, fed and saved the same way.

    Args:
        backbone: what preprocessing, pooling and the settings not named come from; it is not changed.
        changes: settings of the configuration by name.

    Raises:
        InvalidInputError: when no network can be built so, or it would be larger.
    """
    wrapped = backbone.module
    if not isinstance(wrapped, PooledModel):
        raise TypeError(f"a PooledModel has settings, got {type(wrapped).__name__}")
    if hasattr(wrapped, "after"):
        raise InvalidInputError("an encoder with layers after its pooling cannot be built in another size")
    old: Any = wrapped.model.config
    pooling = wrapped.pooling
    try:
        settings = {**old.to_dict(), **changes}
        config = type(old).from_dict({n: v for n, v in settings.items() if n not in _DROPPED})
        with torch.device("meta"):
            skeleton = new_model(config)
    except Exception as error:
        raise InvalidInputError(
            f"no {old.model_type} can be built with {_shown(changes)}: {first_line(error)}"
        ) from error

    _check_size(skeleton, wrapped, old.model_type)

    def fresh(seed: int) -> nn.Module:
        """Return the architecture with random weights."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return PooledModel(new_model(config), pooling)

    return dataclasses.replace(
        backbone, module=fresh(0).eval(), dim=feature_dim(config, skeleton), fresh=fresh
    )


def _check_size(skeleton: nn.Module, module: nn.Module, kind: str) -> None:
    """Refuse a larger network before it takes memory."""
    size, most = (sum(p.numel() for p in m.parameters()) for m in (skeleton, module))
    if size > most:
        raise InvalidInputError(
            f"that {kind} has {size:,} parameters and the expert {most:,}: weights are selected from the "
            "larger network, so choose an architecture that is smaller in every layer"
        )


def _shown(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in list(changes.items())[:6])
