"""Raw labels (strings, integers, booleans, floats, missing) to class names."""

from __future__ import annotations

import math
import numbers
import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from expertise_graph.errors import DatasetError

_INTEGER = re.compile(r"-?\d{1,18}")
_DECIMAL = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?")


def class_names(labels: Sequence[object]) -> list[str | None]:
    """Return the class name of each label, None where it is missing (None, NaN or blank).

    Raises:
        DatasetError: when the labels are measurements, or several to an item.
    """
    names = [_name(label) for label in labels]
    present = [label for label, name in zip(labels, names, strict=True) if name is not None]
    fraction = next((label for label in present if _is_fraction(label)), None)
    if fraction is not None and all(isinstance(label, numbers.Real) for label in present):
        raise DatasetError(
            f"the labels are measurements such as {fraction}; regression is not possible yet, "
            "give a column of classes"
        )
    return names


def parse_cell(cell: str) -> object:
    """Return the label that a cell of an untyped table means.

    Only decimals are read as numbers: an identifier such as 007 is a name.

    Example:
        >>> parse_cell("007"), parse_cell("2.0"), parse_cell(" NaN ")
        ('007', 2.0, None)
    """
    cell = cell.strip()
    if cell.lower() in ("", "nan"):
        return None
    return float(cell) if _DECIMAL.fullmatch(cell) else cell


def sorted_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct names, by value when all of them are integers.

    Example:
        >>> sorted_classes(["10", "9", "9"]), sorted_classes(["b", "10", "9"])
        (('9', '10'), ('10', '9', 'b'))
    """
    distinct = set(names)
    if all(_INTEGER.fullmatch(name) for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    return tuple(sorted(distinct))


def _name(label: object) -> str | None:
    if label is None or (isinstance(label, numbers.Real) and math.isnan(label)):
        return None
    if isinstance(label, bool | np.bool_):
        return str(bool(label)).lower()
    if isinstance(label, numbers.Integral):
        return str(int(label))
    if isinstance(label, numbers.Real):
        return str(label) if _is_fraction(label) else f"{float(label):.0f}"
    if isinstance(label, bytes):
        label = label.decode("utf-8", "replace")
    if not isinstance(label, str):
        raise DatasetError(
            f"a label must be one string or integer, not {type(label).__name__}; "
            "several labels an item are not possible yet"
        )
    return _clean(label) or None


def _clean(name: str) -> str:
    # File systems differ in how they compose accents, and store bytes that are no characters.
    name = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode("utf-8"))
    return " ".join(name.split())


def _is_fraction(label: object) -> bool:
    if not isinstance(label, numbers.Real) or isinstance(label, numbers.Integral):
        return False
    return not float(label).is_integer()
