"""Which machine this is, and roughly how fast, without loading what trains."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from expertise_graph.core import sha256_of_texts
from expertise_graph.features.demand import Speed

# Variables that set how many threads compute.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
# Rows, columns and inner size of the product that is timed: a layer of a small transformer.
_PRODUCT = (512, 1536, 384)
# Seconds that a measurement takes, and repetitions at least. The quickest counts: others share the machine.
_SECONDS, _LEAST = 0.03, 3
# Where only numpy was timed: convolutions run as fast as products, other bytes at .6 a multiply-add, and
# operations as on the machine of benchmarks/fits.
_BYTES_A_PRODUCT, _KERNEL = 0.6, 6e-6


@functools.cache
def processor() -> str:
    """Return what the processor is called."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def speed_key() -> str:
    """Return what the speed of this machine is kept by: processor, cores, threads, version of torch."""
    threads = (os.environ.get(name, "") for name in _THREADS)
    return sha256_of_texts((processor(), str(cores()), *threads, version("torch")))[:16]


@functools.cache
def rough_speed() -> Speed:
    """Return how fast this machine is likely to train, from one product of numpy."""
    rows, columns, inner = _PRODUCT
    rng = np.random.default_rng(0)
    left = rng.standard_normal((rows, inner), dtype=np.float32)
    right = rng.standard_normal((inner, columns), dtype=np.float32)
    products = rows * columns * inner / quickest(lambda: left @ right)
    return Speed(
        linear=products,
        convolved=products,
        moved=_BYTES_A_PRODUCT * products,
        kernel=_KERNEL,
        calibrated=False,
    )


def quickest(
    work: Callable[[], object], seconds: float = _SECONDS, *, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the shortest time in seconds that `work` takes, of as many repetitions as fit into `seconds`."""
    work()
    times: list[float] = []
    end = clock() + seconds
    while clock() < end or len(times) < _LEAST:
        begin = clock()
        work()
        times.append(clock() - begin)
    return min(times)
