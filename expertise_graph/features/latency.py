"""How long one input takes an expert on this machine, measured once and kept in the registry."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from expertise_graph.core import (
    Expert,
    ExpertiseError,
    InvalidInputError,
    MissingExtraError,
    NotFoundError,
    SourceError,
    UntrustedError,
    first_line,
)
from expertise_graph.data import Inputs, Item, known_modalities, plural_of
from expertise_graph.models import Backbone, load
from expertise_graph.store import Store

REPEATS = 9
_LEAST_REPEATS = 5
_WARM_UPS = 2


@dataclass
class Meter:
    """Latency of experts as a function; remembers why it has none of some.

    Attributes:
        probes: a probe set of the experts' modality; one input of it is run.
        unusable: a line for each expert that could not be run, by id.
    """

    store: Store
    probes: Inputs
    trust_code: bool = False
    repeats: int = REPEATS
    unusable: dict[str, str] = field(default_factory=dict)

    def __call__(self, expert: Expert) -> float | None:
        """Return the milliseconds for one input, or None for an expert that cannot be run."""
        try:
            return measure(
                self.store, expert, probes=self.probes, trust_code=self.trust_code, repeats=self.repeats
            )
        except (SourceError, UntrustedError, NotFoundError, MissingExtraError) as error:
            self.unusable[expert.id] = f"the latency of {expert.name} was not measured: {error}"
            return None


def measure(
    store: Store, expert: Expert, *, probes: Inputs, trust_code: bool = False, repeats: int = REPEATS
) -> float:
    """Return the milliseconds that one input takes an expert on this machine, a batch of one.

    The median of `repeats` forward passes with the expert's own preprocessing, the opening of the
    file left out, by as many threads as torch is set to. Measured once for the same weights,
    preprocessing and machine.

    Raises:
        InvalidInputError: for fewer than five repeats.
        SourceError, UntrustedError, NotFoundError, MissingExtraError: when the expert cannot be run.
    """
    if repeats < _LEAST_REPEATS:
        raise InvalidInputError(f"repeats is {repeats}; a latency is the median of {_LEAST_REPEATS} or more")
    known = store.latency(expert, machine())
    if known is not None:
        return known
    if not expert.runnable:
        raise SourceError(f"{expert.name} is known from imported metadata only and cannot be run")
    item = known_modalities[probes.modality].decode(typical(probes))
    backbone = load(expert, trust_code=trust_code)
    try:
        milliseconds = _timed(backbone, item, repeats)
    except ExpertiseError:
        raise
    except Exception as error:  # networks of strangers raise anything
        raise SourceError(
            f"{expert.name} cannot be run on {plural_of(probes.modality)}: {first_line(error)}"
        ) from error
    store.put_latency(expert, machine(), milliseconds)
    return milliseconds


def typical(probes: Inputs) -> Item:
    """Return the text of median length, or the first of other inputs, which models bring to one size."""
    texts = [item for item in probes.items if isinstance(item, str)]
    return sorted(texts, key=lambda text: (len(text), text))[len(texts) // 2] if texts else probes.items[0]


def machine() -> str:
    """Return what stands for this machine: processor, cores, threads in use, torch and device."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    parts = (_processor(), str(cores), str(torch.get_num_threads()), str(torch.__version__), device)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@functools.cache
def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _timed(backbone: Backbone, item: Any, repeats: int) -> float:
    """Return the median milliseconds from a decoded item to its features in main memory."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module = backbone.module.to(device).eval()
    taken = []
    with torch.inference_mode():
        for _ in range(_WARM_UPS + repeats):
            start = time.perf_counter()
            batch = {name: tensor.to(device) for name, tensor in backbone.collate([item]).items()}
            module(**batch).float().cpu()
            taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken[_WARM_UPS:])
