"""How the experts of the benchmark zoo are trained: one recipe for all small networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import AutoTokenizer

from expertise_graph.starter import __file__ as PACKAGE
from zoo import reading
from zoo.bench_nets import ARCHITECTURES
from zoo.specialists import _augmented as augmented

BATCH = 64
LR = 2e-3
Inputs = Mapping[str, torch.Tensor]
Prepare = Callable[[Any], dict[str, torch.Tensor]]
"""From the items of a task, (n, 3, 64, 64) uint8 or texts, to the inputs of a network."""


class Reader(nn.Module):
    """The small text encoder of the starter zoo, averaged over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, _ = reading.network(2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return features (n, d)."""
        features: torch.Tensor = reading.pooled(
            self.backbone, {"input_ids": input_ids, "attention_mask": attention_mask}
        )
        return features


class Classified(nn.Module):
    """Logits on a network's features; images are moved and turned a little while training."""

    def __init__(self, module: nn.Module, classes: int, flip: bool) -> None:
        super().__init__()
        self.module, self.flip = module, flip
        self.head = nn.LazyLinear(classes)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return logits (n, classes)."""
        if self.training and "x" in batch:
            batch = {"x": augmented(batch["x"], self.flip)}
        logits: torch.Tensor = self.head(self.module(**batch))
        return logits


def fresh(kind: str) -> nn.Module:
    """Return an untrained network of one kind."""
    return Reader() if kind == "tiny-bert" else ARCHITECTURES[kind]()


def preparation(kind: str) -> Prepare:
    """Return what turns items into the inputs of a network of one kind."""
    if kind != "tiny-bert":
        return lambda items: {"x": functional.avg_pool2d(torch.from_numpy(items).float(), 2) / 127.5 - 1}
    # All text specialists share one vocabulary, and any of their folders holds it.
    tokens = AutoTokenizer.from_pretrained(Path(PACKAGE).parent / "experts/languages")
    return lambda items: dict(
        tokens(
            items, padding=True, truncation=True, max_length=reading.LENGTH, return_tensors="pt",
            return_token_type_ids=False,
        )
    )  # fmt: skip


def batch_of(inputs: Inputs, rows: Any) -> dict[str, torch.Tensor]:
    """Return some rows of the inputs, texts cut to the longest of them."""
    batch = {name: tensor[rows] for name, tensor in inputs.items()}
    if "attention_mask" in batch:
        longest = int(batch["attention_mask"].sum(1).max())
        batch = {name: tensor[:, :longest] for name, tensor in batch.items()}
    return batch


def fit(model: Classified, inputs: Inputs, labels: torch.Tensor, *, rows: Any, epochs: int) -> None:
    """Train all weights on some rows."""
    model(batch_of(inputs, rows[:2]))
    per_epoch = max(1, len(rows) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LR, total_steps=epochs * per_epoch, pct_start=0.1
    )
    rng = np.random.default_rng(0)
    model.train()
    for _ in range(epochs):
        order = rng.permutation(rows)
        for batch in np.array_split(order[: per_epoch * BATCH], per_epoch):
            loss = functional.cross_entropy(
                model(batch_of(inputs, batch)), labels[batch], label_smoothing=0.05
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()


def accuracy(model: Classified, inputs: Inputs, labels: torch.Tensor, *, rows: Any) -> float:
    """Return the accuracy on some rows."""
    parts = np.array_split(rows, max(1, len(rows) // 128))
    with torch.inference_mode():
        guess = torch.cat([model(batch_of(inputs, part)).argmax(1) for part in parts])
    return float((guess == labels[rows]).float().mean())
