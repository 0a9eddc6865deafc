"""Items to batches: decoded and preprocessed once where they fit in memory or on the disk."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from expertise_graph.core import IntArray
from expertise_graph.data import Item
from expertise_graph.training.disk_cache import Batch, Spool

CACHE_BYTES = 512 * 2**20
CHUNK = 32


class Inputs:
    """All items of a dataset, as batches in any order.

    Inputs of one fixed shape (images) are kept as one block of tensors when they take at most
    `cache_bytes`, and on the disk where there is room for more. Inputs of differing shape (texts) are
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
        self._spool: Spool | None = None
        singles = [self._read([i]) for i in range(min(len(items), 8))]
        if _alike(singles):
            if len(items) * sum(tensor.nbytes for tensor in singles[0].values()) <= cache_bytes:
                self._block = self._read_block(singles)
            else:
                with contextlib.suppress(OSError):
                    self._spool = Spool(len(items), singles[0])

    @property
    def cached(self) -> bool:
        """Whether all batches come from memory."""
        return self._block is not None

    def batch(self, indices: IntArray) -> Batch:
        """Return the items at `indices` as one batch."""
        if self._block is not None:
            rows = torch.from_numpy(np.asarray(indices, dtype=np.int64))
            return {name: block[rows] for name, block in self._block.items()}
        return self._read(indices) if self._spool is None else self._spooled(self._spool, indices)

    @property
    def spooled(self) -> bool:
        """Whether items come from the disk once they were read."""
        return self._spool is not None

    def _spooled(self, spool: Spool, indices: IntArray) -> Batch:
        rows = np.asarray(indices, dtype=np.int64)
        missing = spool.missing(rows)
        try:
            if len(missing):
                batch = self._read(missing)
                if not spool.fits(batch):
                    raise OSError("items differ in shape")
                spool.write(missing, batch)
            return spool.read(rows)
        except OSError:
            self._spool = None
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


def even_batches(indices: IntArray, size: int) -> Iterator[IntArray]:
    """Yield `indices` in their order as batches of at most `size` whose sizes differ by one at most.

    Even sizes spare batch normalisation a last batch of a single item.
    """
    yield from np.array_split(indices, max(1, -(-len(indices) // size)))


def training_order(indices: IntArray, *, seed: int, epoch: int) -> IntArray:
    """Return `indices` in the order of one epoch, a function of seed and epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(indices)
