"""From raw labels to targets: one class per item, several labels per item, or a value."""

from __future__ import annotations

import math
import numbers
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from expertise_graph.core import DatasetError, FloatArray, IntArray, listed, setting
from expertise_graph.data.dataset import CLASS, LABELS, TYPED, VALUE, Columns
from expertise_graph.data.label_columns import choose_separator, note_on_other_separators, typed_cells
from expertise_graph.data.label_lists import is_list, is_nan

# Ranges of values stand for classes where items are sampled and experts ranked: five tell low from high and
# still leave each range a fifth of the items.
RANGES = 5
# Items that a range, or a label that stands for an item, should have: enough for each of the three splits.
_ENOUGH = 8
_NO_LABEL = "none"
# Stands in no label: the unit separator of ASCII.
_BETWEEN = "\x1f"
# Fields of records that say where in an item something is.
_OF_BOXES = frozenset({"bbox", "bboxes", "boxes", "segmentation", "polygon"})
_MARKS_IN_ITEMS = "boxes in images and marks in texts are not supported"
# Characters of a label that a message repeats.
_SHOWN = 60
_INTEGER = re.compile(r"-?\d{1,18}")


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The targets of n items, as `LabelledData` has them."""

    kind: str
    classes: tuple[str, ...]
    labels: IntArray
    names: tuple[str, ...] = ()
    values: FloatArray | None = None


@dataclass(frozen=True)
class LabelFormat:
    """How raw labels of one kind are read.

    Attributes:
        kind: of the target.
        cells: n raw labels, typed.
        text_of: a raw label to its text, None where it is missing; equal texts are equal labels.
        to_targets: n texts to targets.
        form: what the labels were taken for, where another way would do.
        notes: what looks odd about them.
    """

    kind: str
    cells: Sequence[object]
    text_of: Callable[[object], str | None]
    to_targets: Callable[[Sequence[str]], Targets]
    form: str = ""
    notes: tuple[str, ...] = ()


def label_format(raw: Sequence[object], columns: Columns, *, source: str = TYPED) -> LabelFormat:
    """Return how to read labels: as the columns say, else as all of them together look.

    Lists are labels, fractions are values, all else is a class.

    Args:
        raw: n labels.
        columns: target, separator, and the class that means no label.
        source: what they are: `WRITTEN`, `TYPED` or `NAMES`.

    Raises:
        DatasetError: when a kind is asked for that the labels are not.
    """
    typed = typed_cells(raw, columns, source=source)
    kind = columns.target or (LABELS if columns.separator else typed.kind)
    form = partial(LabelFormat, kind, typed.cells, notes=typed.notes)
    if kind == VALUE:
        name = columns.label or "value"
        return form(_value, lambda texts: _values(texts, name), form=typed.form)
    if kind == LABELS:
        separator = columns.separator or choose_separator(typed.cells)
        written = any(isinstance(cell, str) for cell in typed.cells)
        how = f"separated by {separator!r}; another with {setting('separator')}" if written else typed.form
        notes = (*typed.notes, *note_on_other_separators(typed.cells, separator))
        return form(lambda label: _joined(label, separator), _several, form=how, notes=notes)
    return form(class_name, _classes, form=typed.form)


def _classes(texts: Sequence[str]) -> Targets:
    classes = sorted_classes(texts)
    index = {name: i for i, name in enumerate(classes)}
    return Targets(kind=CLASS, classes=classes, labels=np.array([index[t] for t in texts], dtype=np.int64))


def _value(label: object) -> str | None:
    if label is None or (isinstance(label, str) and not label.strip()):
        return None
    try:
        value = float(label)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DatasetError(f"{str(label)[:40]!r} is not a number, and values are to be learned") from None
    if math.isinf(value):
        raise DatasetError(
            f"{str(label)[:40]!r} is infinite; values to learn must be finite: correct or remove it"
        )
    return None if math.isnan(value) else repr(value)


def _values(texts: Sequence[str], name: str) -> Targets:
    """Number values by ranges that hold about as many items each."""
    values = np.array([float(text) for text in texts])
    if not len(values):
        raise DatasetError("no item has a value; there is nothing to learn")
    count = max(2, min(RANGES, len(values) // _ENOUGH))
    edges = np.unique(np.quantile(values, np.linspace(0, 1, count + 1)[1:-1], method="lower"))
    edges = edges[edges < values.max()]
    codes = np.searchsorted(edges, values, side="left")
    bounds = [values.min(), *edges, values.max()]
    ranges = tuple(f"{low:.4g} to {high:.4g}" for low, high in pairwise(bounds))
    if len(ranges) < 2:
        raise DatasetError(f"all {len(values)} values are {values[0]:.6g}; there is nothing to learn")
    return Targets(
        kind=VALUE,
        classes=tuple(f"{i + 1}: {r}" for i, r in enumerate(ranges)),
        labels=codes.astype(np.int64),
        names=(name,),
        values=values[:, None],
    )


def _joined(label: object, separator: str) -> str | None:
    """Return the sorted labels of an item in one text; an empty list is an item without labels."""
    if label is None or is_nan(label):
        return None
    if isinstance(label, str):
        parts: Sequence[object] = label.split(separator)
    else:
        parts = list(label) if is_list(label) else [label]  # type: ignore[call-overload]
    if any(is_list(part) for part in parts):
        raise DatasetError(
            f"a label must be one string or number, not list in a list as in {str(label)[:_SHOWN]}: "
            f"{_MARKS_IN_ITEMS}; give one label, or a list of names, for each item"
        )
    return _BETWEEN.join(sorted({name for part in parts if (name := class_name(part)) is not None}))


def _several(texts: Sequence[str]) -> Targets:
    """Number items by their rarest label that enough items have, and mark all that they have."""
    items = [text.split(_BETWEEN) if text else [] for text in texts]
    counts = Counter(name for item in items for name in item)
    names = sorted_classes(counts)
    if not names:
        raise DatasetError(f"none of {len(items)} items has a label")
    enough = {name for name, count in counts.items() if count >= min(_ENOUGH, len(items) // 4)}
    telling = [min(item, key=lambda n: (n not in enough, counts[n], n), default=_NO_LABEL) for item in items]
    strata = _classes(telling)
    column = {name: i for i, name in enumerate(names)}
    marks = np.zeros((len(items), len(names)))
    for row, item in enumerate(items):
        marks[row, [column[name] for name in item]] = 1.0
    return Targets(kind=LABELS, classes=strata.classes, labels=strata.labels, names=names, values=marks)


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
    if label is None or is_nan(label):
        return None
    if isinstance(label, bool | np.bool_):
        return str(bool(label)).lower()
    if isinstance(label, numbers.Integral):
        return str(int(label))
    if isinstance(label, numbers.Real):
        if math.isinf(label):
            raise DatasetError(f"the label {label} is infinite; correct or remove it")
        return f"{float(label):.0f}" if float(label).is_integer() else str(label)
    if isinstance(label, dict) and isinstance(label.get("name"), str):
        label = label["name"]
    if isinstance(label, bytes):
        label = _text_of_bytes(label)
    if not isinstance(label, str):
        raise DatasetError(f"a label must be one string or number, not {_what_instead(label)}")
    return _clean(label) or None


def _what_instead(label: object) -> str:
    """Return what a label that is no single one is, and what to do about it."""
    if isinstance(label, dict):
        fields = listed(list(map(str, label)))
        if _OF_BOXES & {str(field).lower() for field in label}:
            return (
                f"dict with the fields {fields}: {_MARKS_IN_ITEMS}; give one label, or a list of names, for "
                "each item"
            )
        return f"dict with the fields {fields}; write the label of each item in its place"
    kind = type(label).__name__
    return f"{kind}; for several labels per item set {setting('target', 'labels')}"


def _text_of_bytes(label: bytes) -> str:
    """Return UTF-8 as it reads, and other bytes, as of UUIDs, in hexadecimal."""
    try:
        text = label.decode("utf-8")
    except UnicodeDecodeError:
        return label.hex()
    return text if text.isprintable() else label.hex()


def _clean(name: str) -> str:
    # File systems differ in how they compose accents, and store bytes that are no characters.
    name = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode("utf-8"))
    return " ".join(name.split())
