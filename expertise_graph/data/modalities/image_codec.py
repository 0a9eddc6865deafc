"""Image files: any common format to RGB and back to small ones."""

from __future__ import annotations

import base64
import io
import math
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from expertise_graph.core import DatasetError
from expertise_graph.data.dataset import Item
from expertise_graph.data.files import read_regular

# All that Pillow recognises by the first bytes, but for EPS and WMF, which are programs for others to run,
# stubs that cannot be decoded, and formats of single instruments.
_BY_CONTENT = (
    *("PNG", "JPEG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "ICO"),
    *("AVIF", "JPEG2000", "MPO", "ICNS", "CUR", "QOI", "SGI", "PCX", "DDS", "PSD"),
)
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".ico"),
    *(".jfif", ".jpe", ".avif", ".jp2", ".j2k", ".jpx", ".jpf", ".dib", ".apng", ".pnm", ".mpo"),
    *(".icns", ".cur", ".qoi", ".sgi", ".pcx", ".dds", ".psd"),
)
# Bytes that Pillow looks at to recognise a format.
_MAGIC = 16
# How the base64 of common formats begins: PNG, JPEG, GIF, WebP, and what says so itself.
_BASE64 = re.compile(r"(data:image/[\w.+-]+;base64,|iVBORw0KGgo|/9j/[24]|R0lGOD|UklGR)")
# Shorter strings are names: the smallest image files have some 60 bytes.
_SHORTEST_BASE64 = 60
# Of images with more than 8 bits: what is white, by the first letter of their mode, whole numbers or floats.
WHITE = {"I": 65535.0, "F": 1.0}
# Floats that were computed miss 0 and 1 by a little.
_ROUNDING = 1e-3
# Larger photographs are reduced by a whole factor when they are decoded: 32 of this size at a time take a
# gigabyte, and no model sees a difference, as the most that any takes of a side is a fraction of this.
MOST_PIXELS = 12_500_000
# Numbers of an image of 16 bits or floats that are scaled at a time.
_SCALED = 1 << 20
# Most experts take 224 pixels or fewer: a larger probe image would be scaled down by each of them.
PROBE_SIDE = 224
# Formats whose frames and pages are pictures of their own; in others they are layers and previews.
_OF_PAGES = frozenset({"TIFF", "GIF", "PNG", "WEBP", "AVIF"})


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


@cache
def formats() -> tuple[str, ...]:
    """Return the formats that the Pillow that is installed can open."""
    Image.init()
    return tuple(name for name in _BY_CONTENT if name in Image.OPEN)


def sniffs(start: bytes) -> bool:
    """Tell whether a file that begins with these bytes is an image, whatever its name."""
    accepts = [Image.OPEN[name][1] for name in formats()]
    # A text for an answer says why a format that is recognised cannot be opened.
    return len(start) >= _MAGIC and any(accept and accept(start[:_MAGIC]) for accept in accepts)


def is_base64(value: str) -> bool:
    """Tell whether a string is an image in base64, with or without `data:image/png;base64,` before it."""
    return len(value) > _SHORTEST_BASE64 and _BASE64.match(value) is not None


def from_base64(value: str) -> bytes | None:
    """Return the bytes of an image in base64, None for other strings.

    Raises:
        DatasetError: when it is damaged.
    """
    if not is_base64(value):
        return None
    try:
        return base64.b64decode("".join(value.rpartition("base64,")[2].split()), validate=True)
    except ValueError as error:
        raise DatasetError(f"the image is damaged base64: {error}") from error


def decode(item: Item) -> Image.Image:
    """Open an image as 8-bit RGB, upright, transparent parts on white, of `MOST_PIXELS` at most.

    Raises:
        DatasetError: when the bytes are no image, are truncated, or hold too many pixels.
    """
    data = to_bytes(item)
    where = str(item) if isinstance(item, Path) else "the image"
    with _quiet():
        try:
            with Image.open(io.BytesIO(data), formats=formats()) as image:
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


def header(data: bytes) -> tuple[str, str, bool]:
    """Return format and mode of an encoded image, e.g. ("PNG", "RGBA"), and whether more frames follow it.

    Raises:
        DatasetError: when the bytes are no image.
    """
    with _quiet():
        try:
            with Image.open(io.BytesIO(data), formats=formats()) as image:
                several = image.format in _OF_PAGES and getattr(image, "is_animated", False)
                return image.format or "", image.mode, bool(several)
        except Exception as error:  # as in decode
            raise DatasetError(f"the image cannot be opened: {error}") from error


def compact(image: Image.Image) -> bytes:
    """Encode an image as PNG with no side longer than 224 pixels."""
    small = image.copy()
    small.thumbnail((PROBE_SIDE, PROBE_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def netpbm(image: NDArray[np.uint8]) -> bytes:
    """Encode pixels (H, W) or (H, W, 1 | 3 | 4) without compression, transparent parts on white.

    Not as PNG: the bytes are hashed, and those of a compressor change with its version.
    """
    if image.ndim == 3 and image.shape[2] == 4:
        alpha = image[:, :, 3:].astype(np.uint16)
        image = ((image[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    kind = "P6" if image.ndim == 3 and image.shape[2] == 3 else "P5"
    return f"{kind}\n{image.shape[1]} {image.shape[0]}\n255\n".encode() + image.tobytes()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode[0] in "IF":
        return _reduced(_to_8_bit(image)).convert("RGB")
    if not image.has_transparency_data:
        return _reduced(image.convert("RGB"))
    layer = _reduced(image.convert("RGBA"))
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layer).convert("RGB")


def _reduced(image: Image.Image) -> Image.Image:
    """Return an image of `MOST_PIXELS` at most, each the mean of a square of the pixels it had."""
    factor = math.ceil(math.sqrt(image.width * image.height / MOST_PIXELS))
    return image.reduce(factor) if factor > 1 else image


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Return an image of 16 bits or of floats in 8 bits, by a rule that is the same for every image.

    Were each image stretched to its own range, dark and bright ones could not be told apart.
    """
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise DatasetError("its pixels hold NaN or infinity")
    white = WHITE[image.mode[0]]
    slack = _ROUNDING if image.mode[0] == "F" else 0
    if low < -slack or high > white + slack:
        raise DatasetError(
            f"its pixels go from {low:g} to {high:g}; 0 is black and {white:g} white, scale all images alike"
        )
    scaled = np.empty(values.shape, dtype=np.uint8)
    rows = max(1, _SCALED // values.shape[1])
    for start in range(0, len(values), rows):
        part = values[start : start + rows].astype(np.float64) * (255.0 / white)
        scaled[start : start + rows] = np.clip(np.rint(part), 0, 255)
    return Image.fromarray(scaled)
