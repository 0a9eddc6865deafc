"""Labels in lists: as programs write them out, lists that hold one label each, and vectors that are none."""

from __future__ import annotations

import ast
import json
import numbers
import re
import warnings
from collections.abc import Sequence

import numpy as np

from expertise_graph.core import DatasetError

# A cell of a list is parsed by Python's and JSON's own readers, which take quadratic time and deep stacks.
_LONGEST_LIST = 100_000
_BRACKETS = {"[": "]", "(": ")", "{": "}"}
# Lists as numpy prints them: quoted texts or bare words without commas.
_NUMPY = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s'\"\[\](){},]+")
# A number in them that is no text, as those are quoted.
_BARE_NUMBER = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# Whether an item has a class, as a vector says it for each.
_MARKS = {"0": False, "1": True, "0.0": False, "1.0": True, "False": False, "True": True}
# Characters of a list that a message repeats.
_SHOWN = 60


def is_list(cell: object) -> bool:
    """Tell whether a cell holds several labels by its type."""
    return isinstance(cell, list | tuple | np.ndarray)


def is_nan(cell: object) -> bool:
    """Tell whether a cell is NaN, of whichever type; whole numbers may be too large for a float."""
    return isinstance(cell, numbers.Real) and bool(cell != cell)


def written_lists(cells: Sequence[object]) -> list[object] | None:
    """Return the cells with lists that are written out parsed, None unless all that are there are such."""
    texts = [cell for cell in cells if isinstance(cell, str)]
    if not texts or any(cell is not None and not isinstance(cell, str) for cell in cells):
        return None
    if not all(_BRACKETS.get(text.strip()[:1]) == text.strip()[-1:] for text in texts):
        return None
    parsed: list[object] = [None if cell is None else parse_list(str(cell)) for cell in cells]
    return (
        None
        if any(one is None and cell is not None for one, cell in zip(parsed, cells, strict=True))
        else parsed
    )


def only_labels(lists: Sequence[object]) -> list[object] | None:
    """Return the one label that each list holds, or None where some list holds none or several.

    Cells without a list stay None.

    Example:
        >>> only_labels([["law"], None, ["art"]]), only_labels([["law"], []])
        (['law', None, 'art'], None)
    """
    held = [None if cell is None else _held(cell) for cell in lists]
    if any(cell is not None and (len(cell) != 1 or not _is_label(cell[0])) for cell in held):
        return None
    return [None if cell is None else cell[0] for cell in held]


def refuse_vectors(lists: Sequence[object]) -> None:
    """Refuse lists with a number for each class: read as lists of labels, their labels would be 0 and 1.

    Raises:
        DatasetError: saying what they are and how to write them.
    """
    held = [_held(cell) for cell in lists if cell is not None]
    length = len(held[0])
    if length < 2 or any(len(cell) != length or not all(map(_is_label, cell)) for cell in held):
        return
    what = f"the labels are vectors of {length:,} numbers, such as {str(held[0])[:_SHOWN]}: "
    ones = [[_MARKS.get(str(one)) for one in cell] for cell in held]
    # Lists of the labels 0 and 1 name neither twice, as vectors do.
    if all(None not in cell for cell in ones) and any(len(set(cell)) < length for cell in ones):
        if all(sum(map(bool, cell)) == 1 for cell in ones):
            raise DatasetError(f"{what}give the name or number of the class that the 1 stands for (one-hot)")
        raise DatasetError(f"{what}give lists of the names of the labels that the ones stand for")
    numeric = all(isinstance(one, numbers.Real) for cell in held for one in cell)
    if numeric and any(isinstance(one, float) and not one.is_integer() for cell in held for one in cell):
        raise DatasetError(f"{what}give one class, a list of labels, or one value for each item")


def parse_list(text: str) -> list[object] | None:
    """Return the labels of a list, tuple or set as Python, JSON or numpy write them, None for other texts.

    Example:
        >>> parse_list("['law', 'sport']"), parse_list('["law"]'), parse_list("['a' 'b']")
        (['law', 'sport'], ['law'], ['a', 'b'])
        >>> parse_list("[1 2]"), parse_list("[.5 1.]"), parse_list("[]"), parse_list("law")
        (['1', '2'], [0.5, 1.0], [], None)
    """
    text = text.strip()
    if len(text) > _LONGEST_LIST or _BRACKETS.get(text[:1]) != text[-1:]:
        return None
    words = _NUMPY.findall(text[1:-1])
    if "," in _NUMPY.sub("", text) or not words:
        return _parsed(text)
    # Without commas Python would join neighbouring strings to one.
    return [float(word) if _BARE_NUMBER.fullmatch(word) else _unquoted(word) for word in words]


def written_value(text: str) -> object:
    """Return what a text writes out in JSON or as Python does, None where it is neither, or too long."""
    if len(text) > _LONGEST_LIST:
        return None
    for read in (json.loads, _python):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return None


def _parsed(text: str) -> list[object] | None:
    found = written_value(text)
    if isinstance(found, list | tuple | set) or (found == {} and text[0] == "{"):
        items = sorted(found, key=str) if isinstance(found, set) else list(found)
        return items if all(isinstance(one, str | int | float | None) for one in items) else None
    bare = [part.strip() for part in text[1:-1].split(",")]
    plain = all(part and not set(part) & set("'\"[](){}") for part in bare)
    return list(bare) if plain else None


def _python(text: str) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.literal_eval(text)


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word[1:-1]) if word[0] in "'\"" else word


def _held(cell: object) -> list[object]:
    return list(cell) if isinstance(cell, list | tuple | np.ndarray) else [cell]


def _is_label(one: object) -> bool:
    """Tell whether what a list holds is one label that is there."""
    if isinstance(one, str):
        return bool(one.strip())
    return isinstance(one, numbers.Real) and not is_nan(one)
