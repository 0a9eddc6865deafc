"""Train a specialist and write it as a plain transformers folder, backbone only, in half precision."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import AutoModel, PreTrainedModel, ResNetConfig, ResNetForImageClassification

from zoo import cards, reading
from zoo.labelled import SIDE, Sample, held_out, shuffled
from zoo.recipes import RECIPES, Recipe

BATCH = 64
SEED = 0


@dataclass(frozen=True)
class Split:
    """Encoded inputs and labels; `train` marks the rows to learn from."""

    inputs: Mapping[str, torch.Tensor]
    labels: torch.Tensor
    classes: tuple[str, ...]
    train: NDArray[np.bool_]

    def rows(self, index: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """Return the inputs of some rows."""
        return {name: tensor[torch.from_numpy(index)] for name, tensor in self.inputs.items()}


def build(name: str, cache: Path, folder: Path) -> float:
    """Train the specialist `name`, write it to `folder`; return its held-out accuracy as written."""
    recipe = RECIPES[name]
    samples = shuffled(recipe.samples(cache), SEED)
    torch.manual_seed(SEED)
    if recipe.modality == "image":
        split = _split(samples, {"pixel_values": _pixels(samples)}, recipe)
        backbone, head = _train_image(recipe, split)
        shutil.rmtree(folder, ignore_errors=True)
        _write_image(backbone, folder)
    else:
        tokenizer = reading.tokenizer(cache)
        split = _split(samples, reading.encode(tokenizer, samples), recipe)
        backbone, head = reading.network(len(split.classes))
        _fit(reading.Classifier(backbone, head), recipe, split)
        shutil.rmtree(folder, ignore_errors=True)
        reading.write(backbone, tokenizer, folder)
    accuracy = _accuracy(folder, head, split)
    (folder / "README.md").write_text(
        cards.card(name, recipe, accuracy, split.train, split.classes), encoding="utf-8"
    )
    return accuracy


def _split(samples: Sequence[Sample], inputs: Mapping[str, torch.Tensor], recipe: Recipe) -> Split:
    classes = tuple(sorted({s.label for s in samples}))
    labels = torch.tensor([classes.index(s.label) for s in samples])
    groups = {s.group for s in samples}
    # Fashion-MNIST brings its own split.
    own = {group for group in groups if group.startswith("t10k ")}
    measured = own or held_out(groups, recipe.held_out)
    return Split(inputs, labels, classes, np.array([s.group not in measured for s in samples]))


def _pixels(samples: Sequence[Sample]) -> torch.Tensor:
    array = np.stack([np.asarray(sample.value) for sample in samples])
    return torch.from_numpy(array).permute(0, 3, 1, 2).float() / 127.5 - 1


def _train_image(recipe: Recipe, split: Split) -> tuple[PreTrainedModel, torch.nn.Module]:
    config = ResNetConfig(
        num_channels=3, embedding_size=recipe.widths[0], hidden_sizes=list(recipe.widths),
        depths=list(recipe.depths), layer_type="basic",
    )  # fmt: skip
    config.num_labels = len(split.classes)
    model = ResNetForImageClassification(config)
    _fit(_Pictures(model, recipe.flip), recipe, split)
    return model.resnet, model.classifier[-1]


class _Pictures(torch.nn.Module):
    """Logits of images that are shifted, scaled and perhaps mirrored while training."""

    def __init__(self, model: ResNetForImageClassification, flip: bool) -> None:
        super().__init__()
        self.model, self.flip = model, flip

    def forward(self, pixel_values: torch.Tensor) -> Any:
        if self.training:
            pixel_values = _augmented(pixel_values, self.flip)
        return self.model(pixel_values=pixel_values).logits


def _augmented(images: torch.Tensor, flip: bool) -> torch.Tensor:
    scale = torch.empty(len(images), 2).uniform_(0.85, 1.2)
    if flip:
        scale[:, 0] *= torch.randint(0, 2, (len(images),)) * 2 - 1
    shift = torch.empty(len(images), 2).uniform_(-0.12, 0.12)
    turn = torch.empty(len(images), 2).uniform_(-0.1, 0.1)
    rows = torch.stack([scale[:, 0], turn[:, 0], shift[:, 0], turn[:, 1], scale[:, 1], shift[:, 1]], 1)
    grid = functional.affine_grid(rows.view(-1, 2, 3), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _fit(model: torch.nn.Module, recipe: Recipe, split: Split) -> None:
    index = np.flatnonzero(split.train)
    steps = recipe.epochs * (len(index) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    rng = np.random.default_rng(SEED)
    model.train()
    for _ in range(recipe.epochs):
        order = rng.permutation(index)
        for batch in (order[i : i + BATCH] for i in range(0, len(order) - BATCH + 1, BATCH)):
            logits = model(**split.rows(batch))
            loss = functional.cross_entropy(logits, split.labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()


@torch.inference_mode()
def _accuracy(folder: Path, head: torch.nn.Module, split: Split) -> float:
    """Measure the weights as written, so that what half precision costs is in the figure."""
    backbone = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    index = np.flatnonzero(~split.train)
    guessed = [
        head(reading.pooled(backbone, split.rows(index[i : i + 256]))).argmax(1)
        for i in range(0, len(index), 256)
    ]
    return float((torch.cat(guessed) == split.labels[torch.from_numpy(index)]).float().mean())


def _write_image(backbone: PreTrainedModel, folder: Path) -> None:
    reading.write_half(backbone, folder)
    content = {
        "image_processor_type": "ViTImageProcessor", "do_resize": True,
        "size": {"height": SIDE, "width": SIDE},
        "do_rescale": True, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
