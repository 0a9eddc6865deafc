"""How long experts took on which machine: per item, and for a single input."""

from __future__ import annotations

from typing import NamedTuple

from expertise_graph.core import Expert
from expertise_graph.store.base import StoreBase
from expertise_graph.store.rows import now

_ADD = """
    INSERT INTO timings (weights_sha, preprocessing_sha, machine, items, seconds, created_at)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (weights_sha, preprocessing_sha, machine)
    DO UPDATE SET items = items + excluded.items, seconds = seconds + excluded.seconds"""
_OF_EXPERTS = """
    SELECT DISTINCT t.weights_sha, t.preprocessing_sha, e.modality, e.architecture, e.params,
    t.items, t.seconds
    FROM timings AS t JOIN experts AS e
    ON e.weights_sha = t.weights_sha AND e.preprocessing_sha = t.preprocessing_sha
    WHERE t.machine = ? ORDER BY t.weights_sha, t.preprocessing_sha"""


class Timing(NamedTuple):
    """How long an expert took for how many items, all its runs on a machine together."""

    weights_sha: str
    preprocessing_sha: str
    modality: str
    architecture: str
    params: int
    items: int
    seconds: float


class TimingStore(StoreBase):
    """The part of the store that holds what was timed; the key is what features are cached under.

    Attributes:
        timings_added: how many runs were added by way of this object.
    """

    timings_added = 0

    def add_timing(self, expert: Expert, machine: str, *, items: int, seconds: float) -> None:
        """Add a run of an expert on `items` inputs to those on the same machine."""
        key = (expert.weights_sha, expert.preprocessing_sha, machine)
        with self.transaction():
            self.db.conn.execute(_ADD, [*key, items, seconds, now()])
        self.timings_added += 1

    def timings(self, machine: str) -> list[Timing]:
        """Return what the registered experts took on a machine, of those that were run on it."""
        return [Timing(*row) for row in self.db.conn.execute(_OF_EXPERTS, [machine])]

    def put_latency(self, expert: Expert, machine: str, milliseconds: float) -> None:
        """Keep how long a single input takes an expert; a new measurement replaces the old one."""
        row = {
            "weights_sha": expert.weights_sha,
            "preprocessing_sha": expert.preprocessing_sha,
            "machine": machine,
            "milliseconds": milliseconds,
            "created_at": now(),
        }
        with self.transaction():
            self._insert("latencies", [row], "OR REPLACE")

    def latency(self, expert: Expert, machine: str) -> float | None:
        """Return the milliseconds that a single input takes an expert, where that was measured."""
        found = self.db.conn.execute(
            "SELECT milliseconds FROM latencies "
            "WHERE weights_sha = ? AND preprocessing_sha = ? AND machine = ?",
            [expert.weights_sha, expert.preprocessing_sha, machine],
        ).fetchone()
        return None if found is None else float(found[0])
