"""What the cells of a label column mean, decided by all of them: texts, numbers, or lists of labels."""

from __future__ import annotations

import math
import numbers
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from expertise_graph.core import DatasetError, count, listed, marks_of, plain, setting
from expertise_graph.data.dataset import CLASS, LABELS, NAMES, TYPED, VALUE, WRITTEN, Columns
from expertise_graph.data.label_lists import is_list, is_nan, only_labels, refuse_vectors, written_lists
from expertise_graph.data.label_records import held_by_records

# Of several labels in a cell; of those that fit equally well the first.
SEPARATORS = (";", "|", ",", "\n")
# These stand in names, too: they separate only where that leaves fewer different labels than cells.
_WEAK_SEPARATORS = ("/", "+", "#", "&", " ")
# Whole numbers are classes up to this many different ones, and beyond where there are two items for each.
FEW_NUMBERS = 20
# Share of cells that are numbers from which the others are worth a word.
_MOSTLY = 0.8

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
# Whole numbers from here on are codes or ids, as texts of so many digits are.
_LARGE = 10**18
# 1E50 is a code (of the ICD); programs write numbers with a sign in the exponent, or with a point before it.
_DECIMAL = re.compile(r"[+-]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[0-9]+[eE][+-][0-9]+)")
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_MISSING = ("", "nan", "<na>")


@dataclass(frozen=True, kw_only=True)
class LabelCells:
    """The cells of a label column, each in the type it has.

    Attributes:
        cells: None where a label is missing; texts, numbers, or lists.
        kind: of the target that they are, if no other is asked for.
        form: what they were taken for, where another way would do; for people.
        notes: what looks odd.
    """

    cells: list[object]
    kind: str = CLASS
    form: str = ""
    notes: tuple[str, ...] = ()


def typed_cells(raw: Sequence[object], columns: Columns, *, source: str) -> LabelCells:
    """Return the labels of a column with their types, for which all cells are looked at.

    Args:
        raw: the cells.
        columns: the target and the class that means no label.
        source: what the cells are: `WRITTEN` in a text table, `TYPED`, or `NAMES`, which mean themselves.
    """
    cells = [_without_missing(cell, columns.no_label, source=source) for cell in raw]
    if columns.target == VALUE and source == WRITTEN:
        numbers_by_text = _of_spreadsheets([str(cell) for cell in cells if cell is not None])
        return LabelCells(cells=[numbers_by_text.get(str(cell), cell) for cell in cells])
    if source != NAMES and not (source == WRITTEN and columns.target == CLASS):
        cells = held_by_records(cells, written=columns.target != CLASS)
    if found := _of_lists(cells, columns, source=source):
        return found
    if columns.target is not None or columns.separator is not None or source == NAMES:
        return LabelCells(cells=cells)
    present = [cell for cell in cells if cell is not None]
    if present and all(_is_whole(cell, source) for cell in present):
        return _whole_numbers(cells, present)
    if any(is_list(cell) for cell in present):
        return LabelCells(cells=cells, kind=LABELS)
    if present and source == WRITTEN:
        return _numbers_of(cells, present)
    if any(map(_is_fraction, present)) and all(isinstance(cell, numbers.Real) for cell in present):
        return LabelCells(cells=cells, kind=VALUE)
    return LabelCells(cells=cells, notes=_notes_on_separators(present))


def _of_lists(cells: list[object], columns: Columns, *, source: str) -> LabelCells | None:
    """Return the labels of a column of lists, None where it holds others or is to be read as text."""
    # Folders may have brackets around their names.
    read_as_text = source == NAMES or columns.target in (CLASS, VALUE)
    written = None if read_as_text else written_lists(cells)
    lists = written or (cells if all(cell is None or is_list(cell) for cell in cells) else [])
    if all(cell is None for cell in lists):
        return None
    refuse_vectors(lists)
    single = only_labels(lists) if columns.target != LABELS and columns.separator is None else None
    if single is None:
        return LabelCells(cells=lists, kind=LABELS, form="lists") if written else None
    # In lists texts have quotes, so that what looks like a number is one.
    read = typed_cells(single, columns, source=TYPED if source == WRITTEN else source)
    form = f"lists of one; {setting('target', LABELS)} reads them as several labels an item"
    return replace(read, form="; ".join(part for part in (form, read.form) if part))


