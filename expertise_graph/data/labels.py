"""Raw labels (strings, integers, booleans, floats, missing) to class names."""

from __future__ import annotations

import math
import numbers
import re
import unicodedata
from collections.abc import Iterable

import numpy as np

from expertise_graph.core import DatasetError

_INTEGER = re.compile(r"-?\d{1,18}")
_DECIMAL = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?")


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


def class_name(label: object) -> str | None:
    """Return the class that a label names, None where it is missing (None, NaN or blank).

    Raises:
        DatasetError: when it is no single label.
    """
    if label is None or (isinstance(label, numbers.Real) and math.isnan(label)):
        return None
    if isinstance(label, bool | np.bool_):
        return str(bool(label)).lower()
    if isinstance(label, numbers.Integral):
        return str(int(label))
    if isinstance(label, numbers.Real):
        return str(label) if is_fraction(label) else f"{float(label):.0f}"
    if isinstance(label, bytes):
        label = label.decode("utf-8", "replace")
    if not isinstance(label, str):
        raise DatasetError(
            f"a label must be one string or integer, not {type(label).__name__}; for several labels an "
            "item give --target labels"
        )
    return _clean(label) or None


def _clean(name: str) -> str:
    # File systems differ in how they compose accents, and store bytes that are no characters.
    name = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode("utf-8"))
    return " ".join(name.split())


def is_fraction(label: object) -> bool:
    """Tell whether a label is a number that is not whole."""
    if not isinstance(label, numbers.Real) or isinstance(label, numbers.Integral):
        return False
    return not float(label).is_integer()
