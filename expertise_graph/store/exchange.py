"""Rows as they go from one registry to another: read at one moment, written in one transaction."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from expertise_graph.core import StoreError, sha256_of_bytes, sha256_of_json
from expertise_graph.store.base import StoreBase, among, json_list
from expertise_graph.store.rows import row_vector, tell

SharedRow = dict[str, Any]
"""A row with its lists and objects as values of Python, and a vector as an array (m,) float32."""

SHARED_TABLES = (
    "probe_sets",
    "experts",
    "tasks",
    "embeddings",
    "edges",
    "scores",
    "covariates",
    "distances",
)
"""What registries have in common, those first that others refer to; times, paths and logs stay here."""

ORIGIN = "origin"
"""In the meta of experts and relations: where they are from, if not from here."""

LEARNT_TASKS = "learnt_tasks"
"""In the meta of an expert that was pulled: ids of the tasks that it was trained on."""

# Row numbers differ from registry to registry; ids of nodes do not.
_NUMBERED = ("edges", "embeddings")
_JSON = ("datasets", "tags", "classes", "meta")
_LEDGER, _SALT = "shared:", "salt"

# 64 bits of a hash: among ten million rows two are taken for one with a chance of 1 in 400,000.
_DIGITS = 16


class ExchangeStore(StoreBase):
    """The part of the store that gives rows to other registries, and takes theirs."""

    @contextmanager
    def at_one_moment(self) -> Iterator[None]:
        """Let everything read inside be as it was at one moment, whatever other processes write."""
        if self.db.conn.in_transaction:
            yield
            return
        self.db.conn.execute("BEGIN")
        try:
            yield
        finally:
            self.db.conn.execute("COMMIT")

    def shared_rows(self, table: str) -> list[SharedRow]:
        """Return the rows of one of `SHARED_TABLES` in the order they came in; damaged ones are left out.

        Those of edges and embeddings have their number as `id`.
        """
        order = "rowid" if table in ("experts", "tasks", "probe_sets", *_NUMBERED) else "1, 2, 3"
        found = []
        for row in self.db.query(f"SELECT * FROM {table} ORDER BY {order}"):
            try:
                found.append(_decoded(row))
            except (ValueError, TypeError, KeyError, StoreError, RecursionError):
                tell(f"a row of {table} is damaged, and was left out: {row.get('id', row.get('created_at'))}")
        return found

    def put_shared(self, table: str, rows: Iterable[SharedRow]) -> None:
        """Add rows, or replace those of the same key; an expert's neighbours are to be found."""
        with self.transaction():
            for row in rows:
                stored = _encoded(row)
                if "id" in stored and table in _NUMBERED:
                    del stored["id"]
                if table in ("experts", "tasks", "probe_sets"):
                    self.db.table(table).upsert(stored, pk="id")
                    continue
                if table == "embeddings":
                    self._put_vector(stored)
                self._insert(table, [stored], "" if table in _NUMBERED else "OR REPLACE")
            if table == "embeddings":
                self._bump()

    def _put_vector(self, stored: Mapping[str, Any]) -> None:
        self.db.execute(
            "DELETE FROM embeddings WHERE owner = :owner AND probe_set = :probe_set "
            "AND method = :method AND version = :version",
            dict(stored),
        )
        if stored["kind"] == "expert":
            unlinked = {"expert": stored["owner"], "probe_set": stored["probe_set"]}
            self._insert("unlinked", [unlinked], "OR IGNORE")

    def drop_shared(self, table: str, rows: Iterable[SharedRow], key: Iterable[str]) -> None:
        """Delete rows by the columns of their key."""
        which = " AND ".join(f"{name} = :{name}" for name in key)
        with self.transaction():
            self.db.conn.executemany(f"DELETE FROM {table} WHERE {which}", [_encoded(row) for row in rows])

    def shared_places(self) -> list[str]:
        """Return the places that this registry was shared with."""
        rows = self.db.execute("SELECT name FROM state WHERE substr(name, 1, 7) = ?", [_LEDGER])
        return [row[0].removeprefix(_LEDGER) for row in rows.fetchall()]

    def ledgers(self) -> dict[str, dict[str, Any]]:
        """Return what was noted of each place that this registry was shared with, by the name of the place.

        See `put_ledger`; a damaged note counts as none.
        """
        rows = self.db.execute("SELECT name, value FROM state WHERE substr(name, 1, 7) = ?", [_LEDGER])
        found = {}
        for name, value in rows.fetchall():
            try:
                noted = json.loads(value)
                rows_by_origin = {str(o): [str(r) for r in keys] for o, keys in noted["rows"].items()}
                found[name.removeprefix(_LEDGER)] = {
                    "revision": str(noted["revision"]),
                    "rows": rows_by_origin,
                }
            except (ValueError, TypeError, KeyError, AttributeError):
                tell(
                    f"what was pulled from {name.removeprefix(_LEDGER)} is not known any more; pull it again"
                )
        return found

    def put_ledger(self, place: str, revision: str, rows: Mapping[str, Iterable[str]]) -> None:
        """Note which revision of a place is known, and the rows from it by their origin, see `row_digest`."""
        content = {"revision": revision, "rows": {origin: sorted(keys) for origin, keys in rows.items()}}
        with self.transaction():
            value = json.dumps(content, sort_keys=True)
            self._insert("state", [{"name": _LEDGER + place, "value": value}], "OR REPLACE")

    def salt(self) -> str:
        """Return the secret of this registry that makes hashes of names which nobody can guess.

        Where nothing can be kept it is another one each time.
        """
        found = self.db.execute("SELECT value FROM state WHERE name = ?", [_SALT]).fetchone()
        if found is None and not self.read_only:
            with self.transaction():
                self._insert("state", [{"name": _SALT, "value": secrets.token_hex(16)}], "OR IGNORE")
            found = self.db.execute("SELECT value FROM state WHERE name = ?", [_SALT]).fetchone()
        return secrets.token_hex(16) if found is None else str(found[0])

    def tasks_learnt(self) -> dict[str, list[str]]:
        """Return the tasks that runs here have trained each child on, by the child's id."""
        rows = self.db.execute("SELECT DISTINCT child, task FROM runs WHERE child IS NOT NULL ORDER BY 1, 2")
        found: dict[str, list[str]] = {}
        for child, task in rows.fetchall():
            found.setdefault(child, []).append(task)
        return found

    def trained_elsewhere(self, task: str) -> set[str]:
        """Return the experts that were trained on a task by runs of other registries."""
        rows = self.db.execute(
            f"SELECT id FROM experts WHERE meta LIKE '%\"{LEARNT_TASKS}\"%' AND "
            "CASE WHEN json_valid(meta) THEN EXISTS (SELECT 1 FROM "
            f"json_each(experts.meta, '$.{LEARNT_TASKS}') WHERE value = ?) ELSE 0 END",
            [task],
        )
        return {row[0] for row in rows.fetchall()}

    def only_here(self, experts: Iterable[str]) -> set[str]:
        """Return those of some experts that runs, results or scores of this registry refer to."""
        given = json_list(experts)
        sql = " UNION ".join(
            f"SELECT {column} FROM {table} WHERE {among(column)}{more}"
            for table, column, more in (
                ("runs", "expert", ""),
                ("runs", "child", ""),
                ("scores", "expert", ""),
                ("covariates", "expert", ""),
                ("edges", "source", " AND kind <> 'similarity'"),
                ("edges", "target", " AND kind <> 'similarity'"),
            )
        )
        return {row[0] for row in self.db.execute(sql, [given] * 6)}

    def note_shared(self, kind: str, place: str, detail: Mapping[str, Any]) -> None:
        """Write to the audit log what was pushed or pulled."""
        with self.transaction():
            self._log(kind, place, detail)


def row_digest(table: str, row: Mapping[str, Any]) -> str:
    """Return what tells a row from all others, its numbers included; it changes when the row does."""
    plain = {name: value for name, value in row.items() if not (name == "id" and table in _NUMBERED)}
    if "vector" in plain:
        plain["vector"] = sha256_of_bytes(np.ascontiguousarray(plain["vector"], "<f4").tobytes())
    return sha256_of_json([table, plain])[:_DIGITS]


def _decoded(row: Mapping[str, Any]) -> SharedRow:
    decoded = {
        name: json.loads(value) if name in _JSON else value for name, value in row.items() if name != "sha256"
    }
    if "vector" in decoded:
        decoded["vector"] = row_vector(row)
    if "trusted_code" in decoded:
        decoded["trusted_code"] = bool(decoded["trusted_code"])
    return decoded


def _encoded(row: Mapping[str, Any]) -> dict[str, Any]:
    stored = {n: json.dumps(v, sort_keys=True) if n in _JSON else v for n, v in row.items()}
    if "vector" in stored:
        blob = np.ascontiguousarray(stored["vector"], "<f4").tobytes()
        stored |= {"vector": blob, "sha256": sha256_of_bytes(blob)}
    return stored
