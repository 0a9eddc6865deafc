"""Texts without a model: what they are like, which are unusual, and which are nearly the same."""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expertise_graph.data.modalities.base import MOST_PAIRS, Inspection

# Characters of a shingle: long enough that unrelated texts share few, short enough to survive typing errors.
SHINGLE = 5
# Share of common shingles of two texts that are nearly the same: a changed word or two in a sentence.
ALIKE = 0.8
# Only the beginning of a text is looked at: what repeats or is broken shows there, and time stays linear.
_BEGINNING = 4000
# 16 bands of 4 min-hashes find a pair that shares .8 of its shingles with probability 1 - (1 - .8^4)^16 =
# .9998, and one that shares .3 with .12; candidates are then compared in full.
_ROWS, _BANDS = 4, 16
# Members of a bucket that are all compared with one another: 1,225 pairs; the square of hundreds is too many.
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
# "no", "ok" and "5" are answers, but hardly anything to learn from.
_TINY = 3


@dataclass
class TextInspection(Inspection):
    """What is kept of each text: its length, its number of words, and the words without case and marks."""

    compared_by = "wording"
    lengths: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)
    found: dict[str, list[int]] = field(default_factory=dict)

    def add(self, index: int, data: bytes, decoded: Any) -> None:
        """Keep lengths, the normal form, and what is unusual about the beginning."""
        self.lengths.append(len(decoded))
        self.words.append(len(decoded.split()))
        self.plain.append(normal_form(decoded[:_BEGINNING]))
        for kind, test in _ODD.items():
            if test(decoded[:_BEGINNING]):
                self.found.setdefault(kind, []).append(index)

    def traits(self) -> tuple[str, ...]:
        """Return lines about lengths."""
        if not self.seen:
            return ()
        low, middle, high = np.quantile(self.words, [0.05, 0.5, 0.95])
        return (
            f"words: median {middle:.0f}, 90 % between {low:.0f} and {high:.0f}, longest {max(self.words):,}",
            f"characters: from {min(self.lengths):,} to {max(self.lengths):,}",
        )

    def unusual_by_kind(self) -> dict[str, list[int]]:
        """Return texts that are very short or very long, or hold what no author meant."""
        middle = float(np.median(self.lengths)) if self.lengths else 0.0
        tests: dict[str, Callable[[int], bool]] = {
            f"of fewer than {_TINY} characters": lambda n: n < _TINY,
            "over 20 times as long as the median": lambda n: n > max(20 * middle, 1000),
        }
        by_length = {
            kind: [i for i, n in zip(self.seen, self.lengths, strict=True) if test(n)]
            for kind, test in tests.items()
        }
        return {**self.found, **by_length}

    def near_duplicates(self) -> list[tuple[int, int, float]]:
        """Return pairs of texts that share most of their wording, with the Jaccard index of their shingles.

        Texts that differ in case, spaces, accents' encoding or punctuation only have an index of 1. The
        others are found by min-hashing and then compared in full.

        References:
            Broder 1997, On the resemblance and containment of documents.
        """
        first: dict[str, int] = {}
        pairs = []
        for place, text in enumerate(self.plain):
            if text in first:
                pairs.append((self.seen[first[text]], self.seen[place], 1.0))
            else:
                first[text] = place
        kept = [place for text, place in first.items() if len(text) >= 2 * SHINGLE]
        shingles = {place: shingles_of(self.plain[place]) for place in kept}
        for a, b in sorted(_candidates(shingles)):
            index = jaccard(shingles[a], shingles[b])
            if index >= ALIKE:
                pairs.append((self.seen[a], self.seen[b], index))
        return pairs[:MOST_PAIRS]


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
