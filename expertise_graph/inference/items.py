"""Which items of a dataset a model is judged on, and which of its classes they belong to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from expertise_graph.core import (
    BoolArray,
    DatasetError,
    FloatArray,
    IntArray,
    InvalidInputError,
    count,
    listed,
    setting,
)
from expertise_graph.data import LABELS, SPLITS, VALUE, LabelledData, holdout
from expertise_graph.inference.model import Model

CHOICES = (*SPLITS, "all")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The items to judge on: their places in the data, what they are called, and what to know about them.

    Attributes:
        rows: (m,) int, indices into the data.
        split: test, validation, train or all; unseen where the model has learnt from others of the data.
        learnt: how many of the items that were asked for the model has learnt from.
        left_out: how many of those are not among `rows`.
        notes: one line each; the first says which items these are.
    """

    rows: IntArray
    split: str
    learnt: int = 0
    left_out: int = 0
    notes: tuple[str, ...] = ()


def same_task(model: Model, data: LabelledData) -> bool:
    """Tell whether the model was trained on this very content."""
    return model.identity.get("data") == data.sha256


def learnt_rows(model: Model, data: LabelledData, recorded: BoolArray | None = None) -> BoolArray:
    """Return which items a model was trained on or validated with, whatever their names and rows: (n,) bool.

    Args:
        model: its folder says so.
        data: of n items.
        recorded: (n,) bool, items that are known from elsewhere to be among them.
    """
    learnt = model.learnt.among(data.digests) if data.digests else np.zeros(len(data), dtype=np.bool_)
    return learnt if recorded is None else learnt | recorded


def choose(model: Model, data: LabelledData, split: str | None, recorded: BoolArray | None = None) -> Chosen:
    """Return the items to judge on, by default those that the model has not learnt from.

    Data the model was trained on are split as they were then. Of other data, and of the test split, items
    that the model has learnt from, or what it was made from has, are left out, unless they are asked for.

    Args:
        model: whose run says what it was trained on.
        data: what it is judged on.
        split: test, validation, train or all; None for the default.
        recorded: see `learnt_rows`.

    Raises:
        InvalidInputError: for another split.
        DatasetError: when the data have no such split.
    """
    if split not in (None, *CHOICES):
        raise InvalidInputError(f"split is {split!r}; possible are {', '.join(CHOICES)}")
    own = same_task(model, data)
    name = split or ("test" if own else "all")
    rows = np.arange(len(data)) if name == "all" else _rows_of(model, data, name)
    learnt = learnt_rows(model, data, recorded)[rows]
    known = int(learnt.sum())
    # Where nothing would be left, something is measured all the same: the note says what it is worth.
    left_out = known if split is None and known < len(rows) else 0
    chosen = Chosen(
        rows=rows[~learnt] if left_out else rows,
        split="unseen" if left_out and not own else name,
        learnt=known,
        left_out=left_out,
    )
    note = _note_on_own(model, data, name, chosen) if own else _note_on_others(model, data, name, chosen)
    return replace(chosen, notes=(note,))


def _rows_of(model: Model, data: LabelledData, split: str) -> IntArray:
    if same_task(model, data):
        seed = int(model.identity.get("config", {}).get("seed", 0))
        rows: IntArray = getattr(holdout(data, seed=seed), split)
    else:
        rows = data.splits.get(split, np.zeros(0, dtype=np.int64))
    if not len(rows):
        declared = ", ".join(data.splits) or "none"
        raise DatasetError(
            f"{data.name} has no {split} split (declared: {declared}); set {setting('split', 'all')}"
        )
    return rows


def _note_on_own(model: Model, data: LabelledData, split: str, chosen: Chosen) -> str:
    """Return what to know about a split of the data that the model was trained on."""
    n, learnt = len(chosen.rows), chosen.learnt
    if split == "all":
        which = learnt or "some"
        return f"all {count(n, 'item')}; the model was trained on or validated with {which} of them"
    note = f"{n} of {len(data)} items: the {split} split of the run"
    if split != "test":
        why = {"validation": "by which its epoch was chosen", "train": "which it was trained on"}
        return f"{note}, {why[split]}"
    if chosen.left_out:
        return f"{note} without {learnt} that it, or what it was made from, was trained on or validated with"
    if learnt:
        return f"{note}; {_flattered(learnt, n)}"
    if model.seen:
        return f"{note}, and its expert was trained on {model.seen} of them before"
    return f"{note}, which the model has never seen"


