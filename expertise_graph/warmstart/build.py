"""What a run is made of: the model to train, the device's precision, its own random numbers."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from expertise_graph.data.base import LabelledData
from expertise_graph.errors import DatasetError
from expertise_graph.sources.base import Backbone
from expertise_graph.types import IntArray
from expertise_graph.warmstart.config import TrainConfig
from expertise_graph.warmstart.optimizer import Classifier, freeze_token_tables


@contextmanager
def private_rng(*keys: int) -> Iterator[None]:
    """Seed torch by `keys` inside the block, and leave the caller's random state as it was."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(np.random.SeedSequence(list(keys)).generate_state(1, np.uint64)[0] >> 1))
        yield


def build_classifier(backbone: Backbone, classes: int, config: TrainConfig) -> Classifier:
    """Return a trainable copy of the backbone, or fresh weights, with a new head; in float32."""
    scratch = config.from_scratch
    module = (backbone.fresh(config.seed) if scratch else copy.deepcopy(backbone.module)).float()
    for parameter in module.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    if not scratch:
        freeze_token_tables(module)
    return Classifier(module, nn.Linear(backbone.dim, classes))


def precision() -> str:
    """Return the mixed precision accelerate is asked for: bf16 or fp16 on a GPU, none elsewhere."""
    if not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def check_splits(data: LabelledData, splits: dict[str, IntArray]) -> None:
    """Raise DatasetError when a split is empty or only one class is left to train on."""
    for name, rows in splits.items():
        if len(rows) == 0:
            raise DatasetError(
                f"{data.name} has {len(data)} items, which leaves none for the {name} split: "
                "give at least three items of a class"
            )
    if len(np.unique(data.labels[splits["train"]])) < 2:
        raise DatasetError(f"{data.name} leaves one class to train on: add items of another class")
