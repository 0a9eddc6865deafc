"""Numbers and names in the cells of a table."""

from __future__ import annotations

from collections.abc import Sequence

MISSING = frozenset({"", "nan", "null", "none", "na", "n/a", "-"})
"""What stands for no value where a value may be missing, in lower case."""

_LARGEST = 1e30


def number(text: str) -> float | None:
    """Return the finite number that `text` is, else None; one beyond 1e30 counts as infinite.

    Nothing that is measured is so large, and squares of squares of it would overflow.

    Example:
        >>> number(" 0.5 "), number("1_000"), number("nan"), number("82 %"), number("1e300")
        (0.5, None, None, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= _LARGEST and "_" not in text else None


def whole(text: str) -> int | None:
    """Return the whole number that `text` is, also written as 5.0, else None."""
    value = number(text)
    return int(value) if value is not None and value == int(value) else None


def cell(row: Sequence[str], place: int | None) -> str:
    """Return the text at `place` without spaces around it; none for a column that is not there."""
    return "" if place is None else row[place].strip()
