"""Real data with faults put in on purpose, whose places are known."""

from __future__ import annotations

import dataclasses
import io
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from expertise_graph.data.dataset import LabelledData
from expertise_graph.data.modalities.image_codec import decode
from tests.materials import LETTERS


def letters(folder: Path, classes: int = 8) -> Path:
    """Copy the first Armenian letters with their train and test split."""
    for split in ("train", "test"):
        for letter in sorted((LETTERS / split).iterdir())[:classes]:
            shutil.copytree(letter, folder / split / letter.name)
    return folder


def swapped(data: LabelledData, share: float, seed: int) -> tuple[LabelledData, set[int]]:
    """Return the data with a share of the labels swapped for another class, and which they are."""
    rng = np.random.default_rng(seed)
    places = rng.permutation(len(data))[: round(share * len(data))]
    labels = data.labels.copy()
    labels[places] = (labels[places] + rng.integers(1, len(data.classes), len(places))) % len(data.classes)
    return dataclasses.replace(data, labels=labels, sha256=f"{data.sha256}-{share}-{seed}"), set(
        places.tolist()
    )


def saved_anew(path: Path, target: Path, *, side: int | None = None, quality: int = 60) -> Path:
    """Write the picture at `path` as JPEG, in another size if wanted."""
    image = decode(path)
    if side is not None:
        image = image.resize((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    target.write_bytes(buffer.getvalue())
    return target


def single_colour(path: Path) -> Path:
    """Write a white picture."""
    Image.new("RGB", (64, 64), "white").save(path)
    return path
