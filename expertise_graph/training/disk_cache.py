"""Preprocessed items on disk: each is written when it is first read, and read back from then on."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from expertise_graph.core import IntArray

Batch = dict[str, torch.Tensor]

ROOM = 2
"""So many times its size has to be free on the disk."""


class Spool:
    """Items of one shape in a file without a name, which goes with the process.

    Args:
        n: how many items there are.
        like: a batch of one item.

    Raises:
        OSError: when there is no room.
    """

    def __init__(self, n: int, like: Mapping[str, torch.Tensor]) -> None:
        self._like = {name: (tuple(t.shape[1:]), t.dtype, t.nbytes) for name, t in like.items()}
        self._size = sum(nbytes for _, _, nbytes in self._like.values())
        folder = _folder()
        if shutil.disk_usage(folder).free < ROOM * n * self._size:
            raise OSError(f"{folder} has no room for {n} preprocessed items")
        self._file = tempfile.TemporaryFile(  # noqa: SIM115
            buffering=0, prefix="expertise-graph-", dir=folder
        )
        weakref.finalize(self, self._file.close)
        self._there = np.zeros(n, dtype=bool)

    def missing(self, rows: IntArray) -> IntArray:
        """Return those of the rows that were not written yet, each once."""
        return np.unique(rows[~self._there[rows]])

    def fits(self, batch: Mapping[str, torch.Tensor]) -> bool:
        """Tell whether the items of a batch have the shape and type of the first one."""
        return {name: (tuple(t.shape[1:]), t.dtype) for name, t in batch.items()} == {
            name: (shape, dtype) for name, (shape, dtype, _) in self._like.items()
        }

    def write(self, rows: IntArray, batch: Mapping[str, torch.Tensor]) -> None:
        """Write a batch that fits, an item a row.

        Raises:
            OSError: when the disk is full.
        """
        for place, row in enumerate(rows):
            parts = (batch[name][place].contiguous().view(-1).view(torch.uint8) for name in self._like)
            self._file.seek(int(row) * self._size)
            if self._file.write(b"".join(part.numpy().tobytes() for part in parts)) != self._size:
                raise OSError("the disk is full")
        self._there[rows] = True

    def read(self, rows: IntArray) -> Batch:
        """Return rows that were written."""
        block = np.empty((len(rows), self._size), dtype=np.uint8)
        for place, row in enumerate(rows):
            self._file.seek(int(row) * self._size)
            if self._file.readinto(memoryview(block[place])) != self._size:
                raise OSError("the file was cut short")
        found, start = {}, 0
        for name, (shape, dtype, nbytes) in self._like.items():
            part = torch.from_numpy(np.ascontiguousarray(block[:, start : start + nbytes]))
            found[name] = part.view(dtype).reshape(len(rows), *shape)
            start += nbytes
        return found


def _folder() -> Path:
    """Return where large temporary files belong: /tmp itself is often in memory."""
    if "TMPDIR" not in os.environ and os.access("/var/tmp", os.W_OK):
        return Path("/var/tmp")
    return Path(tempfile.gettempdir())
