"""From a table to records: which columns hold the items, the labels and the splits, and what a row gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from expertise_graph.core import DatasetError, setting
from expertise_graph.data.dataset import Columns, Record
from expertise_graph.data.files import Skip
from expertise_graph.data.mark_columns import holds_marks, refuse_marks
from expertise_graph.data.modalities.base import Modality, known_modalities
from expertise_graph.data.split_columns import declared_splits, find_split
from expertise_graph.data.table import CLASSES, Column, DataTable, present, require_column

# Names in use for labels; the first wins over the others.
_LABEL = ("label", "class", "target", "labels", "category", "class_name", "class_label", "y")
# Columns of these names number the rows.
_ROW_NAMES = ("", "id", "idx", "index", "unnamed: 0")
# Columns of these names hold files where their cells are found to name such.
_MAY_NAME_FILES = ("id", "name", "file", "filename", "file_name", "fname", "path", "filepath", "file_path")
# Characters of the longest name of a file; longer cells of a column called image are captions or code.
_LONGEST = 256
# Cells that are looked up to find out whether a column names files.
_TRIED = 20
# Columns of tables of boxes, of which an image has several.
_BOXES = (frozenset({"xmin", "ymin", "xmax", "ymax"}), frozenset({"x_min", "y_min", "x_max", "y_max"}))


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The columns chosen for one dataset."""

    modality: str
    item: str
    label: str
    split: str | None
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> dict[str, str | None]:
        """The name of the column of each role."""
        return {self.modality: self.item, "label": self.label, "split": self.split}

    def guessed(self, columns: Columns) -> tuple[str, ...]:
        """Return the settings that would change what was guessed."""
        left = [(f"{self.modality}_column", columns.item), ("label_column", columns.label)]
        if self.split:
            left.append(("split_column", columns.split))
        return tuple(name for name, value in left if not value)


def choose_roles(table: DataTable, columns: Columns) -> Roles:
    """Choose the columns to read: those named, else the ones that alone fit.

    Raises:
        DatasetError: when a named column is not there, or the choice is not clear.
    """
    named = [columns.item, columns.label, columns.split]
    for name in named:
        require_column(table, name)
    _refuse_boxes(table)
    split, notes = find_split(table, columns)
    taken = {name for name in (*named, split) if name}
    label = columns.label or _label(table, taken)
    if label is None:
        refuse_marks(table, _left(table, taken))
    modality, item = _item(table, columns, taken=taken | {label or ""})
    if item in (columns.label, columns.split):
        raise DatasetError(f"{table.path}: column {item!r} cannot be the {modality} and something else too")
    label = label or _only_one(_left(table, taken | {item}))
    if label is None:
        raise DatasetError(_unclear(table, ["label"]))
    return Roles(modality=modality, item=item, label=label, split=split, notes=notes)


def has_label(table: DataTable) -> bool:
    """Tell whether a column holds labels by its name or type, and not only as the last one left."""
    try:
        return _label(table, set()) is not None
    except DatasetError:
        return True


def choose_item(table: DataTable, columns: Columns, modality: Modality) -> str:
    """Choose the column that holds the inputs of a modality, in a table that needs no labels.

    Raises:
        DatasetError: as `choose_roles`.
    """
    if columns.item and columns.modality in (None, modality.name):
        require_column(table, columns.item)
        return columns.item
    split, _ = find_split(table, columns)
    taken = {name for name in table.columns if name.lower() in _LABEL or name == split}
    searches = (_named_or_typed, _named_by, _only_written)
    item = next((name for search in searches if (name := search(table, modality, taken=taken))), None)
    if item is None:
        raise DatasetError(_unclear(table, [modality.name]))
    return item


def table_records(
    table: DataTable, roles: Roles, *, split: str | None, chosen: str | None = None
) -> tuple[list[Record], list[Skip]]:
    """Return a record for each row, and the rows that give none.

    Args:
        table: the rows.
        roles: its columns.
        split: of all rows, where no column says it.
        chosen: which value of the split column is which split, as of `Columns.splits`.
    """
    require_column(table, roles.item)
    rows, modality = _rows(table, roles.item), known_modalities[roles.modality]
    splits = _splits(table, roles.split, chosen) if roles.split else [split] * len(rows)
    records: list[Record] = []
    skipped = list(table.skipped)
    nameless = _without_name(table.columns[roles.label])
    labels = _class_names(table.columns[roles.label])
    for row, ((where, value), label, row_split) in enumerate(zip(rows, labels, splits, strict=True)):
        try:
            if row in nameless:
                raise DatasetError(nameless[row])
            if roles.split and row_split is None:
                raise DatasetError("its split is not train, validation or test")
            item = modality.item(value, table.finder.path)
            records.append(Record(where=where, item=item, label=label, split=row_split))
        except DatasetError as error:
            skipped.append((where, str(error)))
    return records, skipped


def item_records(table: DataTable, name: str, modality: Modality) -> tuple[list[Record], list[Skip]]:
    """Return an unlabelled record for each row, called by its text or path, and the rows that give none."""
    records: list[Record] = []
    skipped = list(table.skipped)
    for where, value in _rows(table, name):
        try:
            item = modality.item(value, table.finder.path)
        except DatasetError as error:
            skipped.append((where, str(error)))
        else:
            # An empty text would be a name that tells nobody which row it was.
            shown = where if isinstance(item, bytes) or not str(item).strip() else str(item)
            records.append(Record(where=shown, item=item, label=None))
    return records, skipped


def _rows(table: DataTable, name: str) -> list[tuple[str, object]]:
    """Return where each row is, and its value in a column."""
    values = table.columns[name].values()
    numbers = table.rows or range(1, len(values) + 1)
    return [(f"{table.path.name} row {n}", value) for n, value in zip(numbers, values, strict=True)]


