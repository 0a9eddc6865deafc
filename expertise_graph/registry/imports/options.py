"""What is asked of an import, and what it reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from expertise_graph.core import count

AUTO, PERCENT, FRACTION = "auto", "percent", "fraction"

# New nodes that a report names.
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What holds for every import.

    Attributes:
        columns: which column has which role, where it is not called so: `{"expert": "model"}`.
        ignore: columns to leave out.
        wide: one column for each task (history) or estimator (scores), instead of one row.
        modality: of the experts and tasks that are new; by default that of the known ones.
        skip_invalid: leave out and count rows that cannot be read, instead of refusing the file.
        dry_run: check everything, and write nothing.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    wide: bool = False
    modality: str | None = None
    skip_invalid: bool = False
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class HistoryOptions(ImportOptions):
    """How a table of results is to be read.

    Attributes:
        metric: of all rows, instead of a column; of an export the name of the metric to read.
        task: of all rows, instead of a column.
        source: the tool that exported the table, see `exports`, or `table`; by default told by the columns.
        unit: of accuracies and the like: fraction, percent, or auto.
        lower_is_better: metrics of which a lower value is better.
        higher_is_better: metrics whose name suggests otherwise, and of which a higher one is.
    """

    metric: str | None = None
    task: str | None = None
    source: str | None = None
    unit: str = AUTO
    lower_is_better: tuple[str, ...] = ()
    higher_is_better: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(ImportOptions):
    """How a table of scores is to be read; `rename` gives estimators another name."""

    rename: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DistanceOptions(ImportOptions):
    """How a table of distances is to be read; `method` says what kind of distance it is."""

    method: str = "imported"


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
        first = [f"{self.file}: {count(self.rows, 'row')}, {self.added:,} {self.kind} {done}"]
        if self.experts_known or self.new_experts:
            first.append(f"experts: {_known_and_new(self.experts_known, self.new_experts)}")
        if self.tasks_known or self.new_tasks:
            first.append(f"tasks: {_known_and_new(self.tasks_known, self.new_tasks)}")
        second = [*self._left_out(), *self.notes]
        return ["; ".join(first), *(["; ".join(second)] if second else [])]

    def _left_out(self) -> list[str]:
        reasons = [f"{number:,} {reason}" for reason, number in self.left_out.items()]
        reasons = [f"{self.duplicates:,} known already", *reasons] if self.duplicates else reasons
        parts = [f"left out: {', '.join(reasons)}"] if reasons else []
        if self.repeats:
            what = "all kept" if self.kind == "results" else "the last one counts"
            parts.append(f"{self.repeats:,} repeat an earlier row with another value ({what})")
        return parts


def _known_and_new(known: int, new: Sequence[str]) -> str:
    if not new:
        return f"{known:,} known"
    named = ", ".join(new[:_NAMED]) + (", ..." if len(new) > _NAMED else "")
    return f"{known:,} known, {len(new):,} new by name only ({named})"
