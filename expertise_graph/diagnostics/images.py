"""Images without a model: what they are like, which are odd, and which are nearly the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from expertise_graph.core import DatasetError
from expertise_graph.data import IMAGE, Item, kind_of
from expertise_graph.diagnostics.findings import Odd

SIDE = 32
TINY = 16
LONG = 4.0
LOOKS_ALIKE = 0.95
MOST_PAIRS = 100_000
_FREQUENCIES = 8
_THRESHOLD = 0.02
_DISTANCE = 8
_BLOCK = 512


@dataclass
class Images:
    """What is kept of each image that was looked at.

    Attributes:
        looked: indices of the items.
        small: 32 x 32 RGB of each, 3,072 numbers.
        hashes: perceptual hash of each.
    """

    looked: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    kinds: list[tuple[str, str]] = field(default_factory=list)
    small: list[NDArray[np.uint8]] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    flat: list[bool] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)

    def look(self, index: int, item: Item) -> None:
        """Add an item; one that cannot be opened any more is noted as gone."""
        try:
            data = IMAGE.to_bytes(item)
            kind, image = kind_of(data), IMAGE.decode(data)
        except DatasetError:
            self.gone.append(index)
            return
        self.looked.append(index)
        self.kinds.append(kind)
        self.sizes.append(image.size)
        self.small.append(np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX)).reshape(-1))
        self.hashes.append(perceptual_hash(image))
        self.flat.append(all(low == high for low, high in _extrema(image)))

    def traits(self) -> tuple[str, ...]:
        """Return lines about sizes, shapes, colour modes and file formats."""
        if not self.looked:
            return ()
        sides = np.array(self.sizes)
        lines = [f"sizes {_range([f'{w} x {h}' for w, h in self.sizes], sides)}"]
        aspect = sides.max(axis=1) / sides.min(axis=1)
        if aspect.max() > 1.05:
            lines.append(
                f"longer side over shorter: median {np.median(aspect):.2f}, at most {aspect.max():.2f}"
            )
        lines.append("colour modes " + _shares([mode for _, mode in self.kinds]))
        lines.append("file formats " + _shares([name for name, _ in self.kinds]))
        return tuple(lines)

    def odd(self) -> tuple[Odd, ...]:
        """Return images of one colour, tiny ones and extreme shapes."""
        sides = np.array(self.sizes).reshape(-1, 2)
        tests = {
            "of a single colour": np.array(self.flat, dtype=bool),
            f"tiny (a side under {TINY} pixels)": sides.min(axis=1, initial=1 << 30) < TINY,
            f"extremely long or high (over {LONG:.0f} : 1)": sides.max(axis=1, initial=1)
            > LONG * sides.min(axis=1, initial=1 << 30),
        }
        looked = np.array(self.looked, dtype=np.int64)
        found = [
            Odd(kind=kind, items=tuple(looked[hits].tolist())) for kind, hits in tests.items() if hits.any()
        ]
        if self.gone:
            found.append(Odd(kind="no longer readable", items=tuple(self.gone)))
        return tuple(found)

    def near(self) -> list[tuple[int, int, float]]:
        """Return pairs of items that look alike, with the correlation of their small versions.

        A pair differs in at most 8 of the 63 bits of its hashes, and correlates at .95 or more;
        images of a single colour are left out, as all of them would be alike.
        """
        keep = [k for k in range(len(self.looked)) if not self.flat[k]]
        hashes = np.array([self.hashes[k] for k in keep], dtype=np.uint64)
        rows = _unit_rows(np.array([self.small[k] for k in keep], dtype=np.uint8).reshape(-1, 3 * SIDE**2))
        pairs: list[tuple[int, int, float]] = []
        for a, b in _close(hashes):
            r = np.einsum("ij,ij->i", rows[a], rows[b])
            pairs += [
                (self.looked[keep[i]], self.looked[keep[j]], float(value))
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


def _extrema(image: Image.Image) -> tuple[tuple[float, float], ...]:
    extrema = image.getextrema()
    return tuple((float(low), float(high)) for low, high in extrema)  # type: ignore[misc]


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
