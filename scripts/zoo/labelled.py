"""Labelled sets in memory, and the bytewise reproducible files they are written to."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64
EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One input with its label; samples of one `group` never stand on both sides of a split."""

    value: Image.Image | str
    label: str
    group: str
    origin: str
    license: str

    @property
    def content(self) -> bytes:
        """What makes the input what it is: its pixels, or its text in UTF-8."""
        return self.value.encode() if isinstance(self.value, str) else self.value.tobytes()


def generator(*key: object) -> np.random.Generator:
    """Return a random generator that depends on nothing but `key`."""
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def shuffled(samples: Iterable[Sample], seed: int) -> list[Sample]:
    """Return the samples in an order that depends on `seed` alone."""
    listed = list(samples)
    return [listed[i] for i in np.random.default_rng(seed).permutation(len(listed))]


def per_label(samples: Iterable[Sample], most: int) -> list[Sample]:
    """Return at most the first `most` samples of each label."""
    taken: dict[str, int] = {}
    kept = []
    for sample in samples:
        taken[sample.label] = taken.get(sample.label, 0) + 1
        if taken[sample.label] <= most:
            kept.append(sample)
    return kept


def held_out(groups: Iterable[str], fraction: float) -> set[str]:
    """Return a share of the groups, chosen by their names alone."""
    ordered = sorted(set(groups), key=lambda group: hashlib.sha256(group.encode()).hexdigest())
    return set(ordered[: round(fraction * len(ordered))])


def square(image: Image.Image, side: int = SIDE) -> Image.Image:
    """Return the image on white, centred in a square of `side` pixels, as RGB."""
    image = image.convert("RGBA")
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)
    canvas = Image.new("RGBA", (side, side), "white")
    canvas.alpha_composite(small, ((side - size[0]) // 2, (side - size[1]) // 2))
    return canvas.convert("RGB")


def png(image: Image.Image) -> bytes:
    """Return the image as a small PNG without metadata."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write_zip(path: Path, files: Mapping[str, bytes], method: int) -> None:
    """Write an archive whose bytes depend on `files` alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = method
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])


def distinct(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples without those whose content came before."""
    seen: set[bytes] = set()
    kept = []
    for sample in samples:
        if sample.content not in seen:
            seen.add(sample.content)
            kept.append(sample)
    return kept
