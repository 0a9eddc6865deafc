"""The names that experts go by: own ones, and aliases from other places."""

from __future__ import annotations

import json
from collections.abc import Iterable

from expertise_graph.core import METADATA, Expert
from expertise_graph.store.base import StoreBase, among, json_list
from expertise_graph.store.migrations import ALIASED
from expertise_graph.store.rows import readable

# What `Expert.short` is.
LABEL = f"CASE source WHEN '{METADATA}' THEN name ELSE name || '@' || substr(weights_sha, 1, 8) END"

# An expert that this text names in whole: by its id, its name or name@hash.
EXACT = f"id = :given OR name = :given OR (name = :name AND {LABEL} = :given)"

# An expert that was registered under this name after it had another one; asked where none is called so.
HAS_ALIAS = (
    f"{ALIASED} AND CASE WHEN json_valid(meta) THEN EXISTS (SELECT 1 FROM "
    "json_each(experts.meta, '$.aliases') AS alias WHERE json_extract(alias.value, '$.name') IN "
    "(:given, :name) AND (json_extract(alias.value, '$.name') = :given OR weights_sha LIKE :sha || '%')) "
    "ELSE 0 END"
)


# An expert that was registered from this place after it had been from another one.
_HAS_PLACE = (
    f"{ALIASED} AND CASE WHEN json_valid(meta) THEN EXISTS (SELECT 1 FROM "
    "json_each(experts.meta, '$.aliases') AS alias WHERE json_extract(alias.value, '$.source') = :source "
    "AND json_extract(alias.value, '$.locator') = :locator) ELSE 0 END"
)


class NameStore(StoreBase):
    """The part of the store that knows who is called what."""

    def experts_called(self, text: str) -> list[Expert]:
        """Return the experts whose id, name or name@hash this is; aliases count where there are none."""
        name, _, sha = text.rpartition("@")
        values = {"given": text, "name": name, "sha": sha}
        for condition in (EXACT, HAS_ALIAS):
            sql = f"SELECT * FROM experts WHERE {condition} ORDER BY created_at, id"
            found = readable(Expert, self.db.query(sql, values))
            if found:
                return found
        return []

    def experts_from(self, source: str, locator: str) -> list[Expert]:
        """Return the experts that were registered from a place, as first or later, in that order."""
        values = {"source": source, "locator": locator}
        sql = (
            "SELECT * FROM experts WHERE id IN (SELECT id FROM experts WHERE locator = :locator AND "
            f"source = :source UNION ALL SELECT id FROM experts WHERE {_HAS_PLACE}) ORDER BY rowid"
        )
        return readable(Expert, self.db.query(sql, values))

    def shared_names(self, names: Iterable[str]) -> set[str]:
        """Return those of some names that more than one expert has."""
        sql = f"SELECT name FROM experts WHERE {among('name')} GROUP BY name HAVING COUNT(*) > 1"
        return {row[0] for row in self.db.execute(sql, [json_list(names)])}

    def drop_alias(self, name: str) -> list[str]:
        """Take an alias from every expert that has it, and return their ids; their own names stay."""
        values = {"given": name, "name": "", "sha": ""}
        with self.transaction():
            rows = self.db.execute(f"SELECT id, meta FROM experts WHERE {HAS_ALIAS}", values).fetchall()
            for expert, text in rows:
                meta = json.loads(text)
                meta["aliases"] = [a for a in meta["aliases"] if a["name"] != name]
                if not meta["aliases"]:
                    del meta["aliases"]
                self.db.execute("UPDATE experts SET meta = ? WHERE id = ?", [json.dumps(meta), expert])
            if rows:
                # As of an expert, so that the same removal can be run again.
                self._log("rm", name, {"name": name})
        return [row[0] for row in rows]