def choose_separator(raw: Sequence[object]) -> str:
    """Return the separator of several labels that all cells of a column together speak for.

    It is the one that leaves the fewest different labels; of those that fit equally well, that in most cells.
    """
    texts = [cell for cell in raw if isinstance(cell, str)]
    there = [s for s in SEPARATORS if any(s in text for text in texts)]
    if not there:
        cells = len({text.strip() for text in texts})
        weak = {s: _vocabulary(texts, s) for s in _WEAK_SEPARATORS if any(s in t.strip() for t in texts)}
        there = [s for s, n in weak.items() if n < cells]

    def fit(separator: str) -> tuple[int, int]:
        return _vocabulary(texts, separator), -sum(separator in text for text in texts)

    return min(there, key=fit, default=SEPARATORS[0])


def note_on_other_separators(cells: Sequence[object], separator: str) -> tuple[str, ...]:
    """Say that cells hold another mark, too, which then is a part of names."""
    texts = [cell for cell in cells if isinstance(cell, str)]
    for mark in SEPARATORS:
        holding = [text for text in texts if mark in text]
        if holding and mark not in separator and separator not in _WEAK_SEPARATORS:
            return (
                f"{count(len(holding), 'label')} such as {holding[0][:60]!r} hold {mark!r}, too, which is "
                f"read as a part of names; {setting('separator')} chooses",
            )
    return ()


def _is_whole(cell: object, source: str) -> bool:
    """Tell whether a cell is a whole number, in a text table also the text of one."""
    if isinstance(cell, str):
        return source == WRITTEN and _INTEGER.fullmatch(cell) is not None
    if isinstance(cell, bool | np.bool_):
        return False
    return isinstance(cell, numbers.Real) and float(cell).is_integer()


def _is_fraction(cell: object) -> bool:
    return isinstance(cell, numbers.Real) and not float(cell).is_integer()


def _integer(cell: object) -> int:
    return int(cell) if isinstance(cell, str) else int(float(str(cell)))


def _vocabulary(texts: Sequence[str], separator: str) -> int:
    return len({part.strip() for text in texts for part in text.split(separator) if part.strip()})


def _without_missing(cell: object, no_label: str | None, *, source: str) -> object:
    """Return a cell as it is, in a text table without blanks around it, and None where it holds no label."""
    if isinstance(cell, str):
        cell = cell.strip() if source == WRITTEN else cell
        if cell.strip().lower() in (_MISSING if source != NAMES else ("",)):
            return None
    if isinstance(cell, numbers.Integral) and abs(int(cell)) >= _LARGE:
        cell = str(int(cell))
    if isinstance(cell, numbers.Real):
        if is_nan(cell):
            return None
        if no_label is not None and float(cell).is_integer() and f"{float(cell):.0f}" == no_label:
            return None
    return None if no_label is not None and str(cell) == no_label else cell


# Numbers


def _numbers_of(cells: list[object], present: Sequence[object]) -> LabelCells:
    """Return the cells of a text table as numbers where all of them are such, else as the texts they are."""
    texts = Counter(str(cell) for cell in present)
    numeric = {text for text in texts if _INTEGER.fullmatch(text) or _DECIMAL.fullmatch(text)}
    others = [text for text in texts if text not in numeric]
    if others and (by_text := _of_spreadsheets(texts)) and not _notes_on_separators(present):
        plain_cells: list[object] = [None if cell is None else by_text[str(cell)] for cell in cells]
        read = _numbers_of(plain_cells, [cell for cell in plain_cells if cell is not None])
        if read.kind == VALUE:
            form = f"numbers such as {others[0]!r} = {by_text[others[0]]}; {setting('target', CLASS)}: names"
            return replace(read, form=form)
    share = sum(texts[text] for text in numeric) / len(present)
    fractional = any(not float(text).is_integer() for text in numeric)
    if numeric and others and all(_INFINITE.fullmatch(text) for text in others):
        infinite = count(sum(texts[text] for text in others), "label")
        raise DatasetError(
            f"{infinite} of {len(present):,} are infinite ({others[0]!r}) among numbers: correct or remove "
            f"them, or set {setting('target', CLASS)} if they are names"
        )
    if others or not _are_numbers(numeric, fractional=fractional):
        notes = _notes_on_separators(present)
        if others and fractional and share >= _MOSTLY:
            notes += (
                f"{share:.0%} of the labels are numbers, and {listed([repr(t) for t in others], 3)} are not: "
                f"correct or remove those and set {setting('target', VALUE)} if values are to be learned",
            )
        return LabelCells(cells=cells, form="names, not numbers" if numeric else "", notes=notes)
    typed = [None if cell is None else float(str(cell)) for cell in cells]
    if not fractional:
        whole = [None if one is None else int(one) for one in typed]
        return _whole_numbers(list(whole), [one for one in whole if one is not None])
    form = f"numbers; {setting('target', CLASS)} reads them as names"
    return LabelCells(cells=list(typed), kind=VALUE, form=form)


