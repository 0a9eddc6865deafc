"""The one class that owns registry.db."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from expertise_graph.store.nodes import NodeStore
from expertise_graph.store.pending import PendingStore
from expertise_graph.store.relations import RelationStore
from expertise_graph.store.runs import RunStore
from expertise_graph.store.vectors import VectorStore


class Store(NodeStore, VectorStore, RelationStore, RunStore, PendingStore):
    """Nodes, vectors, relations, runs and unfinished work of one workspace, each in a module of its own.

    It answers questions by SQL, and reads a whole table only for those that ask for all of it. Every
    method is one short transaction; `transaction` joins several into one. As a context manager it closes
    the connection at the end.
    """

    def backup(self, path: Path) -> None:
        """Write a consistent copy of the registry, whatever other processes are doing."""
        target = sqlite3.connect(path)
        try:
            self.db.conn.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
        finally:
            target.close()
