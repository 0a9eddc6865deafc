"""Texts that people read: numbers with units, nouns with numbers, names cut to fit, names of settings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

# English nouns of this package whose plural is not formed with -s.
_PLURALS = {
    "axis": "axes",
    "class": "classes",
    "copy": "copies",
    "entry": "entries",
    "fine-tuned child": "fine-tuned children",
    "match": "matches",
    "process": "processes",
}

# Name and, after "=", value of a setting, as `setting` writes them.
_SETTING = re.compile(r"`([a-z][a-z_]*)(?:=([^`]*))?`")


def count(n: int, noun: str) -> str:
    """Return a number with its noun in singular or plural.

    Example:
        >>> count(1, "item"), count(1200, "item"), count(2, "class")
        ('1 item', '1,200 items', '2 classes')
    """
    return f"{n:,} {noun if n == 1 else _PLURALS.get(noun, noun + 's')}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, and how many more there are.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def shorten(text: str, length: int) -> str:
    """Return a text cut to `length` characters; of a path the end is kept, as it tells items apart.

    Example:
        >>> shorten("a/b/cdef.png", 10), shorten("one of many", 7)
        ('...def.png', 'one ...')
    """
    if len(text) <= length:
        return text
    return f"...{text[3 - length :]}" if "/" in text and " " not in text else f"{text[: length - 3]}..."


def compact_number(number: float) -> str:
    """Return a number with a decimal prefix, to one decimal.

    Example:
        >>> compact_number(22_713_728), compact_number(497_120), compact_number(12)
        ('22.7M', '497.1k', '12')
    """
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{suffix}"
    return str(int(number))


def exact_number(number: int) -> str:
    """Return a whole number as it is typed: with a decimal prefix where that loses nothing.

    Example:
        >>> exact_number(25_000_000), exact_number(1_500_000), exact_number(1_234_567)
        ('25M', '1.5M', '1234567')
    """
    for suffix, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size and round(float(f"{number / size:.4g}") * size) == number:
            return f"{number / size:.4g}{suffix}"
    return str(number)


def byte_size(size: float) -> str:
    """Return a size in bytes with its decimal unit.

    Example:
        >>> byte_size(90_868_376), byte_size(512)
        ('90.9 MB', '512 B')
    """
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= limit:
            return f"{size / limit:.1f} {unit}"
    return f"{int(size)} B"


def duration(seconds: float) -> str:
    """Return a time in the unit people use for it.

    Example:
        >>> duration(0.25), duration(8.2), duration(180), duration(5400)
        ('0.2 s', '8 s', '3 min', '1.5 h')
    """
    for limit, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * limit:
            return f"{seconds / limit:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.1f} s" if seconds < 5 else f"{seconds:.0f} s"


def percent(share: float) -> str:
    """Return a share as a whole percentage.

    Example:
        >>> percent(0.125)
        '12 %'
    """
    return f"{100 * share:.0f} %"


def printable(text: str) -> str:
    """Return `text` without characters that control a terminal or the direction of writing."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text)


def inline(text: str) -> str:
    """Return `text` so that it cannot break out of a line, a table cell or a code span of Markdown."""
    return " ".join(printable(text).replace("|", "/").replace("`", "'").split())


def setting(name: str, value: object = None) -> str:
    """Return the name of a setting, and a value to give it, as messages write it.

    Messages name settings as Python callers know them; a face of the program, such as the command line,
    puts its own form in with `with_settings`.

    Example:
        >>> f"choose another {setting('out')}, or set {setting('max_params', '25M')}"
        'choose another `out`, or set `max_params=25M`'
    """
    return f"`{name}`" if value is None else f"`{name}={value}`"


def with_settings(message: str, form: Callable[[str, str | None], str]) -> str:
    """Return a message whose settings are written as `form(name, value or None)` says.

    Example:
        >>> def shouted(name, value):
        ...     return name.upper() if value is None else f"{name.upper()} {value}"
        >>> with_settings("choose another `out`, or set `budget=4`", shouted)
        'choose another OUT, or set BUDGET 4'
    """
    return _SETTING.sub(lambda found: form(found[1], found[2]), message)
