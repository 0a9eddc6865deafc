"""What the benchmarks that train share: the commit they are of, and means with their intervals."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@cache
def commit() -> str:
    """Return the commit of this tree, with "-dirty" where it is changed."""
    described = ["git", "describe", "--always", "--dirty"]
    here = Path(__file__).parent
    return subprocess.run(described, capture_output=True, text=True, check=False, cwd=here).stdout.strip()


def machine() -> str:
    """Return what a record begins with: commit, machine, cores, versions of Python and torch."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"commit {commit()}, {platform.machine()}, {cores} cores, Python {platform.python_version()}, "
        f"torch {version('torch')}"
    )


def interval(values: NDArray[np.float64], sign: str = "+", draws: int = 2000) -> str:
    """Return mean and 95 % interval of values (tasks, seeds): tasks and then seeds are drawn again."""
    rng = np.random.default_rng(0)
    tasks, seeds = values.shape
    drawn = [
        np.mean([values[t, rng.integers(seeds, size=seeds)] for t in rng.integers(tasks, size=(tasks,))])
        for _ in range(draws)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{values.mean():{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"
