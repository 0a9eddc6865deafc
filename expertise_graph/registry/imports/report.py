"""What an import read, added and left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import read, added and left out.

    Attributes:
        kind: what was added: results, scores, covariates or distances.
        duplicates: values left out because they are there already.
        repeats: values that differ from an earlier one of the same expert, task and setting.
            Results are all kept; of scores, covariates and distances the last one counts.
        left_out: how many rows or cells for which reason.
        new_experts: names that became metadata-only experts; likewise `new_tasks`.
    """

    kind: str
    file: str
    dry_run: bool
    rows: int
    added: int
    duplicates: int = 0
    repeats: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    experts_known: int = 0
    new_experts: tuple[str, ...] = ()
    tasks_known: int = 0
    new_tasks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return one or two lines for people."""
        done = "would be added" if self.dry_run else "added"
        first = [f"{self.file}: {self.rows:,} rows, {self.added:,} {self.kind} {done}"]
        if self.experts_known or self.new_experts:
            first.append(f"experts: {_known_and_new(self.experts_known, self.new_experts)}")
        if self.tasks_known or self.new_tasks:
            first.append(f"tasks: {_known_and_new(self.tasks_known, self.new_tasks)}")
        second = [*self._left_out(), *self.notes]
        return ["; ".join(first), *(["; ".join(second)] if second else [])]

    def _left_out(self) -> list[str]:
        found = [f"{count:,} {reason}" for reason, count in self.left_out.items()]
        found = [f"{self.duplicates:,} known already", *found] if self.duplicates else found
        parts = [f"left out: {', '.join(found)}"] if found else []
        if self.repeats:
            what = "all kept" if self.kind == "results" else "the last one counts"
            parts.append(f"{self.repeats:,} repeat an earlier row with another value ({what})")
        return parts


def _known_and_new(known: int, new: Sequence[str]) -> str:
    if not new:
        return f"{known:,} known"
    named = ", ".join(new[:_NAMED]) + (", ..." if len(new) > _NAMED else "")
    return f"{known:,} known, {len(new):,} new by name only ({named})"
