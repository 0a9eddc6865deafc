"""How a table is to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

AUTO, PERCENT, FRACTION = "auto", "percent", "fraction"
UNITS = (AUTO, PERCENT, FRACTION)


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
        metric: of all rows, instead of a column.
        unit: of accuracies and the like: fraction, percent, or auto.
        lower_is_better: metrics of which a lower value is better.
        higher_is_better: metrics whose name suggests otherwise, and of which a higher one is.
    """

    metric: str | None = None
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
