"""Embeddings, the nearest experts of each expert, and single values such as the generation."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import Embedding, Expert, StoreError
from expertise_graph.store.base import StoreBase, among, clause, json_list
from expertise_graph.store.rows import embedding_row, readable, row_vector, tell

# Vectors read at a time where all are gone through: 16 MB of 1024 numbers each.
_BATCH = 4096

Vectors = tuple[list[int], list[str], NDArray[np.float32]]
"""Row numbers, owners, and the matrix (N, m) of some embeddings."""

Lists = dict[str, list[tuple[str, float]]]
"""Neighbours of each expert with their CKA, nearest first."""


class VectorStore(StoreBase):
    """The part of the store that holds vectors and what follows from them."""

    # Embeddings

    def put_embedding(self, embedding: Embedding) -> None:
        """Add or replace a vector of an expert or a task; an expert's neighbours are to be found."""
        row = embedding_row(embedding)
        with self._keeping(embedding.kind == "task") as kept:
            if not kept:
                return
            self.db.execute(
                "DELETE FROM embeddings WHERE owner = :owner AND probe_set = :probe_set "
                "AND method = :method AND version = :version",
                row,
            )
            self._insert("embeddings", [row])
            if embedding.kind == "expert":
                unlinked = {"expert": embedding.owner, "probe_set": embedding.probe_set}
                self._insert("unlinked", [unlinked], "OR IGNORE")
                self._bump()

    def has_embedding(self, owner: str, probe_set: str) -> bool:
        """Tell whether an expert or a task has a vector on a probe set."""
        sql = "SELECT 1 FROM embeddings WHERE owner = ? AND probe_set = ? LIMIT 1"
        return self.db.execute(sql, [owner, probe_set]).fetchone() is not None

    def vectors(
        self, probe_set: str, kind: str = "expert", *, owners: Iterable[str] | None = None
    ) -> Vectors:
        """Return the embeddings on a probe set, of some owners if given, in the order they came in."""
        conditions = {"probe_set = ?": probe_set, "kind = ?": kind, among("owner"): json_list(owners)}
        which, values = clause(conditions)
        sql = f"SELECT id, owner, kind, probe_set, method, vector, sha256 FROM embeddings {which} ORDER BY id"
        return self._stacked(list(self.db.query(sql, values)))

    def vectors_after(self, probe_set: str, row: int) -> Iterator[Vectors]:
        """Yield the experts' embeddings with a higher row number, in batches."""
        while True:
            rows = list(
                self.db.query(
                    "SELECT id, owner, kind, probe_set, method, vector, sha256 FROM embeddings "
                    "WHERE probe_set = ? AND kind = 'expert' AND +id > ? ORDER BY id LIMIT ?",
                    [probe_set, row, _BATCH],
                )
            )
            if not rows:
                return
            batch = self._stacked(rows)
            if batch[0]:
                yield batch
            row = rows[-1]["id"]

    def vector_rows(self, probe_set: str) -> list[int]:
        """Return the row numbers of the experts' embeddings on a probe set; none is ever used again."""
        sql = "SELECT id FROM embeddings WHERE probe_set = ? AND kind = 'expert' ORDER BY id"
        return [row[0] for row in self.db.execute(sql, [probe_set])]

    def vector_owners(self, rows: Iterable[int]) -> dict[int, str]:
        """Return whose embeddings some row numbers are."""
        sql = f"SELECT id, owner FROM embeddings WHERE {among('id')}"
        return dict(self.db.execute(sql, [json_list(rows)]).fetchall())

    def count_vectors(self, probe_set: str) -> int:
        """Return how many experts have an embedding on a probe set."""
        sql = "SELECT COUNT(*) FROM embeddings WHERE probe_set = ? AND kind = 'expert'"
        return int(self.db.execute(sql, [probe_set]).fetchone()[0])

    def without_embedding(self, probe_set: str, modality: str) -> list[Expert]:
        """Return the experts of a modality that have weights, and no embedding on a probe set."""
        rows = self.db.query(
            "SELECT * FROM experts WHERE modality = ? AND source <> 'metadata' AND id NOT IN "
            "(SELECT owner FROM embeddings WHERE probe_set = ? AND kind = 'expert') ORDER BY created_at, id",
            [modality, probe_set],
        )
        return readable(Expert, rows)

    def _stacked(self, rows: Sequence[Mapping[str, Any]]) -> Vectors:
        """Return rows as a matrix; damaged vectors, and those of another length, are left out and removed.

        Nothing is lost: a vector is worked out again from features that are kept.
        """
        whole, damaged = [], []
        for row in rows:
            try:
                whole.append((row, row_vector(row)))
            except StoreError:
                damaged.append(row)
        length = Counter(len(vector) for _, vector in whole).most_common(1)[0][0] if whole else 0
        damaged += [row for row, vector in whole if len(vector) != length]
        whole = [(row, vector) for row, vector in whole if len(vector) == length]
        self._drop_damaged(damaged)
        matrix = np.stack([vector for _, vector in whole]) if whole else np.zeros((0, 0), np.float32)
        return [row["id"] for row, _ in whole], [row["owner"] for row, _ in whole], matrix

    def _drop_damaged(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            again = "register the expert again" if row["kind"] == "expert" else "query its data again"
            tell(f"the embedding of {row['owner']} is damaged and was left out; {again}")
        if not rows or self.read_only:
            return
        with self.transaction():
            for row in rows:
                self.db.execute("DELETE FROM embeddings WHERE id = ?", [row["id"]])
                ends = [row["owner"], row["probe_set"]]
                self.db.execute("DELETE FROM unlinked WHERE expert = ? AND probe_set = ?", ends)
                self._log("damaged vector", row["owner"], {"probe_set": row["probe_set"]})
            self._bump()

    # Neighbours

    def put_neighbours(
        self, probe_set: str, lists: Mapping[str, Sequence[tuple[str, float]]], *, linked: Iterable[str] = ()
    ) -> None:
        """Replace the nearest-neighbour lists of the experts given.

        Args:
            probe_set: on which they are near.
            lists: neighbours and their CKA by expert.
            linked: experts that are not to be looked at again, see `unlinked`.
        """
        rows = [
            {"expert": expert, "neighbour": other, "probe_set": probe_set, "cka": float(cka)}
            for expert, pairs in lists.items()
            for other, cka in pairs
        ]
        ends = "expert = ? AND probe_set = ?"
        with self.transaction():
            self.db.conn.executemany(f"DELETE FROM neighbours WHERE {ends}", [(e, probe_set) for e in lists])
            self._insert("neighbours", rows)
            self.db.conn.executemany(f"DELETE FROM unlinked WHERE {ends}", [(e, probe_set) for e in linked])

    def neighbours(self, probe_set: str, experts: Iterable[str] | None = None) -> Lists:
        """Return the stored neighbours of all experts, or of some, nearest first."""
        which, values = clause({among("expert"): json_list(experts), "probe_set = ?": probe_set})
        rows = self.db.execute(
            f"SELECT expert, neighbour, cka FROM neighbours {which} ORDER BY expert, cka DESC, neighbour",
            values,
        )
        lists: Lists = {}
        for expert, other, cka in rows:
            lists.setdefault(expert, []).append((other, cka))
        return lists

    def neighbours_of(self, expert: str, probe_set: str) -> list[tuple[str, float]]:
        """Return the stored neighbours of an expert with their CKA, nearest first."""
        return self.neighbours(probe_set, [expert]).get(expert, [])

    def with_far_neighbours(self, probe_set: str, cka: float) -> list[tuple[int, str, float]]:
        """Return the experts of which a stored neighbour has at most this CKA.

        Returns:
            Row number of the vector, id, and the CKA of the farthest neighbour.
        """
        return self.db.execute(
            "SELECT e.id, e.owner, MIN(n.cka) FROM neighbours AS n JOIN embeddings AS e "
            "ON e.probe_set = n.probe_set AND e.kind = 'expert' AND e.owner = n.expert "
            "WHERE n.probe_set = ? AND n.cka <= ? GROUP BY e.id",
            [probe_set, cka],
        ).fetchall()

    def unlinked(self, probe_set: str) -> list[str]:
        """Return the experts whose neighbours are to be found: they are new, or lost a neighbour."""
        rows = self.db.execute("SELECT expert FROM unlinked WHERE probe_set = ? ORDER BY expert", [probe_set])
        return [row[0] for row in rows]

    # Single values

    def generation(self) -> int:
        """Return the number that grows whenever an expert's vector changes."""
        found = self.state("generation") or "0"
        # As many digits as SQLite's whole numbers have.
        return int(found) if re.fullmatch(r"[0-9]{1,18}", found) else 0

    def index_key(self, probe_set: str, generation: int, *, make: bool = False) -> str | None:
        """Return the secret that an index of this generation was saved with by this registry, if it was.

        Generations are numbers, which a registry that was restored or replaced counts again; the key does
        not come again.

        Args:
            probe_set: of the vectors.
            generation: of the registry when the index was saved.
            make: whether to choose one where there is none.
        """
        if make:
            row = {"probe_set": probe_set, "generation": generation, "key": secrets.token_hex(16)}
            with self.transaction():
                self._insert("index_keys", [row], "OR IGNORE")
        sql = "SELECT key FROM index_keys WHERE probe_set = ? AND generation = ?"
        found = self.db.execute(sql, [probe_set, generation]).fetchone()
        return None if found is None else str(found[0])

    def has_index_keys(self, probe_set: str) -> bool:
        """Tell whether an index of this probe set was ever saved with a key of this registry."""
        sql = "SELECT 1 FROM index_keys WHERE probe_set = ? LIMIT 1"
        return self.db.execute(sql, [probe_set]).fetchone() is not None

    def state(self, name: str) -> str | None:
        """Return a single value kept under `name`, such as the current probe set of a modality."""
        row = self.db.execute("SELECT value FROM state WHERE name = ?", [name]).fetchone()
        return None if row is None else str(row[0])

    def set_state(self, name: str, value: str) -> None:
        """Keep a single value under `name`."""
        with self.transaction():
            self._insert("state", [{"name": name, "value": value}], "OR REPLACE")