def _splits(table: DataTable, name: str, chosen: str | None) -> list[str | None]:
    require_column(table, name)
    cells = [str(value) for value in _class_names(table.columns[name])]
    known = declared_splits(name, cells, chosen)
    return [known.get(cell.strip()) for cell in cells]


def _class_names(column: Column) -> list[object]:
    """Return the values, numbers of classes replaced by their names (None for those without)."""
    values = column.values()
    if column.kind != CLASSES:
        return list(values)
    known = dict(enumerate(column.names))

    def named(value: object) -> object:
        if isinstance(value, list):
            return [named(one) for one in value]
        if isinstance(value, dict) and len(value) == 1:
            return named(next(iter(value.values())))
        # A table that was written by pandas has floats where some rows have no class.
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return known.get(value) if isinstance(value, int) else value

    return [named(value) for value in values]


def _without_name(column: Column) -> dict[int, str]:
    """Return the rows, counted from 0, of a class whose number the schema does not name, and why."""
    if column.kind != CLASSES:
        return {}
    found: dict[int, str] = {}
    for row, value in enumerate(column.values()):
        held = value if isinstance(value, list) else [value]
        above = [one for one in held if isinstance(one, int | float) and one >= len(column.names)]
        if above:
            found[row] = f"no name in the schema for class {above[0]:.0f}"
    return found


def _refuse_boxes(table: DataTable) -> None:
    names = {name.lower() for name in table.columns}
    if any(boxes <= names for boxes in _BOXES):
        raise DatasetError(
            f"{table.path} lists boxes in images (xmin, ymin, ...): object detection is not supported; "
            "for classification give a row per image"
        )


def _label(table: DataTable, taken: set[str]) -> str | None:
    typed = [name for name, column in table.columns.items() if column.kind == CLASSES and name not in taken]
    return _only_one(typed) or _by_name(table, taken, names=_LABEL, what="label")


def _item(table: DataTable, columns: Columns, *, taken: set[str]) -> tuple[str, str]:
    """Return the modality of the items and their column."""
    if columns.item:
        return columns.modality or _modality_of(table, columns.item), columns.item
    names = [columns.modality] if columns.modality else list(known_modalities)
    wanted = [known_modalities[name] for name in names]
    for search in (_named_or_typed, _named_by, _only_written):
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
    if not typed:
        may = [*modality.named_by, *([] if _written_by_name(table) else _MAY_NAME_FILES)]
        return next((n for n in _left(table, taken, rows=may) if _names_files(table, n, may)), None)
    if len(typed) < 2:
        return _only_one(typed)
    others = set(table.columns) - set(typed)
    found = _by_name(table, others, names=modality.column_names, what=modality.name)
    return found or _refuse(table, typed, what=modality.name)


def _names_files(table: DataTable, name: str, may: Sequence[str]) -> bool:
    """Tell whether the cells of a column that may name files name some that are there."""
    if name.lower() not in may:
        return False
    cells = [str(value) for value in table.columns[name].values() if isinstance(value, str | int)]
    return table.finder.finds(cells[:: max(1, len(cells) // _TRIED)][:_TRIED])


def _written_by_name(table: DataTable) -> bool:
    """Tell whether a column has the name of written inputs, so that one called id only numbers them."""
    written = [known_modalities[name] for name in known_modalities if known_modalities[name].written_out]
    return any(name.lower() in modality.column_names for modality in written for name in table.columns)


def _named_by(table: DataTable, modality: Modality, *, taken: set[str]) -> str | None:
    """Return the column whose name says that it holds files of a modality, unless its cells are no names."""
    found = [n for n in table.columns if n.lower() in modality.named_by and n not in taken]
    first = min(found, key=lambda n: modality.named_by.index(n.lower()), default=None)
    return first if first and _may_be_names(table.columns[first]) else None


def _may_be_names(column: Column) -> bool:
    """Tell whether the cells of a column may be names of files: numbers, or strings without line breaks."""
    cells = [value for value in column.values() if value not in (None, "")]
    names = [
        c for c in cells if isinstance(c, int) or (isinstance(c, str) and "\n" not in c and len(c) < _LONGEST)
    ]
    return bool(cells) and 2 * len(names) > len(cells)


def _only_written(table: DataTable, modality: Modality, *, taken: set[str]) -> str | None:
    """Return the only column of strings, whatever its name."""
    if not modality.written_out:
        return None
    # In a text table marks of classes are texts, too, and nothing to learn from.
    typed = [n for n in _left(table, taken) if table.columns[n].kind == modality.name]
    return _only_one([n for n in typed if not holds_marks(table.columns[n])])


def _by_name(table: DataTable, taken: set[str], *, names: Sequence[str], what: str) -> str | None:
    found = [name for name in table.columns if name.lower() in names and name not in taken]
    first = [name for name in found if name.lower() == names[0]]
    if len(found) < 2 or len(first) == 1:
        return _only_one(first) or _only_one(found)
    return _refuse(table, found, what=what)


def _refuse(table: DataTable, found: Sequence[str], *, what: str) -> str:
    names = " or ".join(map(repr, found))
    raise DatasetError(f"{table.path}: the {what} may be {names}; name one with {_settings([what])}")


def _left(table: DataTable, taken: set[str], *, rows: Sequence[str] = ()) -> list[str]:
    """Return the columns that have no role yet; those that number the rows only where `rows` names them."""
    skipped = [name for name in _ROW_NAMES if name not in rows]
    return [name for name in table.columns if name not in taken and name.lower() not in skipped]


def _only_one(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None
