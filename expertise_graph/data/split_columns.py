"""Columns of a table that say which split a row is of."""

from __future__ import annotations

import re
from collections.abc import Sequence

from expertise_graph.core import listed
from expertise_graph.data.dataset import Columns
from expertise_graph.data.splits import chosen_splits, split_role, which_is_which
from expertise_graph.data.table import DataTable

_NAMES = ("split", "partition", "subset", "set", "data_split", "dataset_split", "phase", "usage")
# A column is_valid or is_test is true for the rows of that split.
_IS_SPLIT = re.compile(r"is[_ ]?(train|training|valid|validation|val|dev|test)", re.IGNORECASE)
_TRUTH = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
# A column of splits has few values; one of ids has many.
_MOST_VALUES = 12


def find_split(table: DataTable, columns: Columns) -> tuple[str | None, tuple[str, ...]]:
    """Return the column that says the split of a row, if there is one, and what is to be said about it."""
    if chosen_splits(columns.splits) == {}:
        return None, ()
    if columns.split:
        return columns.split, ()
    named = [name for name in table.columns if name.lower() in _NAMES or _IS_SPLIT.fullmatch(name)]
    if len(named) != 1:
        return None, ()
    cells = [str(value) for value in table.columns[named[0]].values()]
    known = declared_splits(named[0], cells, columns.splits)
    values = list(dict.fromkeys(cell.strip() for cell in cells if cell.strip()))
    if len(set(known.values())) > 1 or set(values) <= set(known) or (known and columns.splits):
        return (named[0], ()) if values else (None, ())
    if named[0].lower() not in _NAMES[:3] or not 1 < len(values) <= _MOST_VALUES:
        return None, ()
    note = (
        f"column {named[0]!r} has the values {listed(values, 3)}, which do not tell a split: "
        f"{which_is_which(values)} to say that there are none"
    )
    return None, (note,)


def declared_splits(name: str, cells: Sequence[str], chosen: str | None) -> dict[str, str]:
    """Return the split that each value of a column stands for, without the values that stand for none."""
    said = chosen_splits(chosen)
    if said:
        return said
    values = {cell.strip() for cell in cells} - {""}
    if (match := _IS_SPLIT.fullmatch(name)) and all(value.lower() in _TRUTH for value in values):
        meant = split_role(match[1]) or "train"
        other = "test" if meant == "train" else "train"
        return {value: meant if _TRUTH[value.lower()] else other for value in values}
    return {value: split for value in values if (split := split_role(value))}
