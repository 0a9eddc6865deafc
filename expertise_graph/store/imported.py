"""What users bring along: nodes known by name only, covariates of experts, distances of tasks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from expertise_graph.core import METADATA, Expert, InvalidInputError, Task, TaskDistance
from expertise_graph.store.base import StoreBase
from expertise_graph.store.rows import from_row, now, to_row

# The same measurement under two ids of one expert; only what was imported is compared.
_SAME_RESULT = """
    DELETE FROM edges WHERE id IN (
        SELECT later.id FROM edges AS later JOIN edges AS first
        ON first.source = later.source AND first.kind = later.kind AND first.target = later.target
        AND first.id < later.id AND first.weight = later.weight AND first.metric IS later.metric
        AND first.method = later.method AND first.seed IS later.seed AND first.n IS later.n
        AND first.seconds IS later.seconds AND first.run IS NULL AND first.meta = later.meta
        WHERE later.source = ? AND later.kind = 'transfer' AND later.run IS NULL)"""


class ImportedStore(StoreBase):
    """The part of the store that holds what was imported."""

    def add_nodes(self, experts: Iterable[Expert] = (), tasks: Iterable[Task] = ()) -> None:
        """Add, all at one time, the experts and tasks that are not there yet."""
        together = now()
        with self.transaction():
            self._insert("experts", [to_row(e, together) for e in experts], "OR IGNORE")
            self._insert("tasks", [to_row(t, together) for t in tasks], "OR IGNORE")

    def put_covariates(self, expert_id: str, values: Mapping[str, str | float], origin: str) -> None:
        """Add what is known about an expert by name; a name that is there gets the new value.

        Raises:
            InvalidInputError: for a number that is not finite.
        """
        for name, value in values.items():
            if not isinstance(value, str) and not math.isfinite(value):
                raise InvalidInputError(f"covariate {name!r} of {expert_id} is {value}; leave it out instead")
        rows = [
            {
                "expert": expert_id,
                "name": name,
                "value": json.dumps(value if isinstance(value, str) else float(value)),
                "origin": origin,
                "created_at": now(),
            }
            for name, value in values.items()
        ]
        with self.transaction():
            self._insert("covariates", rows, "OR REPLACE")

    def covariates(self) -> dict[str, dict[str, str | float]]:
        """Return the covariates of every expert that has any, by expert and name."""
        found: dict[str, dict[str, str | float]] = {}
        for expert, name, value in self.db.conn.execute(
            "SELECT expert, name, value FROM covariates ORDER BY expert, name"
        ):
            found.setdefault(expert, {})[name] = json.loads(value)
        return found

    def put_distances(self, distances: Iterable[TaskDistance]) -> None:
        """Add distances between tasks; one given again replaces the old value."""
        with self.transaction():
            self._insert("distances", [to_row(d) for d in distances], "OR REPLACE")

    def distances(self) -> list[TaskDistance]:
        """Return all distances between tasks, each in the direction it was given in."""
        rows = self.db.query("SELECT * FROM distances ORDER BY method, task, other")
        return [from_row(TaskDistance, row) for row in rows]

    def task_counts(self) -> dict[str, tuple[int, int]]:
        """Return how many transfer edges and how many scores there are, by task."""
        edges = "SELECT target, COUNT(*) FROM edges WHERE kind = 'transfer' GROUP BY target"
        results = dict(self.db.conn.execute(edges).fetchall())
        scores = dict(self.db.conn.execute("SELECT task, COUNT(*) FROM scores GROUP BY task").fetchall())
        return {task: (results.get(task, 0), scores.get(task, 0)) for task in {*results, *scores}}

    def metadata_only(self, names: Iterable[str]) -> list[str]:
        """Return the ids of the metadata-only experts that have one of the names."""
        wanted = set(names)
        rows = self.db.conn.execute("SELECT id, name FROM experts WHERE source = ?", [METADATA])
        return [expert_id for expert_id, name in rows if name in wanted]

    def move_history(self, old: str, new: str) -> None:
        """Give the edges, scores and covariates of one expert to another, and delete the first.

        Where both have a value, that of `new` stays.
        """
        with self.transaction():
            for column in ("source", "target"):
                self.db.conn.execute(f"UPDATE edges SET {column} = ? WHERE {column} = ?", [new, old])
            for table in ("scores", "covariates"):
                self.db.conn.execute(f"UPDATE OR IGNORE {table} SET expert = ? WHERE expert = ?", [new, old])
            self.db.conn.execute(_SAME_RESULT, [new])
            self.db.conn.execute("DELETE FROM experts WHERE id = ?", [old])
            self._log("move", new, {"from": old})

    def note_import(self, name: str, detail: Mapping[str, Any]) -> None:
        """Enter into the audit log that a file was imported."""
        with self.transaction():
            self._log("import", name, detail)
