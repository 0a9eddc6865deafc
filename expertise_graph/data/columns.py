"""From a table to records: which columns hold the items, the labels and the splits, and what a row gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from expertise_graph.core import DatasetError, setting
from expertise_graph.data.dataset import Columns, Item, Record, split_name
from expertise_graph.data.files import Skip, contained
from expertise_graph.data.modalities.base import Modality, known_modalities
from expertise_graph.data.table import CLASSES, Column, DataTable, present, require_column
from expertise_graph.data.targets import parse_cell

# Names in use for labels and splits; the first of each wins over the others.
_LABEL = ("label", "class", "target", "labels", "category", "class_name", "class_label", "y")
_SPLIT = ("split", "partition", "subset")
# Columns of these names number the rows.
_ROW_NAMES = ("", "id", "idx", "index", "unnamed: 0")


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The columns chosen for one dataset."""

    modality: str
    item: str
    label: str
    split: str | None


def choose_roles(table: DataTable, columns: Columns) -> Roles:
    """Choose the columns to read: those named, else the ones that alone fit.

    Raises:
        DatasetError: when a named column is not there, or the choice is not clear.
    """
    named = [columns.item, columns.label, columns.split]
    for name in named:
        require_column(table, name)
    split = columns.split or _split(table)
    taken = {name for name in (*named, split) if name}
    label = columns.label or _label(table, taken)
    modality, item = _item(table, columns, taken=taken | {label or ""})
    if item in (columns.label, columns.split):
        raise DatasetError(f"{table.path}: column {item!r} cannot be the {modality} and something else too")
    label = label or _only_one(_left(table, taken | {item}))
    if label is None:
        raise DatasetError(_unclear(table, ["label"]))
    return Roles(modality=modality, item=item, label=label, split=split)


def choose_item(table: DataTable, columns: Columns, modality: Modality) -> str:
    """Choose the column that holds the inputs of a modality, in a table that needs no labels.

    Raises:
        DatasetError: as `choose_roles`.
    """
    if columns.item and columns.modality in (None, modality.name):
        require_column(table, columns.item)
        return columns.item
    taken = {name for name in table.columns if name.lower() in (*_LABEL, *_SPLIT)}
    item = _named_or_typed(table, modality, taken=taken) or _only_written(table, modality, taken=taken)
    if item is None:
        raise DatasetError(_unclear(table, [modality.name]))
    return item


def table_records(table: DataTable, roles: Roles, *, split: str | None) -> tuple[list[Record], list[Skip]]:
    """Return a record for each row, and the rows that give none."""
    require_column(table, roles.item)
    rows, modality = _rows(table, roles.item), known_modalities[roles.modality]
    splits = _splits(table, roles.split) if roles.split else [split] * len(rows)
    records: list[Record] = []
    skipped = list(table.skipped)
    for (where, value), label, row_split in zip(rows, _labels(table, roles.label), splits, strict=True):
        try:
            if roles.split and row_split is None:
                raise DatasetError("its split is not train, validation or test")
            records.append(
                Record(where=where, item=_opened(table, value, modality), label=label, split=row_split)
            )
        except DatasetError as error:
            skipped.append((where, str(error)))
    return records, skipped


def item_records(table: DataTable, name: str, modality: Modality) -> tuple[list[Record], list[Skip]]:
    """Return an unlabelled record for each row, called by its text or path, and the rows that give none."""
    records: list[Record] = []
    skipped = list(table.skipped)
    for where, value in _rows(table, name):
        try:
            item = _opened(table, value, modality)
        except DatasetError as error:
            skipped.append((where, str(error)))
        else:
            shown = where if isinstance(item, bytes) else str(item)
            records.append(Record(where=shown, item=item, label=None))
    return records, skipped


def _rows(table: DataTable, name: str) -> list[tuple[str, object]]:
    """Return where each row is, and its value in a column."""
    values = table.columns[name].values()
    numbers = table.rows or range(1, len(values) + 1)
    return [(f"{table.path.name} row {n}", value) for n, value in zip(numbers, values, strict=True)]


def _opened(table: DataTable, value: object, modality: Modality) -> Item:
    return modality.item(value, lambda name: contained(name, table.path.parent, root=table.root))


