"""Lineage in the registry: who descends from whom, what is claimed or suspected, what the user says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from expertise_graph.core import CARD_METHOD, USER_METHOD, Edge
from expertise_graph.store.base import among, json_list
from expertise_graph.store.exchange import ORIGIN
from expertise_graph.store.relations import AT_NODE, RelationStore
from expertise_graph.store.rows import readable, to_row

# Lineage that more than a claim stands behind: a run, the user, or weights that agree with a card. What other
# people said, whose registry was merged into this one (`ORIGIN`), is a claim.
_OF_OTHERS = f"method = '{USER_METHOD}' AND json_valid(meta) AND json_extract(meta, '$.{ORIGIN}') IS NOT NULL"
_KNOWN = (
    f"(run IS NOT NULL OR (method <> '{CARD_METHOD}' AND NOT ({_OF_OTHERS})) OR "
    "(json_valid(meta) AND json_extract(meta, '$.confirmed') = 1 "
    f"AND json_extract(meta, '$.{ORIGIN}') IS NULL))"
)

# A claim that the weights speak against connects nobody.
_NOT_DENIED = "NOT (run IS NULL AND json_valid(meta) AND json_extract(meta, '$.confirmed') IS 0)"


class LineageStore(RelationStore):
    """The part of the store that holds relations, with what is asked of lineage."""

    def with_ancestors(self, nodes: Iterable[str]) -> set[str]:
        """Return the nodes and all that they descend from by lineage; cycles do no harm.

        What is only claimed on a card is not followed, unless the weights agree with it.
        """
        return self._line(nodes, "target", "source")

    def with_descendants(self, nodes: Iterable[str]) -> set[str]:
        """Return the nodes and all that descends from them by lineage, as `with_ancestors`."""
        return self._line(nodes, "source", "target")

    def _line(self, nodes: Iterable[str], near: str, far: str) -> set[str]:
        rows = self.db.execute(
            "WITH RECURSIVE line (id) AS (SELECT value FROM json_each(?) "
            f"UNION SELECT edges.{far} FROM line JOIN edges ON edges.{near} = line.id AND kind = 'lineage' "
            f"AND {_KNOWN}) SELECT id FROM line",
            [json_list(nodes)],
        )
        return {row[0] for row in rows}

    def kin(self, node: str, most: int) -> set[str]:
        """Return nodes that are connected with one by lineage or suspicion, in whatever direction.

        Claims that the weights speak against connect nothing.

        Args:
            node: is among them.
            most: so many are looked at; of a larger family some are missing.
        """
        found, newest = {node}, {node}
        while newest and len(found) < most:
            near = {end for edge in self.family_edges(newest) for end in (edge.source, edge.target)}
            newest = near - found
            found |= newest
        return found

    def family_edges(self, nodes: Iterable[str] | None = None) -> list[Edge]:
        """Return what connects families: lineage and suspicions, all or those with a node at either end."""
        kinds = "kind IN ('lineage', 'suspected') AND " + _NOT_DENIED
        if nodes is None:
            return list(readable(Edge, self.db.query(f"SELECT * FROM edges WHERE {kinds} ORDER BY id")))
        sql = (
            f"SELECT * FROM edges WHERE id IN (SELECT id FROM edges WHERE {among('source')} AND {kinds} "
            f"UNION SELECT id FROM edges WHERE {among('target')} AND {kinds}) ORDER BY id"
        )
        ends = json_list(nodes)
        return list(readable(Edge, self.db.query(sql, [ends, ends])))

    def lineage(
        self, *, parents: Iterable[str] | None = None, children: Iterable[str] | None = None
    ) -> list[Edge]:
        """Return the lineage edges from any of `parents` to any of `children`, in the order they came in."""
        where = {
            "kind = ?": "lineage",
            among("source"): json_list(parents),
            among("target"): json_list(children),
        }
        return self._select(Edge, "edges", where, "id")

    def results_of(
        self, *, experts: Iterable[str] | None = None, runs: Iterable[str] | None = None
    ) -> list[Edge]:
        """Return the measured results of some experts, or that some runs left, in the order they came in."""
        where = {
            "kind = ?": "transfer",
            among("source"): json_list(experts),
            among("run"): json_list(runs),
        }
        return self._select(Edge, "edges", where, "id")

    def put_claim(self, edge: Edge) -> None:
        """Add a relation of two nodes that no run stands behind, or say it anew where it is there.

        One that says nothing else than before leaves it as it is.
        """
        which = [edge.kind, edge.source, edge.target]
        where = "kind = ? AND source = ? AND target = ? AND run IS NULL"
        with self.transaction():
            there = self.edges(edge.kind, source=edge.source, target=edge.target, imported=True)
            if any(_says(one) == _says(edge) for one in there):
                return
            row = to_row(edge)
            if not there:
                self._insert("edges", [row])
                return
            # It keeps its place among the others: who was named first stays first.
            names = ("weight", "method", "version", "meta", "created_at")
            self.db.execute(
                f"UPDATE edges SET {', '.join(f'{name} = ?' for name in names)} WHERE {where}",
                [*(row[name] for name in names), *which],
            )

    def drop_claims(self, kind: str, source: str, target: str) -> None:
        """Delete the relations of one kind from one node to another that no run stands behind."""
        with self.transaction():
            self.db.execute(
                "DELETE FROM edges WHERE kind = ? AND source = ? AND target = ? AND run IS NULL",
                [kind, source, target],
            )

    def drop_suspicions(self, node: str) -> None:
        """Delete what is suspected about a node."""
        with self.transaction():
            self.db.execute(f"DELETE FROM edges WHERE {AT_NODE} AND kind = 'suspected'", [node])

    def log_lineage(self, verb: str, parent: str, child: str, detail: Mapping[str, Any]) -> None:
        """Note in the audit log what the user said about the lineage of an expert."""
        with self.transaction():
            self._log(f"lineage {verb}", child, {"parent": parent, **detail})

    def drop_declared_lineage(self, parent: str, child: str) -> None:
        """Delete the lineage edge that no run of ours stands behind, if there is one."""
        self.drop_claims("lineage", parent, child)


def _says(edge: Edge) -> tuple[object, ...]:
    return edge.weight, edge.method, edge.version, dict(edge.meta)
