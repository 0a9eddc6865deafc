"""What was begun and is not whole yet, so that whoever opens the workspace next can finish it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from expertise_graph.core import StoreError, is_gone, process_name
from expertise_graph.store.base import StoreBase
from expertise_graph.store.rows import now


@dataclass(frozen=True, kw_only=True)
class Pending:
    """Work that was begun.

    Attributes:
        kind: of work; says who finishes it.
        subject: what is worked on; of a kind each subject is there once.
        detail: all that is needed to finish it, as values for JSON.
        owner: the process that began it.
    """

    kind: str
    subject: str
    detail: Mapping[str, Any]
    owner: str


class PendingStore(StoreBase):
    """The part of the store that holds what is to be finished."""

    @contextmanager
    def pending(self, kind: str, subject: str, detail: Mapping[str, Any]) -> Iterator[None]:
        """Note what is to follow while the block does it; what it leaves undone is another's to finish."""
        self.put_pending(kind, subject, detail)
        try:
            yield
        except BaseException:
            with suppress(StoreError):  # what went wrong may be the disk
                self.release(kind, subject)
            raise
        self.drop_pending(kind, subject)

    def put_pending(self, kind: str, subject: str, detail: Mapping[str, Any]) -> None:
        """Note what is to follow, before the first of it is done; the same subject again replaces it."""
        row = {
            "kind": kind,
            "subject": subject,
            "detail": json.dumps(dict(detail)),
            "owner": process_name(),
            "created_at": now(),
        }
        with self.transaction():
            self._insert("pending", [row], "OR REPLACE")

    def drop_pending(self, kind: str, subject: str) -> None:
        """Forget what was noted: all of it is done."""
        with self.transaction():
            self.db.execute("DELETE FROM pending WHERE kind = ? AND subject = ?", [kind, subject])

    def release(self, kind: str, subject: str) -> None:
        """Leave what was noted to whoever opens the workspace next."""
        with self.transaction():
            sql = "UPDATE pending SET owner = '' WHERE kind = ? AND subject = ? AND owner = ?"
            self.db.execute(sql, [kind, subject, process_name()])

    def adopt(self, one: Pending) -> bool:
        """Take over what was abandoned; False where another process was faster."""
        with self.transaction():
            sql = "UPDATE pending SET owner = ? WHERE kind = ? AND subject = ? AND owner = ?"
            changed = self.db.execute(sql, [process_name(), one.kind, one.subject, one.owner])
            return bool(changed.rowcount == 1)

    def abandoned(self) -> list[Pending]:
        """Return what no process is at work on any more, oldest first.

        Of a process on another machine nobody here can tell; its work is finished by the same command.
        """
        found = self._select(Pending, "pending", {}, "created_at, kind, subject")
        return [one for one in found if not one.owner or is_gone(one.owner)]
