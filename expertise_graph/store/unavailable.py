"""Published models that could not be had: which, why, and since when; not tried each time again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from expertise_graph.store.base import StoreBase
from expertise_graph.store.rows import now, software

# Rows of the table of single values: one for each model, so that two processes never overwrite each other's.
_PREFIX = "unavailable:"

GONE, GATED, REFUSED, BROKEN = "gone", "gated", "refused", "broken"
"""Why a model cannot be had: deleted or private, access must be asked for, code or pickles, or it failed."""


@dataclass(frozen=True, kw_only=True)
class Unavailable:
    """Why a published model cannot be had.

    Attributes:
        model: what `register` takes, e.g. ``hf:org/name``.
        kind: gone, gated, refused or broken.
        reason: one line.
        revision: the commit that was asked for; None for the newest.
        software: versions of what would run it.
        since: when it was found out.
    """

    model: str
    kind: str
    reason: str
    revision: str | None = None
    software: str = ""
    since: str = ""

    def holds(self, revision: str | None) -> bool:
        """Tell whether it is true of a commit of the model.

        Another commit may work where this one is refused or broken, and other libraries may run it.
        """
        if self.kind in (GONE, GATED):
            return True
        same = self.kind == REFUSED or self.software == software()
        return same and self.revision == revision


class UnavailableStore(StoreBase):
    """The part of the store that remembers which published models cannot be had."""

    def put_unavailable(self, model: str, kind: str, reason: str, *, revision: str | None = None) -> None:
        """Remember that a model cannot be had."""
        one = Unavailable(
            model=model, kind=kind, reason=reason, revision=revision, software=software(), since=now()
        )
        with self._keeping() as kept:
            if kept:
                row = {"name": _PREFIX + model, "value": json.dumps(asdict(one))}
                self._insert("state", [row], "OR REPLACE")

    def unavailable(self) -> dict[str, Unavailable]:
        """Return the models that cannot be had, by what `register` takes."""
        rows = self.db.execute(
            "SELECT value FROM state WHERE substr(name, 1, ?) = ? ORDER BY name", [len(_PREFIX), _PREFIX]
        )
        read = (_read(value) for (value,) in rows.fetchall())
        return {one.model: one for one in read if one is not None}

    def forget_unavailable(self, models: Iterable[str]) -> None:
        """Let models be tried again."""
        names = [[_PREFIX + model] for model in models]
        if names:
            with self.transaction():
                self.db.conn.executemany("DELETE FROM state WHERE name = ?", names)


def _read(text: str) -> Unavailable | None:
    """Return an entry; None where the registry holds something else there."""
    try:
        values: dict[str, Any] = json.loads(text)
        one = Unavailable(**values)
    except (ValueError, TypeError):
        return None
    return one if all(isinstance(v, str) for v in (one.model, one.kind, one.reason)) else None
