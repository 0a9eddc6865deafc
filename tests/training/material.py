"""Letters drawn with the fonts of matplotlib, and a small residual network to read them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn
from transformers import ResNetConfig, ResNetModel

from expertise_graph.core.types import Expert
from expertise_graph.data.dataset import LabelledData
from expertise_graph.models.base import Backbone

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
STYLES = ("", "-Bold", "-Oblique", "-BoldOblique")
FACES = [*(f"DejaVuSans{s}" for s in STYLES), *(f"DejaVuSansMono{s}" for s in STYLES)]
FACES += ["DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"]
LATIN = "ABDEFGHJKLMNPQRSTUXZ"
CYRILLIC = "БГДЖЗИЛПФЦЧШЫЭЮЯ"


@lru_cache
def _font(face: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONTS / f"{face}.ttf"), size)


def draw(letter: str, rng: np.random.Generator) -> bytes:
    """Draw one letter in a random face, size, place and slant."""
    image = Image.new("RGB", (64, 64), "white")
    font = _font(FACES[rng.integers(len(FACES))], int(rng.integers(30, 52)))
    place = (32 + rng.uniform(-5, 5), 32 + rng.uniform(-5, 5))
    ImageDraw.Draw(image).text(place, letter, fill="black", font=font, anchor="mm")
    image = image.rotate(rng.uniform(-12, 12), fillcolor="white", resample=Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def letters(alphabet: str, counts: Sequence[int] | int, *, seed: int = 0, test: int = 0) -> LabelledData:
    """Return drawn letters, `counts` of each; with `test` more of each in a declared test split."""
    rng = np.random.default_rng(seed)
    counts = [counts] * len(alphabet) if isinstance(counts, int) else counts
    labels = np.repeat(np.arange(len(alphabet)), counts)
    held = np.repeat(np.arange(len(alphabet)), test)
    items = tuple(draw(alphabet[label], rng) for label in (*labels, *held))
    n = len(labels)
    splits = {"train": np.arange(n), "test": np.arange(n, len(items))} if test else {}
    return LabelledData(
        name="letters",
        modality="image",
        locator="drawn",
        items=items,
        labels=np.concatenate([labels, held]),
        classes=tuple(alphabet),
        sha256=hashlib.sha256(b"".join(items)).hexdigest(),
        splits=splits,
    )


class Pooled(nn.Module):
    """The pooled features of a residual network."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        widths = [16, 32, 64, 128]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = ResNetModel(
                ResNetConfig(embedding_size=16, hidden_sizes=widths, depths=[1] * 4, layer_type="basic")
            )

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.net(pixel_values=pixel_values).pooler_output.flatten(1)


def collate(images: Sequence[Image.Image]) -> dict[str, torch.Tensor]:
    """Scale RGB images of 64 x 64 to [-1, 1]."""
    arrays = np.stack([np.asarray(image, dtype=np.float32) for image in images])
    return {"pixel_values": torch.from_numpy(arrays).permute(0, 3, 1, 2).div(127.5).sub(1.0).contiguous()}


def save(module: nn.Module, folder: Path) -> None:
    """Write the network the way transformers does."""
    module.net.save_pretrained(folder)


def backbone(seed: int = 0) -> Backbone:
    """Return a network with random weights as an expert in memory."""
    return Backbone(
        module=Pooled(seed).eval(), collate=collate, dim=128, modality="image", fresh=Pooled, save=save
    )


def expert(**changes: object) -> Expert:
    """Return the node of a network that knows Latin letters."""
    values = {
        "id": "hf:someone/latin@" + "a" * 40,
        "name": "someone/latin",
        "source": "hf",
        "locator": "someone/latin",
        "modality": "image",
        "architecture": "ResNetModel",
        "params": 1,
        "bytes": 4,
        "dim": 128,
        "weights_sha": "b" * 64,
        "preprocessing_sha": "c" * 64,
        "license": "apache-2.0",
    }
    return Expert(**{**values, **changes})
