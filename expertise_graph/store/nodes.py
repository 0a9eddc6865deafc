"""Nodes of the graph: experts with their covariates, tasks, probe sets; and the names they go by."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from expertise_graph.core import (
    METADATA,
    Expert,
    InvalidInputError,
    NotFoundError,
    ProbeSet,
    Task,
    count,
    did_you_mean,
    setting,
)
from expertise_graph.store.base import AS_ADDED, among, clause, json_list
from expertise_graph.store.names import EXACT, HAS_ALIAS, LABEL, NameStore
from expertise_graph.store.rows import from_row, now, tell, to_row

_FIELDS = frozenset(field.name for field in fields(Expert))
_LISTS = frozenset({"tags", "datasets"})

# How many nodes an error names when a text fits several.
_NAMED = 5

# Greater than any character of a name: the end of the names that begin alike.
_LAST = chr(0x10FFFF)


class NodeStore(NameStore):
    """The part of the store that holds nodes."""

    # Experts

    def put_expert(self, expert: Expert) -> None:
        """Add an expert, or replace its description."""
        with self.transaction():
            self._upsert("experts", to_row(expert))
            self._log("expert", expert.id, {"name": expert.name})

    def add_nodes(self, experts: Iterable[Expert] = (), tasks: Iterable[Task] = ()) -> None:
        """Add, all at one time, the experts and tasks that are not there yet."""
        together = now()
        with self.transaction():
            self._insert("experts", [to_row(e, together) for e in experts], "OR IGNORE")
            self._insert("tasks", [to_row(t, together) for t in tasks], "OR IGNORE")

    def expert(self, expert_id: str) -> Expert:
        """Return the expert with exactly this id.

        Raises:
            NotFoundError: when there is none.
        """
        expert = self.known_expert(expert_id)
        if expert is None:
            raise NotFoundError(f"no expert {expert_id!r}; see: expertise-graph ls")
        return expert

    def known_expert(self, expert_id: str) -> Expert | None:
        """Return the expert with exactly this id, or None."""
        return next(iter(self._select(Expert, "experts", {"id = ?": expert_id}, "id")), None)

    def experts(
        self,
        modality: str | None = None,
        *,
        where: Mapping[str, str | Iterable[str]] | None = None,
        order: str = "created_at",
        limit: int | None = None,
    ) -> list[Expert]:
        """Return the experts that meet all conditions, by default in the order of registration.

        Args:
            modality: of the experts; None for any.
            where: value, or possible values, of other fields by name: `{"license": ["mit", "apache-2.0"]}`;
                of tags and datasets one that is among them: `{"tags": "warm-start"}`.
            order: field to sort by, equal ones by id; or `AS_ADDED`.
            limit: how many at most.

        Raises:
            InvalidInputError: for a field that experts do not have.
        """
        conditions = {"modality = ?": modality, **_conditions(where or {})}
        return self._select(Expert, "experts", conditions, f"{_checked(order)}, id", limit)

    def expert_ids(
        self,
        modality: str | None = None,
        *,
        where: Mapping[str, str | Iterable[str]] | None = None,
        order: str = "created_at",
    ) -> list[str]:
        """Return the ids of the experts that meet all conditions; see `experts`."""
        which, values = clause({"modality = ?": modality, **_conditions(where or {})})
        rows = self.db.execute(f"SELECT id FROM experts {which} ORDER BY {_checked(order)}, id", values)
        return [row[0] for row in rows]

    def find_expert(self, text: str, *, repair: bool = False) -> Expert:
        """Return the one expert that `text` names: an id, a name, name@hash, or a unique prefix.

        Args:
            text: the name.
            repair: whether damaged cells are read as empty ones, to take it out.

        Raises:
            NotFoundError: for none or several, saying which there are.
            StoreError: when its description is damaged.
        """
        name, _, sha = text.rpartition("@")
        values = {"given": text, "last": text + _LAST, "name": name, "sha": sha, "end": sha + _LAST}
        begins = (
            "(id >= :given AND id < :last) OR (name >= :given AND name < :last) OR "
            f"(name = :name AND source <> '{METADATA}' AND weights_sha >= :sha AND weights_sha < :end "
            "AND length(:sha) <= 8)"
        )
        for condition in (EXACT, HAS_ALIAS, begins):
            if condition is begins and self.was_removed(text):
                # The whole name of one that is gone never stands for another that begins alike.
                raise NotFoundError(f"no expert {text!r}: it was removed. See: expertise-graph ls")
            matches = self._first("experts", condition, values)
            if len(matches) == 1:
                return from_row(Expert, matches[0], repair=repair)
            if matches:
                several = ", ".join(from_row(Expert, row, repair=True).short for row in matches)
                total = count(matches[0]["total"], "expert")
                raise NotFoundError(f"{text!r} names {total}: {several}; give name@hash or the id")
        names = [row[0] for row in self.db.execute("SELECT name FROM experts ORDER BY created_at, id")]
        hint = did_you_mean(text, names) or " See: expertise-graph ls"
        raise NotFoundError(f"no expert {text!r} among {len(names)}.{hint}")

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
            f"e.g. expertise-graph register {reference} (or dir:PATH with {setting('name', expert.name)})"
        )

    def remove_expert(self, expert_id: str) -> None:
        """Delete an expert with its vectors, neighbours, scores, covariates and similarity edges.

        Lineage and transfer edges stay: they are measured history.
        """
        with self.transaction():
            labels = f"SELECT name, {LABEL}, source || ':' || locator FROM experts WHERE id = ?"
            name, short, place = self.db.execute(labels, [expert_id]).fetchone() or ("", "", "")
            # Those that lose a neighbour need another one.
            self.db.execute(
                "INSERT OR IGNORE INTO unlinked SELECT expert, probe_set FROM neighbours WHERE neighbour = ?",
                [expert_id],
            )
            self.db.execute("DELETE FROM unlinked WHERE expert = ?", [expert_id])
            self.db.execute("DELETE FROM embeddings WHERE owner = ?", [expert_id])
            self.db.execute(
                "DELETE FROM edges WHERE kind IN ('similarity', 'suspected') AND (source = ? OR target = ?)",
                [expert_id, expert_id],
            )
            self.db.execute("DELETE FROM experts WHERE id = ?", [expert_id])
            self._bump()
            self._log("rm", expert_id, {"name": name, "short": short, "from": place})

    def removed(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return what the audit log kept of removed experts by id: name, short, and from where they were."""
        sql = f"SELECT subject, detail FROM events WHERE kind = 'rm' AND {among('subject')} ORDER BY id"
        rows = self.db.execute(sql, [json_list(ids)]).fetchall()
        return {subject: parsed for subject, detail in rows if (parsed := _parsed(detail))}

    def was_removed(self, text: str, *, begins: bool = False) -> bool:
        """Tell whether the audit log says that an expert with this id, name or name@hash was removed.

        Args:
            text: the name.
            begins: whether the beginning of one is enough, as it is where experts are looked up.
        """
        given = "substr(name, 1, length(:given))" if begins else "name"
        sql = (
            "SELECT 1 FROM (SELECT subject AS name FROM events WHERE kind = 'rm' UNION ALL "
            "SELECT value FROM events, json_each(iif(json_valid(detail), detail, '{}')) WHERE kind = 'rm') "
            f"WHERE {given} = :given LIMIT 1"
        )
        beginning = "substr({0}, 1, length(:given)) = :given"
        there = f"SELECT 1 FROM experts WHERE {beginning.format('id')} OR {beginning.format('name')} LIMIT 1"
        if begins and self.db.execute(there, {"given": text}).fetchone():
            return False  # it names some that are there
        return self.db.execute(sql, {"given": text}).fetchone() is not None

    # Covariates

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

    def covariates(
        self, experts: Iterable[str] | None = None, *, names: Iterable[str] | None = None
    ) -> dict[str, dict[str, str | float]]:
        """Return covariates by expert and name: all, or those of some experts or of some names."""
        which, values = clause({among("expert"): json_list(experts), among("name"): json_list(names)})
        rows = self.db.execute(
            f"SELECT expert, name, value FROM covariates {which} ORDER BY expert, name", values
        )
        by_expert: dict[str, dict[str, str | float]] = {}
        for expert, name, value in rows:
            try:
                by_expert.setdefault(expert, {})[name] = json.loads(value)
            except (ValueError, TypeError):
                tell(f"covariate {name} of {expert} is damaged, it is left out; import it again")
        return by_expert

    # Tasks

    def put_task(self, task: Task) -> None:
        """Add a task, or refresh where its data was last seen."""
        with self._keeping() as kept:
            if kept:
                self._upsert("tasks", to_row(task))

    def tasks(self, *, modality: str | None = None, locator: str | None = None) -> list[Task]:
        """Return the tasks that meet the conditions given, oldest first; of a locator as they were added."""
        where = {"modality = ?": modality, "locator = ?": locator}
        return self._select(Task, "tasks", where, "created_at, id" if locator is None else AS_ADDED)

    def find_task(self, text: str) -> Task:
        """Return the one task that `text` names: its id, its name, or the unique beginning of its id.

        Raises:
            NotFoundError: for none or several, saying which there are.
        """
        values = {"given": text, "last": text + _LAST}
        for condition in ("id = :given", "name = :given", "id >= :given AND id < :last"):
            matches = self._first("tasks", condition, values)
            if len(matches) == 1:
                return from_row(Task, matches[0])
            if matches:
                several = ", ".join(row["id"] for row in matches)
                raise NotFoundError(
                    f"{text!r} names {count(matches[0]['total'], 'task')}: {several}; give the id"
                )
        names = [row[0] for row in self.db.execute("SELECT name FROM tasks ORDER BY created_at, id")]
        hint = did_you_mean(text, names) or " See: expertise-graph tasks ls"
        raise NotFoundError(f"no task {text!r} among {len(names)}.{hint}")

    def names(self, ids: Iterable[str] | None = None) -> dict[str, str]:
        """Return what people call experts and tasks, by id: all, or those of `ids` that are known."""
        which, values = clause({among("id"): json_list(ids)})
        rows = self.db.execute(
            f"SELECT id, {LABEL} FROM experts {which} UNION ALL SELECT id, name FROM tasks {which}",
            2 * values,
        )
        return dict(rows.fetchall())

    def _first(self, table: str, condition: str, values: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the first few rows that meet a condition, each with the number of all in `total`."""
        rows = self.db.query(
            f"SELECT *, COUNT(*) OVER () AS total FROM {table} WHERE {condition} "
            f"ORDER BY created_at, id LIMIT {_NAMED}",
            dict(values),
        )
        return list(rows)

    # Probe sets

    def put_probe_set(self, probe_set: ProbeSet) -> None:
        """Add a probe set; one that is there already stays as it is."""
        with self.transaction():
            self._insert("probe_sets", [to_row(probe_set)], "OR IGNORE")

    def probe_sets(self, modality: str | None = None) -> list[ProbeSet]:
        """Return the probe sets, of one modality if given, oldest first."""
        return self._select(ProbeSet, "probe_sets", {"modality = ?": modality}, AS_ADDED)

    def probe_set(self, probe_set_id: str) -> ProbeSet | None:
        """Return the probe set with exactly this id, or None."""
        return next(iter(self._select(ProbeSet, "probe_sets", {"id = ?": probe_set_id}, "id")), None)


def _parsed(detail: str) -> dict[str, Any]:
    try:
        parsed = json.loads(detail)
    except (ValueError, TypeError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _conditions(where: Mapping[str, str | Iterable[str]]) -> dict[str, Any]:
    """Return the conditions of `NodeStore.experts` as SQL, with their values."""
    conditions: dict[str, Any] = {}
    for name, value in where.items():
        if name in _LISTS:
            conditions[f"? IN (SELECT value FROM json_each(iif(json_valid({name}), {name}, '[]')))"] = value
        else:
            conditions[among(_checked(name))] = json_list([value] if isinstance(value, str) else value)
    return conditions


def _checked(name: str) -> str:
    if name not in _FIELDS and name != AS_ADDED:
        raise InvalidInputError(f"experts have no field {name!r}.{did_you_mean(name, _FIELDS)}")
    return name
