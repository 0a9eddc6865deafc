"""Numbers as people and tools write them: 93,1; 1.234,5; 1,013.01; 93.1%; 93.1 ± .4."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MISSING = frozenset(
    {
        "",
        "nan",
        "null",
        "none",
        "na",
        "n/a",
        "-",
        "--",
        "\u2013",
        "\u2014",
        "<na>",
        "#n/a",
        "#div/0!",
        "#value!",
    }
)
"""What stands for no value where a value may be missing, in lower case."""

MOST_SEED = 2**32 - 1
"""Seeds of numpy and scikit-learn are unsigned 32-bit integers."""

# Nothing that is measured is so large, and squares of squares of larger numbers overflow.
_LARGEST = 1e30

# Spaces and apostrophes that stand between groups of three digits.
_BETWEEN = "'\u2019 \u00a0\u2009\u202f"
_DIGITS = rf"[+-]?(?:\d[\d.,{_BETWEEN}]*|[.,]\d+)(?:[eE][+-]?\d+)?"
_NUMBER = re.compile(
    rf"(?P<value>{_DIGITS})\s*(?P<percent>%?)"
    rf"(?P<deviation>\s*(?:\u00b1|\+/-|\+-|\\pm)\s*{_DIGITS}\s*%?|\s*\(\s*\u00b1?\s*{_DIGITS}\s*%?\s*\))?"
    r"\s*(?P<after>%?)"
)


def number(text: str) -> float | None:
    """Return the finite number that `text` is, in percent if it says so, else None.

    One beyond 1e30 counts as infinite.

    Example:
        >>> number(" 0.5 "), number("1_000"), number("nan"), number("82%"), number("1e300")
        (0.5, None, None, 82.0, None)
    """
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        return None
    return value if abs(value) <= _LARGEST and "_" not in text else None


def whole(text: str) -> int | None:
    """Return the whole number that `text` is, also written as 5.0, else None."""
    value = number(text)
    return int(value) if value is not None and value == int(value) else None


@dataclass(frozen=True)
class Marks:
    """What tells the decimal mark of some numbers: a cell that only a point fits, and one that a comma.

    Attributes:
        point: e.g. 0.93 or 1,013.01.
        comma: e.g. 0,93 or 1.013,01.
        either: with a comma that may stand before decimals or thousands, e.g. 1,234.
    """

    point: str | None = None
    comma: str | None = None
    either: str | None = None

    def decimal(self, usual: str) -> str:
        """Return the decimal mark, `usual` where nothing tells."""
        return "." if self.point and not self.comma else "," if self.comma and not self.point else usual


def marks_of(texts: Iterable[str]) -> Marks:
    """Return what tells the decimal mark of some cells.

    Example:
        >>> marks_of(["0,93", "1,234", "x"])
        Marks(point=None, comma='0,93', either='1,234')
    """
    found: dict[str, str] = {}
    for text in texts:
        match = _NUMBER.fullmatch(_clean(text))
        if match is not None:
            found.setdefault(_kind(match["value"]), text)
    return Marks(point=found.get("."), comma=found.get(","), either=found.get("?"))


def _kind(value: str) -> str:
    """Return the decimal mark of a number, a question mark for a comma that may be either, else nothing."""
    digits = re.split("[eE]", value)[0].lstrip("+-")
    last = max(digits.rfind("."), digits.rfind(","))
    if last < 0:
        return ""
    mark, other = digits[last], "," if digits[last] == "." else "."
    if other in digits:
        return mark
    if digits.count(mark) > 1:
        return other
    before, after = digits[:last], digits[last + 1 :]
    if len(after) == 3 and re.fullmatch("[1-9][0-9]{0,2}", before):
        return "?" if mark == "," else ""
    return mark


def _clean(text: str) -> str:
    return text.strip().strip("*`$ ").replace("\u2212", "-")


@dataclass
class Read:
    """Cells of numbers in Python's form, and how many had a deviation that was left out."""

    texts: list[str]
    deviations: int = 0


def plain(texts: Sequence[str], decimal: str) -> Read:
    """Return cells with their numbers in Python's form, a percent sign kept; other cells as they are.

    Example:
        >>> plain(["1.234,5", "93,1 ± ,4 %", "oom"], ",").texts
        ['1234.5', '93.1%', 'oom']
    """
    read = Read([])
    for text in texts:
        match = _NUMBER.fullmatch(_clean(text))
        value = None if match is None else _python(match["value"], decimal)
        if match is None or value is None:
            read.texts.append(text)
            continue
        percent = match["percent"] or match["after"] or "%" in (match["deviation"] or "")
        read.deviations += bool(match["deviation"])
        read.texts.append(f"{value}%" if percent else value)
    return read


def _python(value: str, decimal: str) -> str | None:
    """Return a number as Python writes it; None where its groups are not of three digits."""
    mantissa, exponent = re.fullmatch(r"(.*?)([eE][+-]?\d+)?", value, re.DOTALL).groups("")  # type: ignore[union-attr]
    whole_part, mark, decimals = mantissa.strip(_BETWEEN).partition(decimal)
    between = f"[{_BETWEEN}{'.' if decimal == ',' else ','}]"
    grouped = re.fullmatch(rf"([+-]?)(\d*|\d{{1,3}}(?:{between}\d{{3}})+)", whole_part)
    if grouped is None or (decimals and not decimals.isdigit()):
        return None
    return grouped[1] + re.sub(between, "", grouped[2]) + ("." + decimals if mark else "") + exponent
