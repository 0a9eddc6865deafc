"""The one class that owns registry.db."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from expertise_graph.store.base import among, json_list
from expertise_graph.store.exchange import ExchangeStore
from expertise_graph.store.lineage import LineageStore
from expertise_graph.store.nodes import NodeStore
from expertise_graph.store.pending import PendingStore
from expertise_graph.store.runs import RunStore
from expertise_graph.store.unavailable import UnavailableStore
from expertise_graph.store.vectors import VectorStore


class Store(NodeStore, VectorStore, LineageStore, RunStore, PendingStore, ExchangeStore, UnavailableStore):
    """Nodes, vectors, relations, runs and unfinished work of one workspace, each in a module of its own.

    It answers questions by SQL, and reads a whole table only for those that ask for all of it. Every
    method is one short transaction; `transaction` joins several into one. As a context manager it closes
    the connection at the end.
    """

    def remove_runs(self, runs: Iterable[str], experts: Iterable[str]) -> None:
        """Delete training runs with their results and lineage, and experts with all that is known of them.

        What the runs learnt from is forgotten with the last run on a task and a seed.
        """
        runs, experts = list(runs), list(experts)
        with self.transaction():
            paths = dict(
                self.db.execute(
                    f"SELECT id, path FROM runs WHERE {among('id')}", [json_list(runs)]
                ).fetchall()
            )
            for expert in experts:
                self.remove_expert(expert)
                self.db.execute("DELETE FROM edges WHERE ? IN (source, target)", [expert])
            self.db.execute(f"DELETE FROM edges WHERE {among('run')}", [json_list(runs)])
            self.db.execute(f"DELETE FROM runs WHERE {among('id')}", [json_list(runs)])
            # What was begun in them is not finished any more.
            self.db.execute(f"DELETE FROM pending WHERE {among('subject')}", [json_list(runs)])
            self.db.execute(
                "DELETE FROM seen WHERE NOT EXISTS (SELECT 1 FROM runs "
                "WHERE runs.task = seen.task AND runs.seed = seen.seed AND runs.child IS NOT NULL)"
            )
            for run in runs:
                self._log("runs rm", run, {"experts": experts, "path": paths.get(run)})

    def backup(self, path: Path) -> None:
        """Write a consistent copy of the registry, whatever other processes are doing."""
        target = sqlite3.connect(path)
        try:
            self.db.conn.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
        finally:
            target.close()