def _labels(table: DataTable, name: str) -> list[object]:
    labels = _class_names(table.columns[name])
    return [parse_cell(str(label)) for label in labels] if table.untyped else labels


def _splits(table: DataTable, name: str) -> list[str | None]:
    require_column(table, name)
    return [split_name(str(value)) for value in _class_names(table.columns[name])]


def _class_names(column: Column) -> list[object]:
    """Return the values, numbers of classes replaced by their names (None for those without)."""
    values = column.values()
    if column.kind != CLASSES:
        return list(values)
    known = dict(enumerate(column.names))
    return [known.get(value) if isinstance(value, int) else value for value in values]


def _split(table: DataTable) -> str | None:
    name = _only_one([name for name in table.columns if name.lower() in _SPLIT])
    if name is None:
        return None
    values = table.columns[name].values()
    return name if values and all(split_name(str(value)) for value in values) else None


def _label(table: DataTable, taken: set[str]) -> str | None:
    typed = [name for name, column in table.columns.items() if column.kind == CLASSES and name not in taken]
    return _only_one(typed) or _by_name(table, taken, names=_LABEL, what="label")


def _item(table: DataTable, columns: Columns, *, taken: set[str]) -> tuple[str, str]:
    """Return the modality of the items and their column."""
    if columns.item:
        return columns.modality or _modality_of(table, columns.item), columns.item
    names = [columns.modality] if columns.modality else list(known_modalities)
    wanted = [known_modalities[name] for name in names]
    for search in (_named_or_typed, _only_written):
        fitting = [(m, column) for m in wanted if (column := search(table, m, taken=taken))]
        if len(fitting) > 1:
            both = " and ".join(f"{m.plural} ({column!r})" for m, column in fitting)
            settings = _settings([modality.name for modality, _ in fitting])
            raise DatasetError(f"{table.path} has both {both}; name the column to learn from with {settings}")
        if fitting:
            return fitting[0][0].name, fitting[0][1]
    raise DatasetError(_unclear(table, names))


def _unclear(table: DataTable, roles: Sequence[str]) -> str:
    return (
        f"{table.path}: no column is clearly the {' or the '.join(roles)}; name one with {_settings(roles)}; "
        f"{present(table)}"
    )


def _settings(roles: Sequence[str]) -> str:
    return " or ".join(setting(f"{role}_column") for role in roles)


def _modality_of(table: DataTable, name: str) -> str:
    kind = table.columns[name].kind
    if kind not in known_modalities:
        raise DatasetError(
            f"{table.path}: column {name!r} does not show what it holds; "
            f"say which modality: {', '.join(known_modalities)}"
        )
    return kind


def _named_or_typed(table: DataTable, modality: Modality, *, taken: set[str]) -> str | None:
    """Return the column whose type, or for strings whose name, is that of a modality."""
    if modality.written_out:
        return _by_name(table, taken, names=modality.column_names, what=modality.name)
    typed = [n for n, column in table.columns.items() if column.kind == modality.name and n not in taken]
    if len(typed) < 2:
        return _only_one(typed)
    others = set(table.columns) - set(typed)
    found = _by_name(table, others, names=modality.column_names, what=modality.name)
    return found or _refuse(table, typed, what=modality.name)


def _only_written(table: DataTable, modality: Modality, *, taken: set[str]) -> str | None:
    """Return the only column of strings, whatever its name."""
    if not modality.written_out:
        return None
    return _only_one([n for n in _left(table, taken) if table.columns[n].kind == modality.name])


def _by_name(table: DataTable, taken: set[str], *, names: Sequence[str], what: str) -> str | None:
    found = [name for name in table.columns if name.lower() in names and name not in taken]
    first = [name for name in found if name.lower() == names[0]]
    if len(found) < 2 or len(first) == 1:
        return _only_one(first) or _only_one(found)
    return _refuse(table, found, what=what)


def _refuse(table: DataTable, found: Sequence[str], *, what: str) -> str:
    names = " or ".join(map(repr, found))
    raise DatasetError(f"{table.path}: the {what} may be {names}; name one with {_settings([what])}")


def _left(table: DataTable, taken: set[str]) -> list[str]:
    return [name for name in table.columns if name not in taken and name.lower() not in _ROW_NAMES]


def _only_one(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None