def _note_on_others(model: Model, data: LabelledData, split: str, chosen: Chosen) -> str:
    """Return what to know about items of other data than those that the model was trained on."""
    n, learnt = len(chosen.rows), chosen.learnt
    if chosen.left_out:
        which = f"{learnt} of these {n + learnt} items were trained on or validated with"
        return f"{which}; measured on the other {n}"
    note = f"all {count(n, 'item')}"
    if split != "all":
        note = f"{n} of {len(data)} items: the {split} split that the data declare"
    if learnt:
        return f"{note}; {_flattered(learnt, n)}"
    if model.learnt.complete:
        return note
    return f"{note}; the run kept no full record of what it learnt from, so it may know some of them"


def _flattered(learnt: int, n: int) -> str:
    which = "all" if learnt == n else f"{learnt}"
    return f"{which} of them were trained on or validated with, so this is no estimate for new data"


@dataclass(frozen=True, kw_only=True)
class Matched:
    """Items whose class the model knows: their places, and their classes as the model numbers them."""

    rows: IntArray
    labels: IntArray
    notes: tuple[str, ...]


def match_classes(model: Model, data: LabelledData, rows: IntArray) -> Matched:
    """Match the classes of data and model by name.

    Items of a class that the model does not know are left out.

    Raises:
        DatasetError: when no class is left.
    """
    index = {name: i for i, name in enumerate(model.classes)}
    if data.kind == LABELS:
        return _match_labels(model, data, rows)
    numbers = np.array([index.get(name, -1) for name in data.classes], dtype=np.int64)[data.labels[rows]]
    known = numbers >= 0
    if not known.any():
        raise DatasetError(
            f"no class of {data.name} ({listed(data.classes)}) is one of the model's "
            f"({listed(model.classes)}); classes are matched by name"
        )
    return Matched(
        rows=rows[known], labels=numbers[known], notes=_differences(model, data, rows=rows, known=known)
    )


def _match_labels(model: Model, data: LabelledData, rows: IntArray) -> Matched:
    """Keep all items; labels that only one of data and model knows are noted."""
    unknown = [name for name in data.outputs if name not in model.classes]
    absent = [name for name in model.classes if name not in data.outputs]
    if len(unknown) == len(data.outputs):
        raise DatasetError(
            f"no label of {data.name} ({listed(data.outputs)}) is one of the model's "
            f"({listed(model.classes)}); labels are matched by name"
        )
    notes = [f"labels unknown to the model are ignored: {listed(unknown)}"] if unknown else []
    notes += [f"no items of {count(len(absent), 'label')} of the model ({listed(absent)})"] if absent else []
    return Matched(rows=rows, labels=np.zeros(len(rows), dtype=np.int64), notes=tuple(notes))


def _differences(
    model: Model, data: LabelledData, *, rows: IntArray, known: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> tuple[str, ...]:
    notes = []
    present = {data.classes[i] for i in np.unique(data.labels[rows])}
    unknown, absent = sorted(present - set(model.classes)), [c for c in model.classes if c not in present]
    if unknown:
        n = count(int((~known).sum()), "item")
        notes.append(f"left out: {n} of classes unknown to the model ({listed(unknown)})")
    if absent:
        notes.append(f"no items of {count(len(absent), 'class')} of the model ({listed(absent)})")
    return tuple(notes)


def marks_of(model: Model, data: LabelledData, matched: Matched) -> IntArray:
    """Return which labels of the model the matched items have: (n, labels) of 0 and 1."""
    if data.targets is None or data.kind != LABELS:
        return np.eye(len(model.classes), dtype=np.int64)[matched.labels]
    marks = np.zeros((len(matched.rows), len(model.classes)), dtype=np.int64)
    for column, name in enumerate(data.outputs):
        if name in model.classes:
            marks[:, model.classes.index(name)] = data.targets[matched.rows, column] > 0
    return marks


def values_of(data: LabelledData, rows: IntArray) -> FloatArray:
    """Return the values (n,) of the items; of data with classes those that their names stand for.

    Raises:
        DatasetError: when a name is no number.
    """
    if data.targets is not None and data.kind == VALUE:
        known: FloatArray = data.targets[rows, 0]
        return known
    try:
        numbers = np.array([float(name) for name in data.classes], dtype=np.float64)
    except ValueError as error:
        raise DatasetError(
            f"the model gives a value and {data.name} has classes ({listed(data.classes)}); give numbers"
        ) from error
    values: FloatArray = numbers[data.labels[rows]]
    return values
