"""The architecture that ``into`` names: the expert's own made smaller, or another one of its family."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from expertise_graph.core import Expert, InvalidInputError, did_you_mean
from expertise_graph.models import Backbone, load, new_network, read_settings, reconfigured, settings_of
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


@dataclass(frozen=True, kw_only=True)
class Family:
    """Names of settings, by what they are.

    Attributes:
        width: numbers of channels, one or one a stage.
        inner: widths that hang on no other layer, such as those inside a feed-forward block.
        heads: numbers of attention heads; the first of `width` is divided among them.
        depth: numbers of layers, one or one a stage.
        factors: multipliers of all widths.
    """

    width: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()
    heads: str | None = None
    depth: str | None = None
    factors: tuple[str, ...] = ()

    @property
    def possible(self) -> str:
        """What can be made smaller, in words."""
        return "width and depth" if self.depth else "width"


_ENCODER = Family(
    width=("hidden_size",),
    inner=("intermediate_size",),
    heads="num_attention_heads",
    depth="num_hidden_layers",
)
_STAGES = Family(width=("hidden_sizes", "embedding_size"), depth="depths")
FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(
        ("bert", "roberta", "xlm-roberta", "camembert", "mpnet", "electra", "albert", "vit", "deit"), _ENCODER
    ),
    **dict.fromkeys(("dinov2", "vit_mae", "beit"), _ENCODER),
    "distilbert": Family(width=("dim",), inner=("hidden_dim",), heads="n_heads", depth="n_layers"),
    "gpt2": Family(width=("n_embd",), inner=("n_inner",), heads="n_head", depth="n_layer"),
    "resnet": _STAGES,
    "regnet": Family(width=("hidden_sizes", "embedding_size", "groups_width"), depth="depths"),
    **dict.fromkeys(("convnext", "convnextv2"), Family(width=("hidden_sizes",), depth="depths")),
    "swin": Family(width=("embed_dim", "hidden_size"), heads="num_heads", depth="depths"),
    "segformer": Family(width=("hidden_sizes",), heads="num_attention_heads", depth="depths"),
    **dict.fromkeys(("mobilenet_v1", "mobilenet_v2"), Family(factors=("depth_multiplier",))),
    "efficientnet": Family(inner=("hidden_dim",), factors=("width_coefficient",)),
}
"""By the model_type of transformers."""


def shrunk_settings(settings: Mapping[str, Any], *, width: float = 0.5, depth: float = 1.0) -> dict[str, Any]:
    """Return the settings that change when a network is made narrower and shallower.

    Attention heads become fewer and keep their size where that gives whole numbers in all layers;
    else they stay as many and become smaller.

    Args:
        settings: the configuration; its "model_type" names the family.
        width: share of the channels, above 0 and at most 1.
        depth: share of the layers, each stage keeping at least one.

    Raises:
        InvalidInputError: for a family that is not known, a share that is not possible, or a depth
            where the family has none to choose.

    Example:
        >>> shrunk_settings({"model_type": "resnet", "embedding_size": 32, "hidden_sizes": [32, 64],
        ...                  "depths": [2, 2]}, width=0.5, depth=0.5)
        {'hidden_sizes': [16, 32], 'embedding_size': 16, 'depths': [1, 1]}
    """
    family = _family(str(settings.get("model_type")))
    for name, share in (("width", width), ("depth", depth)):
        if not 0 < share <= 1:
            raise InvalidInputError(f"{name}={share:g}: give a share above 0 and at most 1")
    if depth < 1 and family.depth is None:
        raise InvalidInputError(
            f"the depth of a {settings['model_type']} is part of its design: shrink its width only"
        )
    changes = {name: settings[name] * width for name in family.factors}
    if width < 1:
        changes |= _narrower(family, settings, width)
    if depth < 1 and family.depth:
        changes[family.depth] = _scaled(settings[family.depth], depth)
    return changes


def _family(kind: str) -> Family:
    if kind in FAMILIES:
        return FAMILIES[kind]
    known = "; ".join(f"{name} ({family.possible})" for name, family in sorted(FAMILIES.items()))
    raise InvalidInputError(
        f"a {kind} cannot be shrunk by a number.{did_you_mean(kind, FAMILIES)} Possible: {known}; "
        "for others name the architecture"
    )


def _narrower(family: Family, settings: Mapping[str, Any], width: float) -> dict[str, Any]:
    names = [n for n in (*family.width, *family.inner) if settings.get(n) is not None]
    if family.heads is None:
        return {n: _scaled(settings[n], width) for n in names}
    heads = settings[family.heads]
    counts = heads if isinstance(heads, list | tuple) else [heads]
    if all((count * width).is_integer() for count in counts):
        return {**{n: _scaled(settings[n], width) for n in names}, family.heads: _scaled(heads, width)}
    first = settings[family.width[0]]
    sizes = first if isinstance(first, list | tuple) else [first]
    smaller = [max(1, round(s * width / c)) * c for s, c in zip(sizes, counts, strict=False)]
    changes = {n: _scaled(settings[n], smaller[0] / sizes[0]) for n in names}
    return {**changes, family.width[0]: smaller if isinstance(first, list | tuple) else smaller[0]}


def _scaled(value: Any, share: float) -> Any:
    if isinstance(value, list | tuple):
        return [_scaled(one, share) for one in value]
    return max(1, round(value * share))


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
