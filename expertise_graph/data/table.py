"""A table of named columns, and the records its rows stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from expertise_graph.core import DatasetError, did_you_mean
from expertise_graph.data.dataset import Item
from expertise_graph.data.files import Skip, contained
from expertise_graph.data.labels import parse_cell
from expertise_graph.data.modalities.base import known_modalities
from expertise_graph.data.records import Record, split_name

MAX_COLUMNS = 4096
Kind = Literal["image", "string", "class", "other"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column; `kind` is what its schema or its first value says, `names` those of its classes."""

    values: Callable[[], Sequence[object]]
    kind: Kind
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """The columns of one file; in an `untyped` one (CSV) every cell is a string.

    `rows` numbers the rows from one where some were skipped.
    Images given by path stand in the folder of the file and must not leave `root`.
    """

    path: Path
    root: Path
    columns: Mapping[str, Column]
    untyped: bool = False
    rows: Sequence[int] | None = None
    skipped: Sequence[Skip] = field(default_factory=tuple)


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The columns chosen for one dataset."""

    modality: Literal["image", "text"]
    item: str
    label: str
    split: str | None


def check_width(count: int, path: Path) -> None:
    """Refuse tables with more columns than any labelled dataset has."""
    if count > MAX_COLUMNS:
        raise DatasetError(f"{path} has {count:,} columns; at most {MAX_COLUMNS:,} can be read")


def check_names(names: Sequence[str], path: Path) -> None:
    """Refuse tables in which a name stands for two columns."""
    repeated = next((name for name, count in Counter(names).items() if name and count > 1), None)
    if repeated is not None:
        raise DatasetError(f"{path} has two columns called {repeated[:40]!r}; rename one")


def require_column(table: Table, name: str | None) -> None:
    """Check that a column named by the user or by another table is there.

    Raises:
        DatasetError: listing the columns present.
    """
    if name is not None and name not in table.columns:
        raise DatasetError(
            f"{table.path} has no column {name!r}; {present(table)}{did_you_mean(name, table.columns)}"
        )


def present(table: Table) -> str:
    """Return a sentence that lists the columns of `table`."""
    names = [name[:40] for name in table.columns]
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"its columns are {', '.join(names[:20])}{more}."


def kind_of(value: object) -> Kind:
    """Return what a column whose first value is `value` may hold."""
    if isinstance(value, bytes) or (isinstance(value, dict) and "bytes" in value):
        return "image"
    if not isinstance(value, str):
        return "other"
    is_image = PurePath(value).suffix.lower() in known_modalities["image"].suffixes and "://" not in value
    return "image" if is_image and "\n" not in value else "string"


def table_records(table: Table, roles: Roles, *, split: str | None) -> tuple[list[Record], list[Skip]]:
    """Return a record for each row, and the rows that give none."""
    require_column(table, roles.item)
    values = table.columns[roles.item].values()
    labels = _labels(table, roles.label)
    splits = _splits(table, roles.split) if roles.split else [split] * len(values)
    records: list[Record] = []
    skipped = list(table.skipped)
    rows = table.rows or range(1, len(values) + 1)
    for number, value, label, row_split in zip(rows, values, labels, splits, strict=True):
        where = f"{table.path.name} row {number}"
        try:
            if roles.split and row_split is None:
                raise DatasetError("its split is not train, validation or test")
            item = _image(value, table) if roles.modality == "image" else _text(value)
        except DatasetError as error:
            skipped.append((where, str(error)))
        else:
            records.append(Record(where=where, item=item, label=label, split=row_split))
    return records, skipped


def item_records(table: Table, name: str, modality: str) -> tuple[list[Record], list[Skip]]:
    """Return an unlabelled record for each row, called by its text or path, and the rows that give none."""
    values = table.columns[name].values()
    records: list[Record] = []
    skipped = list(table.skipped)
    for number, value in zip(table.rows or range(1, len(values) + 1), values, strict=True):
        where = f"{table.path.name} row {number}"
        try:
            item = _image(value, table) if modality == "image" else _text(value)
        except DatasetError as error:
            skipped.append((where, str(error)))
        else:
            shown = where if isinstance(item, bytes) else str(item)
            records.append(Record(where=shown, item=item, label=None))
    return records, skipped


def _labels(table: Table, name: str) -> list[object]:
    column = table.columns[name]
    labels = _named(column)
    return [parse_cell(str(label)) for label in labels] if table.untyped else labels


def _splits(table: Table, name: str) -> list[str | None]:
    require_column(table, name)
    return [split_name(str(value)) for value in _named(table.columns[name])]


def _named(column: Column) -> list[object]:
    """Return the values, numbers of classes replaced by their names (None for those without)."""
    values = column.values()
    if column.kind != "class":
        return list(values)
    known = dict(enumerate(column.names))
    return [known.get(value) if isinstance(value, int) else value for value in values]


def _text(value: object) -> Item:
    if isinstance(value, str):
        return value
    raise DatasetError("no text" if value is None else f"not a text but {type(value).__name__}")


def _image(value: object, table: Table) -> Item:
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    if isinstance(value, str) and value:
        return contained(value, table.path.parent, root=table.root)
    raise DatasetError("no image" if not value else f"not an image but {type(value).__name__}")


def columns_from_rows(names: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[tuple[str, Column]]:
    """Yield the columns of rows that are all as long as `names`."""
    for position, name in enumerate(names):
        first = next((row[position] for row in rows if row[position] not in (None, "")), None)
        yield name, Column(values=_Picked(rows, position), kind=kind_of(first))


@dataclass(frozen=True)
class _Picked:
    rows: Sequence[Sequence[object]]
    position: int

    def __call__(self) -> list[object]:
        return [row[self.position] for row in self.rows]
