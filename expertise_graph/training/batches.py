"""Batches of a dataset: preprocessed items cached in memory or on disk, their order in each epoch."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from expertise_graph.core import DatasetError, IntArray
from expertise_graph.data import Item, LabelledData, Splits, holdout
from expertise_graph.models import Batch

CACHE_BYTES = 512 * 2**20
"""Preprocessed items are kept in memory up to this size: 850 images of 224 pixels.

More goes to a file instead of competing with the model for memory: 300 photographs take .35 s an epoch from
the file, .39 from memory and 14 decoded again.
"""
CHUNK = 32
"""Items that are decoded together when the cache is filled; larger chunks only hold more memory at once."""
FREE_SPACE = 2
"""Free disk space that the disk cache needs, in multiples of its size, so that checkpoints still fit."""
SAMPLED = 8
"""Items whose shapes decide whether the dataset has one fixed shape; the others are checked as they come."""


class BatchLoader:
    """Loads the items of a dataset as batches in any order.

    Inputs of one fixed shape (images) are kept as one block of tensors when they take at most
    `cache_bytes`, else in a `DiskCache` where the disk has the space. Inputs of differing shape (texts) are
    collated batch by batch, so that each batch is padded to its own longest item only.
    """

    def __init__(
        self,
        items: Sequence[Item],
        *,
        decode: Callable[[Item], Any],
        collate: Callable[[Sequence[Any]], Batch],
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._items = items
        self._decode = decode
        self._collate = collate
        self._block: Batch | None = None
        self._disk: DiskCache | None = None
        singles = [self._read([i]) for i in range(min(len(items), SAMPLED))]
        if _alike(singles):
            if len(items) * sum(tensor.nbytes for tensor in singles[0].values()) <= cache_bytes:
                self._block = self._read_block(singles)
            else:
                with contextlib.suppress(OSError):
                    self._disk = DiskCache(len(items), singles[0])

    @property
    def cached(self) -> bool:
        """Whether all batches come from memory."""
        return self._block is not None

    def batch(self, indices: IntArray) -> Batch:
        """Return the items at `indices` as one batch."""
        if self._block is not None:
            rows = torch.from_numpy(np.asarray(indices, dtype=np.int64))
            return {name: block[rows] for name, block in self._block.items()}
        return self._read(indices) if self._disk is None else self._from_disk(self._disk, indices)

    @property
    def cached_on_disk(self) -> bool:
        """Whether items are read back from the disk once they were preprocessed."""
        return self._disk is not None

    def _from_disk(self, disk: DiskCache, indices: IntArray) -> Batch:
        rows = np.asarray(indices, dtype=np.int64)
        missing = disk.missing(rows)
        try:
            if len(missing):
                batch = self._read(missing)
                if not disk.fits(batch):
                    raise OSError("items differ in shape")
                disk.write(missing, batch)
            return disk.read(rows)
        except OSError:
            self._disk = None
            return self._read(indices)

    def _read(self, indices: Sequence[int] | IntArray) -> Batch:
        return self._collate([self._decode(self._items[int(i)]) for i in indices])

    def _read_block(self, singles: Sequence[Batch]) -> Batch | None:
        """Return all items, of which the first are read, as one block, or None when shapes differ."""
        n = len(self._items)
        chunks = list(singles)
        for start in range(len(singles), n, CHUNK):
            chunks.append(self._read(range(start, min(start + CHUNK, n))))
            if not _alike([singles[0], chunks[-1]]):
                return None
        return {name: torch.cat([chunk[name] for chunk in chunks]) for name in singles[0]}


def _alike(batches: Sequence[Batch]) -> bool:
    shapes = [{name: (t.shape[1:], t.dtype) for name, t in batch.items()} for batch in batches]
    return all(shape == shapes[0] for shape in shapes)


class DiskCache:
    """Preprocessed items of one shape in a nameless file that disappears with the process.

    Each item is written when it is first read, and read back from then on.

    Args:
        n: how many items there are.
        like: a batch of one item.

    Raises:
        OSError: when the disk has too little free space.
    """

    def __init__(self, n: int, like: Mapping[str, torch.Tensor]) -> None:
        self._like = {name: (tuple(t.shape[1:]), t.dtype, t.nbytes) for name, t in like.items()}
        self._size = sum(nbytes for _, _, nbytes in self._like.values())
        folder = _folder()
        if shutil.disk_usage(folder).free < FREE_SPACE * n * self._size:
            raise OSError(f"{folder} has too little free space for {n} preprocessed items")
        self._file = tempfile.TemporaryFile(  # noqa: SIM115
            buffering=0, prefix="expertise-graph-", dir=folder
        )
        weakref.finalize(self, self._file.close)
        self._written = np.zeros(n, dtype=bool)

    def missing(self, rows: IntArray) -> IntArray:
        """Return those of the rows that were not written yet, each once."""
        return np.unique(rows[~self._written[rows]])

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
        for position, row in enumerate(rows):
            parts = (batch[name][position].contiguous().view(-1).view(torch.uint8) for name in self._like)
            self._file.seek(int(row) * self._size)
            if self._file.write(b"".join(part.numpy().tobytes() for part in parts)) != self._size:
                raise OSError("the disk is full")
        self._written[rows] = True

    def read(self, rows: IntArray) -> Batch:
        """Return rows that were written."""
        block = np.empty((len(rows), self._size), dtype=np.uint8)
        for position, row in enumerate(rows):
            self._file.seek(int(row) * self._size)
            if self._file.readinto(memoryview(block[position])) != self._size:
                raise OSError("the file was cut short")
        batch, start = {}, 0
        for name, (shape, dtype, nbytes) in self._like.items():
            part = torch.from_numpy(np.ascontiguousarray(block[:, start : start + nbytes]))
            batch[name] = part.view(dtype).reshape(len(rows), *shape)
            start += nbytes
        return batch


def _folder() -> Path:
    """Return the folder for large temporary files: /tmp itself is often in memory."""
    if "TMPDIR" not in os.environ and os.access("/var/tmp", os.W_OK):
        return Path("/var/tmp")
    return Path(tempfile.gettempdir())


def even_batches(indices: IntArray, size: int) -> Iterator[IntArray]:
    """Yield `indices` in their order as batches of at most `size` whose sizes differ by one at most.

    Even sizes spare batch normalisation a last batch of a single item.
    """
    yield from np.array_split(indices, max(1, -(-len(indices) // size)))


def training_order(indices: IntArray, *, seed: int, epoch: int) -> IntArray:
    """Return `indices` in the order of one epoch, a function of seed and epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(indices)


def training_splits(data: LabelledData, seed: int) -> Splits:
    """Return the train, validation and test splits that a training with this seed has.

    Raises:
        DatasetError: when one of them is empty, or one class is left to train on.
    """
    splits = holdout(data, seed=seed)
    for name in ("train", "validation", "test"):
        if len(getattr(splits, name)) == 0:
            raise DatasetError(
                f"{data.name} has {len(data)} items, which leaves none for the {name} split: "
                "give at least three items of a class"
            )
    if len(np.unique(data.labels[splits.train])) < 2:
        raise DatasetError(f"{data.name} leaves one class to train on: add items of another class")
    return splits
