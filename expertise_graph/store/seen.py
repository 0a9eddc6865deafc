"""Which items experts have learnt from: hashes of their contents, by task and seed of the runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from expertise_graph.core import BoolArray
from expertise_graph.store.base import StoreBase
from expertise_graph.store.rows import now

Split = tuple[str, int]
"""Task and seed: what is held out of a dataset depends on nothing else."""


class SeenStore(StoreBase):
    """The part of the store that knows which items were not held out of a task's runs."""

    def put_seen(self, task: str, seed: int, digests: Sequence[str]) -> None:
        """Keep the items that runs on a task with this seed learn from; a second call replaces the first.

        Args:
            task: id of the task.
            seed: of the split.
            digests: SHA-256 of each item's content; the first 64 bits of each are kept.
        """
        known = np.unique(_numbers(digests))
        row = {"task": task, "seed": seed, "n": len(known), "items": known.tobytes(), "created_at": now()}
        with self.transaction():
            self._insert("seen", [row], "OR REPLACE")

    def seen(self, digests: Sequence[str]) -> dict[Split, BoolArray]:
        """Return which of these items runs have learnt from: (n,) bool by task and seed, if any."""
        found, wanted = {}, _numbers(digests)
        for row in self.db.query("SELECT task, seed, items FROM seen ORDER BY task, seed"):
            known = np.isin(wanted, np.frombuffer(row["items"], dtype="<u8"))
            if known.any():
                found[row["task"], int(row["seed"])] = known
        return found


def _numbers(digests: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.frombuffer(bytes.fromhex("".join(digest[:16] for digest in digests)), dtype="<u8")
