"""Images: any common file to RGB, and plain pixel features as a baseline."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from expertise_graph.core import DatasetError, FloatArray
from expertise_graph.data.dataset import Item
from expertise_graph.data.files import read_regular
from expertise_graph.data.modalities.base import Modality

# EPS would start Ghostscript, and the rare formats have the least tested parsers.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "ICO")
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".ico")
GREY_SIDE = 16
COLOUR_LEVELS = 4
PROBE_SIDE = 224


class _Quiet:
    """Silence warnings for all threads that decode at the same time.

    `warnings.catch_warnings` swaps global state, so overlapping uses from several threads would
    leave the wrong filters behind; the first one in saves them and the last one out restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._saved = warnings.catch_warnings()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if self._depth == 0:
                    self._saved.__exit__(None, None, None)


_quiet = _Quiet()


def decode(item: Item) -> Image.Image:
    """Open an image as 8-bit RGB, upright, transparent parts on white.

    Raises:
        DatasetError: when the bytes are no image, are truncated, or hold too many pixels.
    """
    data = to_bytes(item)
    where = str(item) if isinstance(item, Path) else "the image"
    with _quiet():
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return _to_rgb(ImageOps.exif_transpose(image))
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            limit = Image.MAX_IMAGE_PIXELS or 0
            raise DatasetError(f"{where} has more than {limit:,} pixels; scale it down") from error
        except UnidentifiedImageError as error:
            raise DatasetError(f"{where} is not a readable image") from error
        except Exception as error:  # the decoders raise nearly every built-in exception on bad bytes
            raise DatasetError(f"{where} cannot be decoded: {error}") from error


def to_bytes(item: Item) -> bytes:
    """Return the bytes of the encoded image."""
    if isinstance(item, Path):
        return read_regular(item)
    if isinstance(item, bytes):
        return item
    raise DatasetError(f"an image is given as a path or as bytes, not as the text {item[:40]!r}")


def kind_of(data: bytes) -> tuple[str, str]:
    """Return file format and colour mode of an encoded image, e.g. ("PNG", "RGBA").

    Raises:
        DatasetError: when the bytes are no image.
    """
    with _quiet():
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return image.format or "", image.mode
        except Exception as error:  # as in decode
            raise DatasetError(f"the image cannot be opened: {error}") from error


def raw_features(images: Sequence[Any]) -> FloatArray:
    """Describe RGB images by 16 x 16 grey values and a histogram of 64 colours.

    Returns:
        (n, 320) float32: grey in [0, 1], then fractions of the pixels.
    """
    rows = [np.concatenate([_grey(image), _colours(image)]) for image in images]
    width = GREY_SIDE**2 + COLOUR_LEVELS**3
    return np.asarray(rows, dtype=np.float32).reshape(len(rows), width)


def compact(image: Image.Image) -> bytes:
    """Encode an image as PNG with no side longer than 224 pixels."""
    small = image.copy()
    small.thumbnail((PROBE_SIDE, PROBE_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode[0] in "IF":
        return _to_8_bit(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layer).convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise DatasetError("its pixels hold NaN or infinity")
    if image.mode[0] == "I" and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    scaled = (values - low) * (255.0 / max(high - low, np.finfo(np.float64).tiny))
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _grey(image: Image.Image) -> FloatArray:
    small = image.convert("L").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).ravel() / 255.0


def _colours(image: Image.Image) -> FloatArray:
    levels = np.asarray(image, dtype=np.int64).reshape(-1, 3) * COLOUR_LEVELS // 256
    codes = levels @ np.array([COLOUR_LEVELS**2, COLOUR_LEVELS, 1])
    counts = np.bincount(codes, minlength=COLOUR_LEVELS**3)
    return (counts / len(codes)).astype(np.float32)


IMAGE = Modality(
    name="image",
    suffixes=SUFFIXES,
    decode=decode,
    to_bytes=to_bytes,
    raw_features=raw_features,
    compact=compact,
)
