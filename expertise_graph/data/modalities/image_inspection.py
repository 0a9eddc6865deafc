"""Images without a model: what they are like, which are unusual, and which are nearly the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from expertise_graph.core import count
from expertise_graph.data.modalities.base import MOST_PAIRS, Inspection
from expertise_graph.data.modalities.image_codec import WHITE, header

# Every image is compared at this size: 3,072 numbers each, so that 20,000 images take 60 MB.
SIDE = 32
# Below this nothing much can be seen, and every expert would blow the image up more than tenfold.
TINY = 16
# Side ratios up to 3 are banners and scans; squeezed to a square, more than 4 leaves little of the content.
LONG = 4.0
# Images of 12 bits in files of 16 reach a sixteenth of white: what little is left has few steps.
DIM = 16
# Correlation of the small versions. JPEGs of one picture in three sizes are above .97 (53 of 60), a crop of
# 4 % is below: from .95 on the features of an expert decide (LOG.md, near-duplicates).
LOOKS_ALIKE, SAME_PICTURE = 0.95, 0.97
# The 8 x 8 lowest frequencies without the constant give the 63 bits of the published hash.
_FREQUENCIES = 8
# As published the bits are cut at the median; an emoji and its JPEG then differ in up to 22 of 63, as signs
# of coefficients near zero are noise. Cut above a fiftieth of their length they differ in two at most.
_THRESHOLD = 0.02
# Bits in which candidates may differ. The correlation decides, so more only costs time.
_DISTANCE = 8
# Hashes compared at a time: a block against 20,000 others takes 80 MB.
_BLOCK = 512


@dataclass
class ImageInspection(Inspection):
    """What is kept of each image.

    Attributes:
        small: 32 x 32 RGB of each, 3,072 numbers.
        hashes: perceptual hash of each.
        flat: whether it is of a single colour.
        brightest: the largest value of each, of 255.
        several: whether each is the first of several frames or pages.
    """

    compared_by = "pixels"
    certain = SAME_PICTURE
    sizes: list[tuple[int, int]] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)
    modes: list[str] = field(default_factory=list)
    small: list[NDArray[np.uint8]] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    flat: list[bool] = field(default_factory=list)
    brightest: list[int] = field(default_factory=list)
    several: list[bool] = field(default_factory=list)

    def add(self, index: int, data: bytes, decoded: Any) -> None:
        """Keep sizes, file format, colour mode, a small version and its hash."""
        file_format, mode, several = header(data)
        self.several.append(several)
        self.formats.append(file_format)
        self.modes.append(mode)
        self.sizes.append(decoded.size)
        self.small.append(np.asarray(decoded.resize((SIDE, SIDE), Image.Resampling.BOX)).reshape(-1))
        self.hashes.append(perceptual_hash(decoded))
        self.brightest.append(max(high for _, high in decoded.getextrema()))
        self.flat.append(all(low == high for low, high in decoded.getextrema()))

    def traits(self) -> tuple[str, ...]:
        """Return lines about sizes, shapes, colour modes and file formats."""
        if not self.seen:
            return ()
        sides = np.array(self.sizes)
        lines = [f"sizes {_range([f'{w} x {h}' for w, h in self.sizes], sides)}"]
        aspect = sides.max(axis=1) / sides.min(axis=1)
        if aspect.max() > 1.05:
            lines.append(
                f"longer side over shorter: median {np.median(aspect):.2f}, at most {aspect.max():.2f}"
            )
        deep = sum(mode[0] in WHITE for mode in self.modes)
        if deep:
            lines.append(
                f"{count(deep, 'image')} of more than 8 bits: in each 0 became black, and 65535 (of whole "
                "numbers) or 1 (of floats) white"
            )
        if any(self.several):
            first = count(sum(self.several), "image")
            lines.append(f"{first} of several frames or pages, of which the first is read")
        return (*lines, "colour modes " + _shares(self.modes), "file formats " + _shares(self.formats))

    def unusual_by_kind(self) -> dict[str, list[int]]:
        """Return images of one colour, tiny ones and extreme shapes."""
        sides = np.array(self.sizes).reshape(-1, 2)
        shorter, longer = sides.min(axis=1, initial=1 << 30), sides.max(axis=1, initial=1)
        deep = np.array([mode[0] in WHITE for mode in self.modes], dtype=bool)
        dim = deep & (np.array(self.brightest, dtype=np.int64) <= 256 // DIM)
        tests = {
            "of a single colour": np.array(self.flat, dtype=bool),
            f"tiny (a side under {TINY} pixels)": shorter < TINY,
            f"nearly black, of more than 8 bits (all below 1/{DIM} of white: scale all images alike)": dim,
            f"extremely long or high (over {LONG:.0f} : 1)": longer > LONG * shorter,
        }
        seen = np.array(self.seen, dtype=np.int64)
        return {kind: seen[hits].tolist() for kind, hits in tests.items()}

    def near_duplicates(self) -> list[tuple[int, int, float]]:
        """Return pairs of images that look alike, with the correlation of their small versions.

        A pair differs in at most 8 of the 63 bits of its hashes, and correlates at .95 or more;
        images of a single colour are left out, as all of them would be alike.
        """
        keep = [k for k in range(len(self.seen)) if not self.flat[k]]
        hashes = np.array([self.hashes[k] for k in keep], dtype=np.uint64)
        rows = _unit_rows(np.array([self.small[k] for k in keep], dtype=np.uint8).reshape(-1, 3 * SIDE**2))
        pairs: list[tuple[int, int, float]] = []
        for a, b in _close(hashes):
            r = np.einsum("ij,ij->i", rows[a], rows[b])
            pairs += [
                (self.seen[keep[i]], self.seen[keep[j]], float(value))
                for i, j, value in zip(a, b, r, strict=True)
                if value >= LOOKS_ALIKE
            ]
            if len(pairs) > MOST_PAIRS:
                return pairs[:MOST_PAIRS]
        return pairs


def perceptual_hash(image: Image.Image) -> int:
    """Return 63 bits, the signs of the low frequencies of a 32 x 32 grey version.

    A bit is set where a coefficient of the discrete cosine transform is above a fiftieth of
    the length of all 63: signs of coefficients near zero, as symmetrical pictures have them, say nothing.

    References:
        Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions, section 3.2.1.
    """
    grey = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    waves = _waves()
    low = (waves @ grey @ waves.T).ravel()[1:]
    bits = low > _THRESHOLD * (np.linalg.norm(low) + 1e-9)
    return int(sum(1 << k for k in np.flatnonzero(bits).tolist()))


def _waves() -> NDArray[np.float64]:
    places, frequencies = np.arange(SIDE), np.arange(_FREQUENCIES)
    waves: NDArray[np.float64] = np.cos(np.pi * (2 * places + 1) * frequencies[:, None] / (2 * SIDE))
    return waves


def _close(hashes: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the pairs (a, b), a < b, of hashes that differ in few bits, block by block."""
    for start in range(0, len(hashes), _BLOCK):
        block = hashes[start : start + _BLOCK]
        distance = np.bitwise_count(block[:, None] ^ hashes[None, start:])
        a, b = np.nonzero(distance <= _DISTANCE)
        later = b > a
        a, b = a[later] + start, b[later] + start
        # In parts: pictures on white are candidates by the thousand.
        yield from ((a[i : i + _BLOCK], b[i : i + _BLOCK]) for i in range(0, len(a), _BLOCK))


def _unit_rows(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows = small.astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True) + 1e-6
    return rows


def _range(named: Sequence[str], sides: NDArray[np.int64]) -> str:
    common, count = Counter(named).most_common(1)[0]
    if count == len(named):
        return f"all {common}"
    areas = sides.prod(axis=1)
    small, large = named[int(areas.argmin())], named[int(areas.argmax())]
    return f"from {small} to {large}, {int(100 * count / len(named))} % are {common}"


def _shares(values: Sequence[str]) -> str:
    counts = Counter(values).most_common(4)
    if len(counts) == 1:
        return counts[0][0]
    return ", ".join(f"{name} {int(100 * count / len(values))} %" for name, count in counts)
