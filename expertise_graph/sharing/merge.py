"""Rows from elsewhere into this registry: what is added, what is there already, and what is contradicted.

The rules, for a row from a place that this registry was shared with before or not:

- what is not here is added, and noted as being from that place;
- what is here with the same numbers is left, however often it comes;
- what is here with other numbers is replaced where this very place brought it and nothing here changed it
  since; otherwise what is here stays, and the two are a conflict;
- what the place brought before and does not have any more goes, unless another place has brought it, too, or
  something here rests on it.

So what is measured here always stays, and a place replaces its own rows and no other's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from expertise_graph.core import METADATA, UNKNOWN, shorten
from expertise_graph.registry import same_result, setting_of_result
from expertise_graph.sharing.format import IMPORTED, KEYS, MEASURED, SELF_REPORTED, Snapshot
from expertise_graph.store import ORIGIN, SharedRow, Store, row_digest

# Conflicts that are named; all are counted.
_NAMED = 1000
# Scores and coordinates of vectors that differ by less are the same, computed on another machine.
_TOLERANCE = 1e-5

# What two rows of one key must agree in to say the same.
_COMPARED: Mapping[str, tuple[str, ...]] = {
    "scores": ("value",),
    "covariates": ("value",),
    "distances": ("value",),
    "embeddings": ("vector",),
    "tasks": ("modality", "n"),
    "probe_sets": ("modality", "n"),
}
_FUNCTION = ("weights_sha", "preprocessing_sha", "modality", "architecture", "trusted_code")
_OF_EXPERTS = ("owner", "expert", "source", "target")


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Two rows that contradict each other; the first stands in this registry.

    Attributes:
        table: of both.
        key: what they are about, for people.
        here: the value that stays.
        there: the value that was left out.
        origin: of the one that stays.
    """

    table: str
    key: str
    here: str
    there: str
    origin: str


@dataclass(kw_only=True)
class TableCounts:
    """What became of the rows of one table."""

    added: int = 0
    same: int = 0
    replaced: int = 0
    removed: int = 0
    conflicts: int = 0


@dataclass(kw_only=True)
class Merged:
    """What a merge did, by table; conflicts up to some number, and the probe sets with new embeddings."""

    tables: dict[str, TableCounts] = field(default_factory=lambda: defaultdict(TableCounts))
    conflicts: list[Conflict] = field(default_factory=list)
    probe_sets: set[str] = field(default_factory=set)


def merge(store: Store, snapshot: Snapshot, *, place: str, revision: str) -> Merged:
    """Merge checked rows into a registry, all in one transaction.

    Args:
        store: the registry.
        snapshot: that passed `checks.check`.
        place: name of where it is from; earlier rows from there are known by it.
        revision: of the place.
    """
    with store.transaction():
        work = _Merging(store, place, revision)
        names = work.experts(snapshot.tables["experts"])
        for table in ("probe_sets", "tasks", "embeddings", "scores", "covariates", "distances"):
            work.keyed(table, [r for row in snapshot.tables[table] if (r := _renamed(row, names))])
        work.results([r for row in snapshot.tables["edges"] if (r := _renamed(row, names))])
        work.forget_what_is_gone()
        work.finish()
    return work.merged


def _renamed(row: SharedRow, names: Mapping[str, str | None]) -> SharedRow | None:
    """Return a row with the ids that experts have here; None where it is about other weights of an id."""
    renamed = {k: names.get(v, v) if k in _OF_EXPERTS and isinstance(v, str) else v for k, v in row.items()}
    return None if any(renamed.get(name, "") is None for name in _OF_EXPERTS) else renamed