def _of_spreadsheets(texts: Iterable[str]) -> dict[str, str]:
    """Return numbers by how they are written: `1,5`, `1,013.01`, `12%`; empty unless all texts are such."""
    given = list(dict.fromkeys(texts))
    marks = marks_of(given)
    if marks.point and marks.comma:
        return {}
    read = plain(given, marks.decimal("."))
    found = [text.removesuffix("%") for text in read.texts]
    known = not read.deviations and all(_INTEGER.fullmatch(t) or _DECIMAL.fullmatch(t) for t in found)
    return dict(zip(given, found, strict=True)) if known else {}


def _are_numbers(texts: set[str], *, fractional: bool) -> bool:
    """Tell whether texts that look like numbers are such, and no codes as of sections and versions.

    Codes have leading zeros, or differ where their values do not: 1.1 and 1.10.
    """
    values: dict[float, set[str]] = {}
    for text in texts:
        digits = text.lstrip("+-")
        if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
            return False
        value = float(text)
        if math.isinf(value):
            return False
        values.setdefault(value, set()).add(text)
    # Whole numbers may be written both as 1 and as 1.0 where tables were joined.
    return not fractional or all(len(written) == 1 for written in values.values())


def _whole_numbers(cells: list[object], present: Sequence[object]) -> LabelCells:
    """Return whole numbers as classes where there are few different ones, else as values."""
    found = {_integer(cell) for cell in present}
    distinct = len(found)
    if any(isinstance(cell, str) and cell[:1] == "0" and len(cell) > 1 for cell in present):
        return LabelCells(cells=cells, form="")
    if distinct > FEW_NUMBERS and 2 * distinct > len(present):
        form = f"whole numbers, {distinct:,} different ones; {setting('target', CLASS)} reads them as classes"
        values: list[object] = [None if cell is None else float(str(cell)) for cell in cells]
        return LabelCells(cells=values, kind=VALUE, form=form)
    form = f"whole numbers; {setting('target', VALUE)} reads them as values"
    return LabelCells(cells=cells, form=form if distinct > 2 else "", notes=_note_on_minus_one(found))


def _note_on_minus_one(found: set[int]) -> tuple[str, ...]:
    # -1, 0, 1 are opinions; beside 0, 1, 2, ... it is how many data sets write that there is no label.
    if found != set(range(-1, len(found) - 1)) or len(found) < 4:
        return ()
    return (f"-1 is read as a class: set {setting('no_label', '-1')} if it means that there is no label",)


def _notes_on_separators(present: Sequence[object]) -> tuple[str, ...]:
    """Say where cells that are read as one class each seem to hold several labels."""
    texts = [cell for cell in present if isinstance(cell, str)]
    single = {text.strip() for text in texts}
    # Not blanks: "good" and "very good" are degrees of one label.
    for mark in (*SEPARATORS, *_WEAK_SEPARATORS[:-1]):
        joined = {text for text in single if mark in text}
        named = Counter(part for text in joined for part in {one.strip() for one in text.split(mark)})
        parts = set(named)
        # The parts are known as labels by themselves, or each stands in several of the joined ones, which
        # those of decimal numbers do, too.
        repeated = bool(named) and min(named.values()) > 1 and not any(map(str.isdigit, parts))
        if joined and (len(parts & single) * 2 > len(parts) or repeated):
            return (
                f"labels such as {sorted(joined)[0][:60]!r} are read as one class each: set "
                f"{setting('target', LABELS)} if {mark!r} separates several",
            )
    return ()
