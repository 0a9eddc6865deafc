"""Texts without a model: what they are like, which are odd, and which are nearly the same."""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import DatasetError
from expertise_graph.data import TEXT, Item
from expertise_graph.diagnostics.findings import Odd

SHINGLE = 5
ALIKE = 0.8
_SHINGLED = 4000
_ROWS, _BANDS = 4, 16
_CROWD = 50
_PRIME = (1 << 61) - 1
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]{0,80}>|&(?:[a-z]{2,8}|#\d{2,6});")
# UTF-8 read as Windows-1252, and the sign of bytes that were lost.
_MOJIBAKE = re.compile("[ÃÂ][\u0080-\u00bf]|â€|\ufffd")
_ODD: dict[str, Callable[[str], bool]] = {
    "without any letter or digit": lambda text: not any(c.isalnum() for c in text),
    "with leftovers of HTML": lambda text: bool(_MARKUP.search(text)),
    "with signs of a wrong encoding": lambda text: bool(_MOJIBAKE.search(text)),
    "with control characters": lambda text: any(
        unicodedata.category(c) == "Cc" and c not in "\n\r\t" for c in text
    ),
}
_TINY = 3


@dataclass
class Texts:
    """What is kept of each text that was looked at; `looked` are indices of the items."""

    looked: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)
    found: dict[str, list[int]] = field(default_factory=dict)
    gone: list[int] = field(default_factory=list)

    def look(self, index: int, item: Item) -> None:
        """Add an item; one that cannot be opened any more is noted as gone."""
        try:
            text = TEXT.decode(item)
        except DatasetError:
            self.gone.append(index)
            return
        self.looked.append(index)
        self.lengths.append(len(text))
        self.words.append(len(text.split()))
        self.plain.append(normal_form(text[:_SHINGLED]))
        for kind, test in _ODD.items():
            if test(text[:_SHINGLED]):
                self.found.setdefault(kind, []).append(index)

    def traits(self) -> tuple[str, ...]:
        """Return lines about lengths."""
        if not self.looked:
            return ()
        low, middle, high = np.quantile(self.words, [0.05, 0.5, 0.95])
        return (
            f"words: median {middle:.0f}, 90 % between {low:.0f} and {high:.0f}, longest {max(self.words):,}",
            f"characters: from {min(self.lengths):,} to {max(self.lengths):,}",
        )

    def odd(self) -> tuple[Odd, ...]:
        """Return texts that are very short or very long, or hold what no author meant."""
        found = dict(self.found)
        middle = float(np.median(self.lengths)) if self.lengths else 0.0
        tests: dict[str, Callable[[int], bool]] = {
            f"of fewer than {_TINY} characters": lambda n: n < _TINY,
            "over 20 times as long as the median": lambda n: n > max(20 * middle, 1000),
        }
        for kind, test in tests.items():
            found[kind] = [i for i, n in zip(self.looked, self.lengths, strict=True) if test(n)]
        found["no longer readable"] = self.gone
        return tuple(Odd(kind=kind, items=tuple(items)) for kind, items in found.items() if items)

    def near(self) -> list[tuple[int, int, float]]:
        """Return pairs of items that share most of their wording, with the Jaccard index of their shingles.

        Texts that differ in case, spaces, accents' encoding or punctuation only have an index of 1. The
        others are found by min-hashing and then compared in full.

        References:
            Broder 1997, On the resemblance and containment of documents.
        """
        first: dict[str, int] = {}
        pairs = []
        for place, text in enumerate(self.plain):
            if text in first:
                pairs.append((self.looked[first[text]], self.looked[place], 1.0))
            else:
                first[text] = place
        kept = [place for text, place in first.items() if len(text) >= 2 * SHINGLE]
        shingles = {place: shingles_of(self.plain[place]) for place in kept}
        for a, b in sorted(_candidates(shingles)):
            index = jaccard(shingles[a], shingles[b])
            if index >= ALIKE:
                pairs.append((self.looked[a], self.looked[b], index))
        return pairs


def normal_form(text: str) -> str:
    """Return the letters and digits of a text in lower case, one space between words.

    Example:
        >>> normal_form("  The CAT, sat!")
        'the cat sat'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split()) or folded.strip()


def shingles_of(text: str) -> frozenset[int]:
    """Return checksums of all runs of five characters."""
    return frozenset(
        zlib.crc32(text[k : k + SHINGLE].encode("utf-8", "replace")) for k in range(len(text) - SHINGLE + 1)
    )


def jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    """Return the share of all elements that both sets have."""
    return len(a & b) / len(a | b) if a or b else 1.0


def _candidates(shingles: dict[int, frozenset[int]]) -> set[tuple[int, int]]:
    """Return pairs of texts that agree in one band of their min-hashes."""
    found: set[tuple[int, int]] = set()
    buckets: dict[bytes, list[int]] = defaultdict(list)
    for place, values in shingles.items():
        for key in _band_keys(values):
            buckets[key].append(place)
    for places in buckets.values():
        # A crowd of hundreds is a template; each is compared with the first few, which groups them all.
        found |= {(a, b) for a, b in itertools.combinations(places[:_CROWD], 2)}
        found |= {(places[0], b) for b in places[_CROWD:]}
    return found


def _band_keys(values: frozenset[int]) -> list[bytes]:
    hashes = np.fromiter(values, dtype=np.uint64, count=len(values))
    signature = _mixed(hashes).min(axis=1).reshape(_BANDS, _ROWS)
    return [
        hashlib.blake2b(band.tobytes(), key=bytes([k]), digest_size=12).digest()
        for k, band in enumerate(signature)
    ]


def _mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the hashes (m,) under 64 fixed random functions, (64, m)."""
    rng = np.random.default_rng(0)
    # Multiply-shift of odd factors in 64 bits; the upper half is what is random.
    factors = rng.integers(1, _PRIME, _BANDS * _ROWS, dtype=np.uint64) | np.uint64(1)
    shifts = rng.integers(0, _PRIME, _BANDS * _ROWS, dtype=np.uint64)
    with np.errstate(over="ignore"):
        return (hashes[None] * factors[:, None] + shifts[:, None]) >> np.uint64(32)