class _Merging:
    """One merge under way, within a transaction."""

    def __init__(self, store: Store, place: str, revision: str) -> None:
        self.store, self.place, self.revision = store, place, revision
        self.label = f"{place}@{revision[:12]}"
        self.merged = Merged()
        ledgers = store.ledgers()
        before = ledgers.pop(place, {"rows": {}})["rows"]
        self.before = {digest: origin for origin, digests in before.items() for digest in digests}
        self.others = {
            digest: origin
            for ledger in ledgers.values()
            for origin, digests in ledger["rows"].items()
            for digest in digests
        }
        self.claimed: dict[str, str] = {}
        self.here: dict[str, list[SharedRow]] = {}

    def rows_here(self, table: str) -> list[SharedRow]:
        """Return the rows that the registry had before."""
        if table not in self.here:
            self.here[table] = self.store.shared_rows(table)
        return self.here[table]

    # Nodes and what has a key

    def experts(self, rows: Iterable[SharedRow]) -> dict[str, str | None]:
        """Add experts; return the id here of those that are called otherwise, None for other weights."""
        here = {row["id"]: row for row in self.rows_here("experts")}
        by_function = {_function(row): row for row in reversed(list(here.values())) if row["weights_sha"]}
        by_name = _by_name(here.values())
        names: dict[str, str | None] = {}
        put = []
        for row in rows:
            old = here.get(row["id"])
            if old is None and row["weights_sha"]:
                old = by_function.get(_function(row))
            elif old is None:
                old = by_name.get(row["name"])
            if old is not None:
                names[row["id"]] = old["id"]
            new = self._as_stored("experts", row)
            if old is None:
                put.append(self._add("experts", new))
            elif not row["weights_sha"] or _function(old) == _function(row):
                put += self._described_again(old, new)
            elif row_digest("experts", old) in self.before:
                # The place has other weights under its id now: all that was known of the first goes.
                self.store.remove_expert(old["id"])
                put.append(self._replace("experts", new))
            elif not old["weights_sha"]:
                put.append(self._replace("experts", {**new, "id": old["id"]}))
            else:
                names[row["id"]] = None
                self._conflict("experts", old, row, "weights_sha")
        self.store.put_shared("experts", put)
        for row in put:
            self._take_over(row, here.values())
        return names

    def _take_over(self, expert: SharedRow, here: Iterable[SharedRow]) -> None:
        """Give an expert the results that were imported under the name of its repository."""
        called = {expert["locator"], f"{expert['source']}:{expert['locator']}", expert["id"]}
        for node in here:
            by_name_only = node["source"] == METADATA and not node["weights_sha"]
            if expert["source"] != METADATA and by_name_only and node["name"] in called:
                self.store.move_history(node["id"], expert["id"])

    def _described_again(self, old: SharedRow, new: SharedRow) -> list[SharedRow]:
        """Keep an expert that is the same; what its own place says of it now replaces what it said before."""
        digest = row_digest("experts", old)
        new = {**new, "id": old["id"]}
        if old["source"] == METADATA and new["source"] != METADATA and new["weights_sha"]:
            # Known by name until now; from here on it can be run.
            place = {name: new[name] for name in ("source", "locator", "revision", "meta", "\0origin")}
            return [self._replace("experts", {**old, **place})]
        if digest in self.before and not _described_alike(old, new):
            return [self._replace("experts", new)]
        if digest not in self.before and digest not in self.others and new["license"] != old["license"]:
            self._conflict("experts", old, new, "license")
            return []
        self._same(digest)
        self.merged.tables["experts"].same += 1
        return []

    def keyed(self, table: str, rows: Iterable[SharedRow]) -> None:
        """Add the rows of a table whose key says what they are about."""
        key = KEYS[table]
        here = {tuple(row[name] for name in key): row for row in self.rows_here(table)}
        put = []
        for row in rows:
            new = self._as_stored(table, row)
            old = here.get(tuple(row[name] for name in key))
            if old is None:
                put.append(self._add(table, new))
                here[tuple(row[name] for name in key)] = new
            elif all(_alike(old[name], new[name]) for name in _COMPARED[table]):
                self._same(row_digest(table, old))
                self.merged.tables[table].same += 1
            elif row_digest(table, old) in self.before:
                put.append(self._replace(table, new))
            else:
                self._conflict(table, old, new, _COMPARED[table][0])
        self.store.put_shared(table, put)
        if table == "embeddings":
            self.merged.probe_sets |= {row["probe_set"] for row in put if row["kind"] == "expert"}

    # Relations

    def results(self, rows: Iterable[SharedRow]) -> None:
        """Add lineage and measured results; how near experts are to each other is found out here."""
        here = [row for row in self.rows_here("edges") if row["kind"] in ("lineage", "transfer")]
        same = {_identity(row): row for row in here}
        by_setting = {_setting(row): row for row in here if row["seed"] is not None}
        put = []
        for row in (row for row in rows if row["kind"] != "similarity"):
            new, old = self._as_stored("edges", row), same.get(_identity(row))
            rival = by_setting.get(_setting(row))
            if old is not None:
                self._same(row_digest("edges", old))
                self.merged.tables["edges"].same += 1
            elif rival is not None and row_digest("edges", rival) not in self.before:
                self._conflict("edges", rival, new, "weight")
            else:
                # Of a rival that the place brought before nothing is claimed: it goes at the end.
                put.append(self._add("edges", new))
                same[_identity(new)] = new
        self.store.put_shared("edges", put)

    # What is gone

    def forget_what_is_gone(self) -> None:
        """Take out what the place brought before and does not have any more."""
        gone = {d for d in self.before if d not in self.claimed and d not in self.others}
        if not gone:
            return
        for table in ("edges", "scores", "covariates", "distances"):
            # As they are by now: what was replaced is there under the same key.
            rows = [row for row in self.store.shared_rows(table) if row_digest(table, row) in gone]
            self.store.drop_shared(table, rows, ("id",) if table == "edges" else KEYS[table])
            self.merged.tables[table].removed += len(rows)
        now = self.store.shared_rows("experts")
        experts = [row["id"] for row in now if row_digest("experts", row) in gone]
        for expert in sorted({*experts} - self.store.only_here(experts)):
            self.store.remove_expert(expert)
            self.merged.tables["experts"].removed += 1

    def finish(self) -> None:
        """Note what is from the place now."""
        rows: dict[str, list[str]] = {}
        for digest, origin in self.claimed.items():
            rows.setdefault(origin, []).append(digest)
        self.store.put_ledger(self.place, self.revision, rows)
        counts = {name: dict(vars(c)) for name, c in self.merged.tables.items()}
        self.store.note_shared("pull", self.label, counts)

    # Rows

    def _as_stored(self, table: str, row: SharedRow) -> SharedRow:
        """Return a row as this registry keeps it, with its origin where there is a place for that."""
        origin = self._origin(row)
        stored = {name: value for name, value in row.items() if name != ORIGIN}
        if table in ("experts", "edges"):
            stored["meta"] = {**row["meta"], ORIGIN: origin}
        if table == "edges":
            # A run of this registry would be listed, resumed and taken back.
            stored |= {"run": None}
        if table == "covariates":
            stored[ORIGIN] = origin
        return {**stored, "\0origin": origin}

    def _origin(self, row: SharedRow) -> str:
        """Return where the numbers of a row are from: the place, or where the place had them from."""
        there = str(row[ORIGIN])
        if there == MEASURED:
            return self.label
        if there == SELF_REPORTED or there.startswith(IMPORTED):
            return f"{there.partition(':')[0]}, {self.label}"
        return there

    def _claimed(self, table: str, row: SharedRow) -> SharedRow:
        origin = row.pop("\0origin")
        self.claimed[row_digest(table, row)] = origin
        return row

    def _add(self, table: str, row: SharedRow) -> SharedRow:
        self.merged.tables[table].added += 1
        return self._claimed(table, row)

    def _replace(self, table: str, row: SharedRow) -> SharedRow:
        self.merged.tables[table].replaced += 1
        return self._claimed(table, row)

    def _same(self, digest: str) -> None:
        """Note that the place has a row, too, that this or another place has brought."""
        origin = self.before.get(digest) or self.others.get(digest)
        if origin is not None:
            self.claimed[digest] = origin

    def _conflict(self, table: str, here: SharedRow, there: SharedRow, name: str) -> None:
        digest = row_digest(table, here)
        if digest in self.before:
            self.claimed[digest] = self.before[digest]
        self.merged.tables[table].conflicts += 1
        if len(self.merged.conflicts) < _NAMED:
            self.merged.conflicts.append(
                Conflict(
                    table=table,
                    key=_named(table, there),
                    here=_shown(here[name]),
                    there=_shown(there[name]),
                    origin=self.others.get(digest) or self.before.get(digest) or "here",
                )
            )


