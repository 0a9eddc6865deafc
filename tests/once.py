"""Material that is dear to make and only read: made once in a run, by whichever worker needs it first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` has filled; the same one in all workers, so nobody may write to it.

    Args:
        factory: of temporary folders.
        name: of the folder, one for each kind of material.
        make: fills the empty folder that it is given; paths of its content stay as they are.
    """
    root = factory.getbasetemp()
    if fcntl is not None and "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, whole = root / "once" / name, root / "once" / f"{name}.made"
    folder.parent.mkdir(exist_ok=True)
    with _alone(root / "once" / f"{name}.lock"):
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            whole.touch()
    return folder


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process at a time run the block; the others wait."""
    with path.open("w") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
