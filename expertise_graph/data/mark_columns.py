"""Tables with a column of 0 and 1 for each class, where one column of labels is needed."""

from __future__ import annotations

from collections.abc import Sequence

from expertise_graph.core import DatasetError, listed, setting
from expertise_graph.data.modalities.base import known_modalities
from expertise_graph.data.table import Column, DataTable

# Whether an item has the class of the column; numbers as programs write them.
_MARKS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


def refuse_marks(table: DataTable, left: Sequence[str]) -> None:
    """Refuse a table in which two or more of the columns without a role mark which classes an item has.

    Reading them would mean to guess whether they are classes, several labels, or features of the items.

    Args:
        table: without a column that is known to hold the labels.
        left: its columns without a role.

    Raises:
        DatasetError: naming the columns and how to write them.
    """
    inputs = {name for kind in known_modalities for name in known_modalities[kind].column_names}
    marks = {
        name: row for name in left if (row := _marks(table.columns[name])) and name.lower() not in inputs
    }
    if len(marks) < 2:
        return
    what = f"{table.path}: the columns {listed(list(marks))} hold 0 and 1"
    alone = f"or name one of them with {setting('label_column')} to learn it alone"
    if all(sum(row) == 1 for row in zip(*marks.values(), strict=True)):
        raise DatasetError(
            f"{what} with one 1 in each row (one-hot): write the name of its column into one column called "
            f"label, {alone}"
        )
    raise DatasetError(
        f"{what}, a mark for each label: write the names of those with a 1 into one column called label, "
        f"separated by ';', and set {setting('target', 'labels')}, {alone}"
    )


def holds_marks(column: Column) -> bool:
    """Tell whether a column says of each item whether it has a class."""
    return _marks(column) is not None


def _marks(column: Column) -> list[bool] | None:
    """Return which items a column marks, None where it holds anything else, or marks all or none."""
    for cells in (column.peek, column.values):
        # A few cells tell nearly all other columns from marks, and pictures need not be loaded.
        found = [_MARKS.get(str(cell).strip().lower()) for cell in cells()] if cells else []
        if None in found:
            return None
    marks = [bool(mark) for mark in found]
    return marks if len(set(marks)) == 2 else None
