"""Relations of nodes: edges, scores, and distances of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from expertise_graph.core import SELF_REPORTED, Edge, Score, TaskDistance
from expertise_graph.store.base import StoreBase, among, clause, json_list
from expertise_graph.store.rows import to_row

# The same measurement under two ids of one expert; only what was imported is compared.
_SAME_RESULT = """
    DELETE FROM edges WHERE id IN (
        SELECT later.id FROM edges AS later JOIN edges AS first
        ON first.source = later.source AND first.kind = later.kind AND first.target = later.target
        AND first.id < later.id AND first.weight = later.weight AND first.metric IS later.metric
        AND first.method = later.method AND first.seed IS later.seed AND first.n IS later.n
        AND first.seconds IS later.seconds AND first.run IS NULL AND first.meta = later.meta
        WHERE later.source = ? AND later.kind = 'transfer' AND later.run IS NULL)"""

# Edges with a node at either end, each end looked up by its own index.
AT_NODE = """id IN (WITH given (node) AS (VALUES (?))
    SELECT id FROM edges JOIN given ON source = node
    UNION SELECT id FROM edges JOIN given ON target = node)"""

# Conditions on measured results; the origin is what `history ls` shows as such.
_OF_RESULTS = {
    "source": "source = ?",
    "target": "target = ?",
    "metric": "metric = ?",
    "method": "method = ?",
    "origin": "COALESCE(CASE WHEN json_valid(meta) THEN json_extract(meta, '$.origin') END, run) = ?",
}


class RelationStore(StoreBase):
    """The part of the store that holds what relates nodes."""

    def put_edges(self, edges: Iterable[Edge]) -> None:
        """Add edges."""
        with self.transaction():
            self._insert("edges", [to_row(edge) for edge in edges])

    def edges(
        self,
        kind: str | None = None,
        node: str | None = None,
        *,
        source: str | None = None,
        target: str | None = None,
        run: str | None = None,
        imported: bool | None = None,
    ) -> list[Edge]:
        """Return the edges that meet all conditions given, in the order they came in.

        Args:
            kind: similarity, lineage, transfer, suspected or unset.
            node: at either end.
            source: where they begin.
            target: where they end.
            run: that left them.
            imported: only those that no run (True), or that a run (False) left.
        """
        where = {
            "kind = ?": kind,
            AT_NODE: node,
            "source = ?": source,
            "target = ?": target,
            "run = ?": run,
            "(run IS NULL) = ?": imported,
        }
        return self._select(Edge, "edges", where, "id")

    def drop_edges(self, kind: str, probe_set: str, nodes: Iterable[str]) -> None:
        """Delete the edges of one kind on one probe set that touch any of the nodes."""
        with self.transaction():
            self.db.conn.executemany(
                f"DELETE FROM edges WHERE {AT_NODE} AND kind = ? AND probe_set = ?",
                [(node, kind, probe_set) for node in nodes],
            )

    def drop_run_edges(self, run: str) -> None:
        """Delete the edges that a run left, so that recording it again leaves them once."""
        with self.transaction():
            self.db.execute("DELETE FROM edges WHERE run = ?", [run])

    def replace_claims(self, expert: str, edges: Iterable[Edge]) -> None:
        """Put results that the card of an expert claims in the place of those that it claimed before.

        Nothing changes where they are the same; claims that leaderboards list stay.
        """
        given = list(edges)
        with self.transaction():
            before = [
                edge
                for edge in self.edges("transfer", source=expert)
                if edge.is_claim and "board" not in edge.meta
            ]
            if [replace(edge, created_at="") for edge in before] == given:
                return
            self.db.execute(
                "DELETE FROM edges WHERE kind = 'transfer' AND source = ? AND method = ? "
                "AND json_extract(meta, '$.board') IS NULL",
                [expert, SELF_REPORTED],
            )
            self.put_edges(given)

    # Results that are taken back

    def results(self, where: Mapping[str, str]) -> list[Edge]:
        """Return the measured results that meet all conditions, in the order they came in.

        Args:
            where: value by name of source, target, metric, method, and origin: the file that a result was
                imported from, or the run that left it.
        """
        return self._select(Edge, "edges", _of_results(where), "id")

    def remove_results(self, where: Mapping[str, str], experts: Iterable[str], tasks: Iterable[str]) -> None:
        """Delete the measured results that meet all conditions, see `results`, and some nodes."""
        which, values = clause(_of_results(where))
        with self.transaction():
            self.db.execute(f"DELETE FROM edges {which}", values)
            for table, ids in (("experts", experts), ("tasks", tasks)):
                self.db.execute(f"DELETE FROM {table} WHERE {among('id')}", [json_list(ids)])
            self._log("history rm", " ".join(where.values()), dict(where))

    def move_history(self, old: str, new: str) -> None:
        """Give the edges, scores and covariates of one expert to another, and delete the first.

        Where both have a value, that of `new` stays.
        """
        with self.transaction():
            for column in ("source", "target"):
                self.db.execute(f"UPDATE edges SET {column} = ? WHERE {column} = ?", [new, old])
            for table in ("scores", "covariates"):
                self.db.execute(f"UPDATE OR IGNORE {table} SET expert = ? WHERE expert = ?", [new, old])
            self.db.execute(_SAME_RESULT, [new])
            self.db.execute("DELETE FROM experts WHERE id = ?", [old])

    # Scores and distances

    def put_scores(self, scores: Iterable[Score]) -> None:
        """Add scores; one computed again replaces the old value.

        Those of an expert that another process has removed meanwhile are left out.
        """
        with self._keeping() as kept:
            rows = [to_row(s) for s in scores] if kept else []
            there = self._there(row["expert"] for row in rows)
            self._insert("scores", [row for row in rows if row["expert"] in there], "OR REPLACE")

    def scores(
        self, task: str | None = None, *, expert: str | None = None, version: str | None = None
    ) -> list[Score]:
        """Return the scores on a task, of an expert, of a version of the estimators: all if none is given."""
        where = {"task = ?": task, "expert = ?": expert, "version = ?": version}
        return self._select(Score, "scores", where, "expert, task, estimator, version, n, seed")

    def put_distances(self, distances: Iterable[TaskDistance]) -> None:
        """Add distances between tasks; one given again replaces the old value."""
        with self.transaction():
            self._insert("distances", [to_row(d) for d in distances], "OR REPLACE")

    def distances(self, method: str | None = None) -> list[TaskDistance]:
        """Return the distances between tasks, of one method if given, each in its direction."""
        return self._select(TaskDistance, "distances", {"method = ?": method}, "method, task, other")

    def task_counts(self) -> dict[str, tuple[int, int]]:
        """Return how many transfer edges and how many scores there are, by task."""
        edges = "SELECT target, COUNT(*) FROM edges WHERE kind = 'transfer' GROUP BY target"
        results = dict(self.db.execute(edges).fetchall())
        scores = dict(self.db.execute("SELECT task, COUNT(*) FROM scores GROUP BY task").fetchall())
        return {task: (results.get(task, 0), scores.get(task, 0)) for task in {*results, *scores}}


def _of_results(where: Mapping[str, str]) -> dict[str, Any]:
    return {"kind = ?": "transfer", **{_OF_RESULTS[name]: value for name, value in where.items()}}
