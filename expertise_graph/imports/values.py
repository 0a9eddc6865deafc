"""Numbers and names in the cells of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

MISSING = frozenset({"", "nan", "null", "none", "na", "n/a", "-"})
"""What stands for no value where a value may be missing, in lower case."""


def number(text: str) -> float | None:
    """Return the finite number that `text` is, else None.

    Example:
        >>> number(" 0.5 "), number("1_000"), number("nan"), number("82 %")
        (0.5, None, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def whole(text: str) -> int | None:
    """Return the whole number that `text` is, also written as 5.0, else None."""
    value = number(text)
    return int(value) if value is not None and value == int(value) else None


def cell(row: Sequence[str], place: int | None) -> str:
    """Return the text at `place` without spaces around it; none for a column that is not there."""
    return "" if place is None else row[place].strip()
