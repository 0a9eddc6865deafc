"""The one class that owns registry.db."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import (
    Edge,
    Embedding,
    Expert,
    InvalidInputError,
    NotFoundError,
    ProbeSet,
    Run,
    Score,
    Task,
    did_you_mean,
)
from expertise_graph.store.imported import ImportedStore
from expertise_graph.store.rows import embedding_row, from_row, row_vector, to_row
from expertise_graph.store.seen import SeenStore
from expertise_graph.store.timings import TimingStore

T = TypeVar("T")


class Store(ImportedStore, SeenStore, TimingStore):
    """Nodes, edges, vectors, scores, runs and events of one workspace.

    Every method is one short transaction; `transaction` joins several into one.
    """

    # Nodes

    def put_expert(self, expert: Expert) -> None:
        """Add an expert, or replace its description."""
        with self.transaction():
            self._upsert("experts", to_row(expert))
            self._log("expert", expert.id, {"name": expert.name})

    def expert(self, expert_id: str) -> Expert:
        """Return the expert with exactly this id.

        Raises:
            NotFoundError: when there is none.
        """
        for row in self.db.query("SELECT * FROM experts WHERE id = ?", [expert_id]):
            return from_row(Expert, row)
        raise NotFoundError(f"no expert {expert_id!r}; see: expertise-graph ls")

    def experts(self, modality: str | None = None) -> list[Expert]:
        """Return the experts, of one modality if given, in the order of registration."""
        where, given = ("WHERE modality = ?", [modality]) if modality else ("", [])
        rows = self.db.query(f"SELECT * FROM experts {where} ORDER BY created_at, id", given)
        return [from_row(Expert, row) for row in rows]

    def find_expert(self, text: str) -> Expert:
        """Return the one expert that `text` names: an id, a name, name@hash, or a unique prefix.

        Raises:
            NotFoundError: for none or several, saying which there are.
        """
        zoo = self.experts()
        exact = [e for e in zoo if text in (e.id, e.name, e.short)]
        found = exact or [e for e in zoo if e.id.startswith(text) or e.short.startswith(text)]
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(e.short for e in found[:5])
            raise NotFoundError(f"{text!r} names {len(found)} experts: {several}")
        names = [e.name for e in zoo]
        hint = did_you_mean(text, names) or " See: expertise-graph ls"
        raise NotFoundError(f"no expert {text!r} among {len(zoo)}.{hint}")

    def find_runnable(self, text: str) -> Expert:
        """Return the one expert that `text` names, as `find_expert`, if it has weights here.

        Raises:
            NotFoundError: for none or several.
            InvalidInputError: for one that only imported metadata know, saying how to register it.
        """
        expert = self.find_expert(text)
        if expert.runnable:
            return expert
        reference = f"hf:{expert.name}" if expert.name.count("/") == 1 else "hf:ORG/NAME"
        raise InvalidInputError(
            f"{expert.name!r} is known from imported metadata only and cannot be run; register it first, "
            f"e.g. expertise-graph register {reference} (or dir:PATH --name {expert.name!r})"
        )

    def remove_expert(self, expert_id: str) -> None:
        """Delete an expert with its vectors, neighbours, scores, covariates and similarity edges.

        Lineage and transfer edges stay: they are measured history.
        """
        with self.transaction():
            self.db.conn.execute("DELETE FROM embeddings WHERE owner = ?", [expert_id])
            self.db.conn.execute(
                "DELETE FROM edges WHERE kind = 'similarity' AND (source = ? OR target = ?)",
                [expert_id, expert_id],
            )
            self.db.conn.execute("DELETE FROM experts WHERE id = ?", [expert_id])
            self._bump()
            self._log("rm", expert_id, {})

    def put_task(self, task: Task) -> None:
        """Add a task, or refresh where its data was last seen."""
        with self.transaction():
            self._upsert("tasks", to_row(task))

    def tasks(self) -> list[Task]:
        """Return all tasks."""
        return [from_row(Task, r) for r in self.db.query("SELECT * FROM tasks ORDER BY created_at, id")]

    def find_task(self, text: str) -> Task:
        """Return the one task that `text` names: its id, its name, or the unique beginning of its id.

        Raises:
            NotFoundError: for none or several, saying which there are.
        """
        known = self.tasks()
        exact = [t for t in known if t.id == text] or [t for t in known if t.name == text]
        found = exact or [t for t in known if t.id.startswith(text)]
        if len(found) == 1:
            return found[0]
        if found:
            raise NotFoundError(f"{text!r} names {len(found)} tasks: {', '.join(t.id for t in found[:5])}")
        hint = did_you_mean(text, [t.name for t in known]) or " See: expertise-graph tasks ls"
        raise NotFoundError(f"no task {text!r} among {len(known)}.{hint}")

    def names(self) -> dict[str, str]:
        """Return what people call the experts and tasks, by id."""
        return {e.id: e.short for e in self.experts()} | {t.id: t.name for t in self.tasks()}

    def put_probe_set(self, probe_set: ProbeSet) -> None:
        """Add a probe set; one that is there already stays as it is."""
        with self.transaction():
            self.db.table("probe_sets").insert(to_row(probe_set), pk="id", ignore=True)

    def probe_sets(self, modality: str | None = None) -> list[ProbeSet]:
        """Return the probe sets, of one modality if given, oldest first."""
        rows = self.db.query("SELECT * FROM probe_sets ORDER BY created_at, id")
        return [p for p in (from_row(ProbeSet, r) for r in rows) if modality in (None, p.modality)]

    # Vectors

    def put_embedding(self, embedding: Embedding) -> None:
        """Add or replace a vector of an expert or a task."""
        row = embedding_row(embedding)
        with self.transaction():
            self.db.table("embeddings").delete_where(
                "owner = ? AND probe_set = ? AND method = ? AND version = ?",
                [row["owner"], row["probe_set"], row["method"], row["version"]],
            )
            self.db.table("embeddings").insert(row)
            if embedding.kind == "expert":
                self._bump()

    def vectors(
        self, probe_set: str, kind: str = "expert"
    ) -> tuple[list[int], list[str], NDArray[np.float32]]:
        """Return row numbers, owners and the matrix (N, m) of the embeddings on a probe set."""
        rows = list(
            self.db.query(
                "SELECT id, owner, vector, sha256 FROM embeddings "
                "WHERE probe_set = ? AND kind = ? ORDER BY id",
                [probe_set, kind],
            )
        )
        matrix = np.stack([row_vector(r) for r in rows]) if rows else np.zeros((0, 0), np.float32)
        return [r["id"] for r in rows], [r["owner"] for r in rows], matrix

    def generation(self) -> str:
        """Return the number that changes whenever an expert's vector does."""
        return self.state("generation") or "0"

    def state(self, name: str) -> str | None:
        """Return a single value kept under `name`, such as the current probe set of a modality."""
        rows = list(self.db.query("SELECT value FROM state WHERE name = ?", [name]))
        return str(rows[0]["value"]) if rows else None

    def set_state(self, name: str, value: str) -> None:
        """Keep a single value under `name`."""
        with self.transaction():
            self.db.table("state").upsert({"name": name, "value": value}, pk="name")

    # Relations

    def put_neighbours(self, probe_set: str, lists: Mapping[str, Sequence[tuple[str, float]]]) -> None:
        """Replace the nearest-neighbour lists of the experts given."""
        with self.transaction():
            for expert, pairs in lists.items():
                self.db.table("neighbours").delete_where("expert = ? AND probe_set = ?", [expert, probe_set])
                self.db.table("neighbours").insert_all(
                    {"expert": expert, "neighbour": other, "probe_set": probe_set, "cka": float(cka)}
                    for other, cka in pairs
                )

    def neighbours(self, probe_set: str) -> dict[str, list[tuple[str, float]]]:
        """Return for each expert its nearest ones with their CKA, nearest first."""
        rows = self.db.query(
            "SELECT * FROM neighbours WHERE probe_set = ? ORDER BY expert, cka DESC, neighbour", [probe_set]
        )
        lists: dict[str, list[tuple[str, float]]] = {}
        for row in rows:
            lists.setdefault(row["expert"], []).append((row["neighbour"], row["cka"]))
        return lists

    def put_edges(self, edges: Iterable[Edge]) -> None:
        """Add edges."""
        with self.transaction():
            self._insert("edges", [to_row(edge) for edge in edges])

    def drop_edges(self, kind: str, probe_set: str, nodes: Iterable[str]) -> None:
        """Delete the edges of one kind on one probe set that touch any of the nodes."""
        with self.transaction():
            for node in nodes:
                self.db.table("edges").delete_where(
                    "kind = ? AND probe_set = ? AND (source = ? OR target = ?)", [kind, probe_set, node, node]
                )

    def edges(self, kind: str | None = None, node: str | None = None) -> list[Edge]:
        """Return edges, filtered by kind and by a node at either end."""
        rows = self.db.query(
            "SELECT * FROM edges WHERE (:kind IS NULL OR kind = :kind) "
            "AND (:node IS NULL OR source = :node OR target = :node) ORDER BY id",
            {"kind": kind, "node": node},
        )
        return [from_row(Edge, row) for row in rows]

    def with_ancestors(self, nodes: Iterable[str]) -> set[str]:
        """Return the nodes and all that they descend from by lineage; cycles do no harm."""
        return self._line(nodes, "target", "source")

    def with_descendants(self, nodes: Iterable[str]) -> set[str]:
        """Return the nodes and all that descends from them by lineage; cycles do no harm."""
        return self._line(nodes, "source", "target")

    def _line(self, nodes: Iterable[str], near: str, far: str) -> set[str]:
        rows = self.db.conn.execute(
            "WITH RECURSIVE line (id) AS (SELECT value FROM json_each(?) "
            f"UNION SELECT edges.{far} FROM line JOIN edges ON edges.{near} = line.id AND kind = 'lineage') "
            "SELECT id FROM line",
            [json.dumps(list(nodes))],
        )
        return {row[0] for row in rows}

    def drop_declared_lineage(self, parent: str, child: str) -> None:
        """Delete the lineage edge that no run of ours stands behind, if there is one."""
        with self.transaction():
            self.db.table("edges").delete_where(
                "kind = 'lineage' AND source = ? AND target = ? AND run IS NULL", [parent, child]
            )

    def drop_run_edges(self, run: str) -> None:
        """Delete the edges that a run left, so that recording it again leaves them once."""
        with self.transaction():
            self.db.table("edges").delete_where("run = ?", [run])

    def put_scores(self, scores: Iterable[Score]) -> None:
        """Add scores; one computed again replaces the old value."""
        with self.transaction():
            self._insert("scores", [to_row(s) for s in scores], "OR REPLACE")

    def scores(self, task: str | None = None) -> list[Score]:
        """Return all scores, on one task if given."""
        where, given = ("WHERE task = ?", [task]) if task else ("", [])
        return [from_row(Score, r) for r in self.db.query(f"SELECT * FROM scores {where}", given)]

    # Runs

    def put_run(self, run: Run) -> None:
        """Add a run or replace what is known about it."""
        with self.transaction():
            self.db.table("runs").upsert(to_row(run), pk="id")
            self._log("run", run.id, {"status": run.status})

    def runs(self, *, task: str | None = None, child: str | None = None) -> list[Run]:
        """Return runs, on a task and with a child if given, oldest first."""
        rows = self.db.query(
            "SELECT * FROM runs WHERE (:task IS NULL OR task = :task) "
            "AND (:child IS NULL OR child = :child) ORDER BY started_at, id",
            {"task": task, "child": child},
        )
        return [from_row(Run, row) for row in rows]

    def events(self) -> list[dict[str, Any]]:
        """Return the audit log, oldest first."""
        return [{**row, "detail": json.loads(row["detail"])} for row in self.db.query("SELECT * FROM events")]

    def backup(self, path: Path) -> None:
        """Write a consistent copy of the registry, whatever other processes are doing."""
        target = sqlite3.connect(path)
        try:
            self.db.conn.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
        finally:
            target.close()

    def _bump(self) -> None:
        self.db.conn.execute(
            "INSERT INTO state (name, value) VALUES ('generation', '1') "
            "ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + 1"
        )
