"""What a network costs where nothing but its size is known."""

from __future__ import annotations

import math

from expertise_graph.core import Footprint
from expertise_graph.data import known_modalities

# Of encoders of texts: each parameter outside the token table is one multiply-add a token, and a layer of
# width d has 12 d^2 of them, keeps 18 numbers of 4 bytes a channel, and moves 59.
_A_LAYER, _KEPT, _MOVED, _WIDEST, _OPERATIONS = 12, 4 * 18.3, 4 * 59, 8 * 4, 28
_PAIR_MULTIPLY_ADDS, _PAIR_KEPT = 2.0, 12 * 4
# Rows of the token table: BERT's, and where it would be larger than a third of all, at most that share.
_ROWS, _MOST_LOOKUP = 30522, 0.4
# Of networks of images at 224 pixels, straight lines in the logarithm of the parameters: value at one million
# of them and power. Fitted by scripts/build_catalogue to those whose configuration is known.
_IMAGE_PRODUCTS, _IMAGE_KEPT, _IMAGE_MOVED = (1.4e8, 1.06), (3.5e7, 0.35), (6e7, 0.45)
_IMAGE_WIDEST, _IMAGE_OPERATIONS, _SIDE = 8e6, 200, 224
# Widths that are plausible for a number of parameters, where a width is not known.
_WIDTHS = ((30e6, 384), (150e6, 768), (700e6, 1024), (math.inf, 3584))


def law(modality: str, params: int, dim: int) -> Footprint | None:
    """Return what a network of this size costs for an input; None without a size, or of other modalities.

    Args:
        modality: of its inputs.
        params: number of parameters.
        dim: width of its features, 0 where it is not known.
    """
    if params <= 0:
        return None
    return _of_tokens(params, dim) if reads_tokens(modality) else _of_images(params)


def reads_tokens(modality: str) -> bool:
    """Tell whether inputs of a modality are cut into tokens, however many one has."""
    return modality in known_modalities and known_modalities[modality].overlong is not None


def _of_tokens(params: int, dim: int) -> Footprint:
    width = min(dim or math.inf, next(w for most, w in _WIDTHS if params < most))
    lookup = min(_ROWS * width, _MOST_LOOKUP * params)
    body = params - lookup
    layers = max(1.0, body / (_A_LAYER * width**2))
    return Footprint(
        params=params,
        linear=body,
        moved=_MOVED * layers * width,
        kept=_KEPT * layers * width,
        widest=_WIDEST * width,
        kernels=int(_OPERATIONS * layers),
        lookup=int(lookup),
        vocabulary=int(lookup / width),
        pair_linear=_PAIR_MULTIPLY_ADDS * layers * width,
        pair_kept=_PAIR_KEPT * layers * width / 64,
    )


def _of_images(params: int) -> Footprint:
    millions = params / 1e6
    products, kept, moved = (
        first * millions**power for first, power in (_IMAGE_PRODUCTS, _IMAGE_KEPT, _IMAGE_MOVED)
    )
    return Footprint(
        params=params,
        linear=products / 2,
        convolved=products / 2,
        moved=moved,
        kept=kept,
        widest=_IMAGE_WIDEST,
        kernels=_IMAGE_OPERATIONS,
        numbers=3 * _SIDE**2,
    )
