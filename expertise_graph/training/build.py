"""What a run is made of: the model to train, the device's precision, its own random numbers."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import nn

from expertise_graph.core import DatasetError, IntArray, InvalidInputError
from expertise_graph.data import LabelledData
from expertise_graph.models import Backbone, Classifier
from expertise_graph.training.batches import even_batches
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.strategy import start_moving

if sys.platform != "win32":
    import resource


@contextmanager
def private_rng(*keys: int) -> Iterator[None]:
    """Seed torch by `keys` inside the block, and leave the caller's random state as it was."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(np.random.SeedSequence(list(keys)).generate_state(1, np.uint64)[0] >> 1))
        yield


def build_classifier(backbone: Backbone, outputs: int, config: TrainConfig) -> Classifier:
    """Return a copy of the backbone, or fresh weights, with a new head; in float32, ready for the strategy.

    Raises:
        SourceError: when the strategy is not possible for the architecture.
    """
    pretrained = config.way.pretrained
    module = (copy.deepcopy(backbone.module) if pretrained else backbone.fresh(config.seed)).float()
    start_moving(module, config.strategy, rank=config.rank)
    return Classifier(module, nn.Linear(backbone.dim, outputs))


def processes() -> PartialState:
    """Return which of the processes that train together this is; the launcher says so in the environment."""
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))


def precision(asked: str) -> str:
    """Return the mixed precision accelerate is asked for; auto is bf16 or fp16 on a GPU, none elsewhere.

    Raises:
        InvalidInputError: for fp16 without a GPU.
    """
    if asked == "fp16" and not torch.cuda.is_available():
        raise InvalidInputError("fp16 needs a GPU, and none is there: give --precision bf16, no or auto")
    if asked != "auto":
        return asked
    if not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def peak_memory() -> int:
    """Return the bytes that the GPU, or without one the process, has held at most; 0 where unknown."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    if sys.platform == "win32":
        return 0
    status = Path("/proc/self/status")
    if status.is_file():
        # What getrusage tells begins with the peak of the process that started this one.
        peak = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), None)
        if peak is not None:
            return int(peak.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def check_share(rows: IntArray, batch_size: int, processes: int) -> None:
    """Refuse batches of which a process would have no item.

    Raises:
        InvalidInputError: when the smallest batch has fewer items than there are processes.
    """
    smallest = min(map(len, even_batches(rows, batch_size)))
    if smallest < processes:
        raise InvalidInputError(
            f"{processes} processes share batches of {smallest} of {len(rows)} items: use fewer processes, "
            "or a larger --batch-size"
        )


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