def _function(row: SharedRow) -> tuple[Any, ...]:
    """Return what two experts have in common that compute the same."""
    return tuple(row[name] for name in _FUNCTION)


def _by_name(rows: Iterable[SharedRow]) -> dict[str, SharedRow]:
    """Return the experts by the names that tables of results call them, where only one is called so."""
    found: dict[str, list[SharedRow]] = {}
    for row in rows:
        if row["source"] == METADATA and row["weights_sha"]:
            continue
        for name in {row["name"], row["locator"], f"{row['source']}:{row['locator']}"}:
            found.setdefault(name, []).append(row)
    return {name: rows[0] for name, rows in found.items() if len(rows) == 1}


def _described_alike(a: SharedRow, b: SharedRow) -> bool:
    """Tell whether two rows of an expert say the same, whatever they say of where it is from."""
    metas = [{key: value for key, value in row["meta"].items() if key != ORIGIN} for row in (a, b)]
    return metas[0] == metas[1] and all(a[n] == b[n] for n in a if n not in ("meta", "created_at"))


def _alike(a: Any, b: Any) -> bool:
    """Tell whether two values are the same, numbers up to what machines differ by."""
    if isinstance(a, np.ndarray):
        scale = max(float(np.abs(a).max()), 1e-30)
        return a.shape == b.shape and float(np.abs(a - b).max()) <= _TOLERANCE * scale
    if UNKNOWN in (a, b):
        return True
    if isinstance(a, float) and isinstance(b, int | float):
        return abs(a - b) <= _TOLERANCE * max(abs(a), abs(b))
    return bool(a == b)


def _identity(row: SharedRow) -> tuple[Any, ...]:
    if row["kind"] == "lineage":
        return row["kind"], row["source"], row["target"]
    return row["kind"], *same_result(row)


def _setting(row: SharedRow) -> tuple[Any, ...]:
    return row["kind"], *setting_of_result(row), row["meta"].get("rung")


def _named(table: str, row: SharedRow) -> str:
    if table == "edges":
        names: tuple[str, ...] = ("source", "target", "metric", "method", "seed")
    else:
        names = KEYS[table]
    return " ".join(shorten(str(row[name]), 60) for name in names if row[name] is not None)


def _shown(value: Any) -> str:
    return "other numbers" if isinstance(value, np.ndarray) else shorten(str(value), 40)
