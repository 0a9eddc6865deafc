"""What was done: training runs, the items they learnt from, how long experts took, the audit log."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from expertise_graph.core import BoolArray, Expert, Run, item_keys
from expertise_graph.store.base import AS_ADDED, StoreBase
from expertise_graph.store.rows import now, readable, software, tell, to_row

Split = tuple[str, int]
"""Task and seed: what is held out of a dataset depends on nothing else."""

_ADD_TIMING = """
    INSERT INTO timings (weights_sha, preprocessing_sha, machine, items, seconds, created_at)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (weights_sha, preprocessing_sha, machine)
    DO UPDATE SET items = items + excluded.items, seconds = seconds + excluded.seconds"""
_TIMINGS_OF_EXPERTS = """
    SELECT DISTINCT t.weights_sha, t.preprocessing_sha, e.modality, e.architecture, e.params,
    t.items, t.seconds, t.machine
    FROM timings AS t JOIN experts AS e
    ON e.weights_sha = t.weights_sha AND e.preprocessing_sha = t.preprocessing_sha
    WHERE :machine IS NULL OR t.machine = :machine ORDER BY t.weights_sha, t.preprocessing_sha"""


# In the table of states, before the key of a machine.
_SPEED = "speed:"


class Timing(NamedTuple):
    """How long an expert took for how many items, all its runs on a machine together."""

    weights_sha: str
    preprocessing_sha: str
    modality: str
    architecture: str
    params: int
    items: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Event:
    """A line of the audit log."""

    id: int
    at: str
    kind: str
    subject: str
    detail: Mapping[str, Any]


class RunStore(StoreBase):
    """The part of the store that holds what was done.

    Attributes:
        timings_added: how many runs of experts were timed by way of this object.
    """

    timings_added = 0

    # Training runs

    def put_run(self, run: Run) -> None:
        """Add a run or replace what is known about it."""
        with self.transaction():
            self._upsert("runs", to_row(run))
            self._log("run", run.id, {"status": run.status})

    def run(self, run_id: str) -> Run | None:
        """Return the run with exactly this id, or None."""
        return next(iter(self._select(Run, "runs", {"id = ?": run_id}, "id")), None)

    def runs(
        self,
        *,
        task: str | None = None,
        expert: str | None = None,
        child: str | None = None,
        path: str | None = None,
        status: str | None = None,
    ) -> list[Run]:
        """Return the runs that meet all conditions given, oldest first.

        Args:
            task: id of what was trained on.
            expert: id of what it started from.
            child: id of the expert that came out.
            path: the output folder.
            status: running, done, failed or interrupted.
        """
        where = {
            "task = ?": task,
            "expert = ?": expert,
            "child = ?": child,
            "path = ?": path,
            "status = ?": status,
        }
        return self._select(Run, "runs", where, AS_ADDED)

    # Items that runs learnt from

    def put_seen(self, task: str, seed: int, digests: Sequence[str]) -> None:
        """Keep the items that runs on a task with this seed learn from; a second call replaces the first.

        Args:
            task: id of the task.
            seed: of the split.
            digests: SHA-256 of each item's content; the first 64 bits of each are kept.
        """
        known = np.unique(item_keys(digests))
        row = {"task": task, "seed": seed, "n": len(known), "items": known.tobytes(), "created_at": now()}
        with self.transaction():
            self._insert("seen", [row], "OR REPLACE")

    def seen(self, digests: Sequence[str]) -> dict[Split, BoolArray]:
        """Return which of these items runs have learnt from: (n,) bool by task and seed, if any."""
        by_split, wanted = {}, item_keys(digests)
        for task, seed, items in self.db.execute("SELECT task, seed, items FROM seen ORDER BY task, seed"):
            if not isinstance(items, bytes) or len(items) % 8:
                tell(f"the items that runs on {task} have learnt from are damaged; run them again")
                continue
            known = np.isin(wanted, np.frombuffer(items, dtype="<u8"))
            if known.any():
                by_split[task, int(seed)] = known
        return by_split

    # Times; the key is what features are cached under

    def add_timing(self, expert: Expert, machine: str, *, items: int, seconds: float) -> None:
        """Add a run of an expert on `items` inputs to those on the same machine."""
        key = (expert.weights_sha, expert.preprocessing_sha, machine)
        with self._keeping() as kept:
            if kept:
                self.db.execute(_ADD_TIMING, [*key, items, seconds, now()])
        self.timings_added += 1

    def timings(self, machine: str) -> list[Timing]:
        """Return what the registered experts took on a machine, of those that were run on it."""
        return [Timing(*row[:-1]) for row in self.db.execute(_TIMINGS_OF_EXPERTS, {"machine": machine})]

    def timings_everywhere(self) -> dict[str, list[Timing]]:
        """Return the same of every machine, by machine."""
        found: dict[str, list[Timing]] = {}
        for row in self.db.execute(_TIMINGS_OF_EXPERTS, {"machine": None}):
            found.setdefault(row[-1], []).append(Timing(*row[:-1]))
        return found

    def put_latency(self, expert: Expert, machine: str, milliseconds: float) -> None:
        """Keep how long a single input takes an expert; a new measurement replaces the old one."""
        row = {
            "weights_sha": expert.weights_sha,
            "preprocessing_sha": expert.preprocessing_sha,
            "machine": machine,
            "milliseconds": milliseconds,
            "created_at": now(),
        }
        with self._keeping() as kept:
            self._insert("latencies", [row] if kept else [], "OR REPLACE")

    def latency(self, expert: Expert, machine: str) -> float | None:
        """Return the milliseconds that a single input takes an expert, where that was measured."""
        row = self.db.execute(
            "SELECT milliseconds FROM latencies "
            "WHERE weights_sha = ? AND preprocessing_sha = ? AND machine = ?",
            [expert.weights_sha, expert.preprocessing_sha, machine],
        ).fetchone()
        return None if row is None else float(row[0])

    def put_speed(self, machine: str, values: Mapping[str, float]) -> None:
        """Keep how fast a machine computes."""
        row = {"name": _SPEED + machine, "value": json.dumps(dict(values), sort_keys=True)}
        with self._keeping() as kept:
            self._insert("state", [row] if kept else [], "OR REPLACE")

    def speed(self, machine: str) -> dict[str, float] | None:
        """Return how fast a machine computes, where that was measured; a damaged record counts as none."""
        row = self.db.execute("SELECT value FROM state WHERE name = ?", [_SPEED + machine]).fetchone()
        try:
            values = json.loads(row[0]) if row else None
            return {str(name): float(value) for name, value in values.items()} if values else None
        except (ValueError, TypeError, AttributeError):
            return None

    # Failures

    def put_failure(self, expert: str, task: str, reason: str) -> None:
        """Keep, by their ids, that an expert cannot be run on a task, and why."""
        row = {"task": task, "expert": expert, "reason": reason, "software": software(), "created_at": now()}
        with self._keeping() as kept:
            if kept and expert in self._there([expert]):
                self._insert("failures", [row], "OR REPLACE")

    def failures(self, task: str) -> dict[str, str]:
        """Return why experts could not be run on a task, by id of the expert.

        What failed with other versions of the libraries that run experts may work with these.
        """
        rows = self.db.execute(
            "SELECT expert, reason FROM failures WHERE task = ? AND software = ? ORDER BY expert",
            [task, software()],
        )
        return dict(rows.fetchall())

    def forget_failures(self, expert: str) -> None:
        """Let an expert be run again on every task, as after it was registered anew."""
        with self.transaction():
            self.db.execute("DELETE FROM failures WHERE expert = ?", [expert])

    # Audit log

    def note_import(self, file: str, detail: dict[str, Any]) -> None:
        """Write to the audit log what was imported from a file."""
        with self.transaction():
            self._log("import", file, detail)

    def registered_before(self, expert: str, run: str) -> bool:
        """Tell by the audit log whether an expert was registered, and not removed since, before a run began.

        Times would not do: clocks are set back.
        """
        first = (
            "coalesce((SELECT min(id) FROM events WHERE kind = ? AND subject = ? AND id > coalesce("
            "(SELECT max(id) FROM events WHERE kind = ? AND subject = ?), 0)), 0)"
        )
        ends = ["expert", expert, "rm", expert, "run", run, "runs rm", run]
        return bool(self.db.execute(f"SELECT {first} < {first}", ends).fetchone()[0])

    def events(self) -> list[dict[str, Any]]:
        """Return the audit log, oldest first."""
        rows = self.db.query("SELECT * FROM events ORDER BY id")
        return [dataclasses.asdict(event) for event in readable(Event, rows)]
