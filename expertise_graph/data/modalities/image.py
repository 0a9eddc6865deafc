"""Images: how they are named, recognised, described without a model and shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from expertise_graph.core import FloatArray
from expertise_graph.data.dataset import Item
from expertise_graph.data.modalities.base import Modality
from expertise_graph.data.modalities.image_codec import (
    SUFFIXES,
    compact,
    decode,
    from_base64,
    is_base64,
    netpbm,
    sniffs,
    to_bytes,
)
from expertise_graph.data.modalities.image_inspection import ImageInspection

# Raw features: enough to see layout and palette, and few enough for a linear model on some hundred items.
GREY_SIDE = 16
COLOUR_LEVELS = 4
# Width and height of the images that experts are tried on; of a preprocessing that keeps the ratio no two fit
# into one batch.
UNLIKE_SIZES = ((64, 64), (64, 48), (48, 64), (90, 40))


def raw_features(images: Sequence[Any]) -> FloatArray:
    """Describe RGB images by 16 x 16 grey values and a histogram of 64 colours.

    Returns:
        (n, 320) float32: grey in [0, 1], then fractions of the pixels.
    """
    rows = [np.concatenate([_grey(image), _colours(image)]) for image in images]
    width = GREY_SIDE**2 + COLOUR_LEVELS**3
    return np.asarray(rows, dtype=np.float32).reshape(len(rows), width)


def recognises(value: str | bytes) -> bool:
    """Tell whether a cell is the path of an image, or one in base64; of bytes nothing is said here."""
    if isinstance(value, bytes) or is_base64(value):
        return not isinstance(value, bytes)
    if "://" in value or "\n" in value:
        return False
    return value.partition("?")[0].lower().endswith(SUFFIXES)


def from_array(x: NDArray[Any]) -> list[Item] | None:
    """Return n images from uint8 pixels (n, H, W) or (n, H, W, channels), None for other arrays."""
    channels = x.shape[3] if x.ndim == 4 else 1
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or channels not in (1, 3, 4) or 0 in x.shape[1:]:
        return None
    return [netpbm(image) for image in x]


def unlike() -> list[Item]:
    """Return images of several shapes, upright and not, whose pixels fill the range of colours."""
    noise = np.random.default_rng(0)
    return [netpbm(noise.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in UNLIKE_SIZES]


def _grey(image: Image.Image) -> FloatArray:
    small = image.convert("L").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).ravel() / 255.0


def _colours(image: Image.Image) -> FloatArray:
    levels = np.asarray(image, dtype=np.int64).reshape(-1, 3) * COLOUR_LEVELS // 256
    codes = levels @ np.array([COLOUR_LEVELS**2, COLOUR_LEVELS, 1])
    counts = np.bincount(codes, minlength=COLOUR_LEVELS**3)
    return (counts / len(codes)).astype(np.float32)


def _as_it_is(image: Image.Image) -> Image.Image:
    return image


IMAGE = Modality(
    name="image",
    plural="images",
    suffixes=SUFFIXES,
    decode=decode,
    to_bytes=to_bytes,
    raw_features=raw_features,
    compact=compact,
    column_names=(
        "image",
        "img",
        "image_path",
        "file_name",
        "filename",
        "file",
        "path",
        "picture",
        "photo",
    ),
    named_by=(
        *("image", "images", "img", "picture", "photo", "image_path", "img_path", "image_id", "img_id"),
        *("image_name", "img_name", "image_file", "image_filename", "image_url", "img_url"),
    ),
    recognises=recognises,
    sniffs=sniffs,
    embedded=from_base64,
    datasets_type="Image",
    from_array=from_array,
    array_forms="uint8 images (n, H, W) or (n, H, W, 1 | 3 | 4)",
    augmented=True,
    unlike=unlike,
    inspection=ImageInspection,
    picture=_as_it_is,
)
