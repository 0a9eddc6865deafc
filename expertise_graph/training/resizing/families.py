"""Which settings make a network of a family narrower or shallower, and what they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from expertise_graph.core import InvalidInputError, did_you_mean


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
