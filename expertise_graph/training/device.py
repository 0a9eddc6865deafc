"""The machine that a training runs on: random numbers, precision, memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from expertise_graph.core import InvalidInputError, setting

if sys.platform != "win32":
    import resource


@contextmanager
def private_rng(*keys: int) -> Iterator[None]:
    """Seed torch by `keys` inside the block, and leave the caller's random state as it was."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(np.random.SeedSequence(list(keys)).generate_state(1, np.uint64)[0] >> 1))
        yield


def mixed_precision(precision: str) -> str:
    """Return the name of the mixed precision: auto is bf16 or fp16 on a GPU, no elsewhere.

    Raises:
        InvalidInputError: for fp16 without a GPU.
    """
    if precision == "fp16" and not torch.cuda.is_available():
        raise InvalidInputError(
            f"{setting('precision', 'fp16')} needs a GPU, and there is none: give bf16, no or auto"
        )
    if precision != "auto":
        return precision
    if not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def peak_memory() -> int:
    """Return the peak memory of the GPU, or without one of the process, in bytes; 0 where unknown."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    if sys.platform == "win32":
        return 0
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage begins with the peak of the process that started this one, VmHWM does not.
        peak = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), None)
        if peak is not None:
            return int(peak.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
