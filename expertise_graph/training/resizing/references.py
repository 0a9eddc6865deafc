"""What `into` names: a share of the expert, or another architecture of the same kind."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from expertise_graph.core import Expert, InvalidInputError
from expertise_graph.models import Backbone, load, new_network, read_settings, reconfigured, settings_of
from expertise_graph.training.resizing.families import shrunk_settings
from expertise_graph.training.resizing.selection import check_fits

FORMS = (
    "shrink:0.5, shrink:width=0.5,depth=0.5, an expert, hf:ORG/NAME, dir:PATH, timm:ARCH, factory:MODULE:CALL"
)
FROM_EXPERT = (
    "vocab_size",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "type_vocab_size",
    "max_position_embeddings",
    "n_positions",
    "num_channels",
    "image_size",
)
"""Settings that belong to the preprocessing, which stays the expert's."""


def parse_shrink(reference: str) -> tuple[float, float]:
    """Return (width, depth) of ``shrink:0.5`` or ``shrink:width=0.5,depth=0.5``.

    Raises:
        InvalidInputError: for anything else.

    Example:
        >>> parse_shrink("shrink:width=0.5,depth=0.25")
        (0.5, 0.25)
    """
    given = reference.removeprefix("shrink:")
    shares = {"width": 1.0, "depth": 1.0}
    try:
        for part in given.split(","):
            name, equals, value = part.rpartition("=")
            shares[(name.strip() if equals else "width")] = float(value)
    except ValueError:
        shares = {}
    if set(shares) != {"width", "depth"} or not all(math.isfinite(s) for s in shares.values()):
        raise InvalidInputError(
            f"{reference!r} is not understood: write shrink:0.5 or shrink:width=0.5,depth=0.5"
        )
    return shares["width"], shares["depth"]


def shrink(backbone: Backbone, *, width: float = 0.5, depth: float = 1.0) -> Backbone:
    """Return a narrower or shallower network of the family of `backbone`, with random weights.

    Args:
        backbone: a transformers backbone; its preprocessing is kept.
        width: share of the channels.
        depth: share of the layers, stage by stage.

    Raises:
        InvalidInputError: when the family or the share is not possible; says which are.
    """
    settings = settings_of(backbone)
    if settings is None:
        raise InvalidInputError(
            "networks of timm and of your own have no settings to shrink: name the smaller one, "
            "timm:ARCH or factory:package.module:callable"
        )
    return reconfigured(backbone, shrunk_settings(settings, width=width, depth=depth))


def into_architecture(
    backbone: Backbone, expert: Expert, reference: str | Expert, *, trust_code: bool = False
) -> Backbone:
    """Return the network that `reference` names with random weights, fed as the expert is.

    Args:
        backbone: the expert in memory.
        expert: its node, which says how networks that are not of transformers are fed.
        reference: ``shrink:SHARE``; or a registered expert, or ``hf:``, ``dir:``, ``timm:`` or
            ``factory:``, whose architecture is taken and whose weights are not.
        trust_code: whether a factory of the user may be run.

    Raises:
        InvalidInputError: when it is of another family, or larger than the expert.
        NotFoundError, SourceError, UntrustedError, MissingExtraError: see the sources.
    """
    if isinstance(reference, Expert):
        return _like(backbone, expert, reference, trust_code=trust_code)
    scheme, _, locator = reference.partition(":")
    if scheme == "shrink":
        width, depth = parse_shrink(reference)
        small = shrink(backbone, width=width, depth=depth)
    elif scheme in ("timm", "factory") and locator:
        small = _network(backbone, expert, {scheme: locator}, trust_code=trust_code)
    elif scheme in ("hf", "dir") and locator:
        small = _configured(backbone, expert, read_settings(reference), reference)
    else:
        raise InvalidInputError(f"{reference!r} names no architecture; possible: {FORMS}")
    check_fits(backbone.module.state_dict(), small.module.state_dict())
    return small


def _like(backbone: Backbone, expert: Expert, other: Expert, *, trust_code: bool) -> Backbone:
    if other.modality != expert.modality:
        raise InvalidInputError(
            f"{other.name} takes {other.modality} and {expert.name} takes {expert.modality}: name a smaller "
            f"{expert.architecture}"
        )
    kind = next((k for k in ("timm", "factory") if k in other.meta), None)
    if kind is not None:
        small = _network(backbone, expert, {kind: other.meta[kind]}, trust_code=trust_code)
    else:
        settings = settings_of(load(other, trust_code=trust_code)) or {}
        small = _configured(backbone, expert, settings, other.name)
    check_fits(backbone.module.state_dict(), small.module.state_dict())
    return small


def _configured(backbone: Backbone, expert: Expert, settings: dict[str, Any], named: str) -> Backbone:
    mine = settings_of(backbone)
    kind = settings.get("model_type")
    if mine is None or kind != mine["model_type"]:
        raise InvalidInputError(
            f"{named} is a {kind} and {expert.name} is a {expert.architecture}: weights are selected within "
            f"one family, so name a smaller {expert.architecture}, or take another expert"
        )
    kept = {name: mine[name] for name in FROM_EXPERT if name in mine}
    return reconfigured(backbone, {**settings, **kept})


def _network(backbone: Backbone, expert: Expert, spec: Mapping[str, Any], *, trust_code: bool) -> Backbone:
    if "input" not in expert.meta:
        raise InvalidInputError(
            f"{expert.name} is a {expert.architecture} of transformers, and {next(iter(spec))}: networks are "
            "of another family: give shrink:0.5 instead"
        )
    small = new_network({**spec, "input": expert.meta["input"]}, trust_code=trust_code)
    return dataclasses.replace(small, collate=backbone.collate)
