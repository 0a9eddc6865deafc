"""What was understood of a dataset: one line for people, and the same as plain values."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expertise_graph.core import byte_size, count, listed, setting, shorten
from expertise_graph.data.dataset import CLASS, VALUE, LabelledData, RawData
from expertise_graph.data.files import Skip
from expertise_graph.data.layout import UNLABELLED
from expertise_graph.data.modalities.base import known_modalities

# Reasons that the line names, and kinds of reasons that are told apart in all.
_REASONS, _MOST_REASONS = 3, 20
# Paths, quoted names and numbers in a reason: without them equal reasons are equal.
_PARTICULAR = re.compile(r"(?<!\S)(?:/|[A-Za-z]:\\)\S*|'[^']*'|\"[^\"]*\"")
_NUMBER = re.compile(r"\b\d[\d.,]*")
# A whole number with a fraction of nothing.
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_NAMED = 4
# What stands for a label that is not there, apart from empty cells and NaN: it may be a name, too.
_NO_LABELS = UNLABELLED | {"n/a", "na", "null", "none", "?", "-", "--", "unknown", "missing", "#n/a"}
# Classes from which on, and share of them from which on, it is odd that they have one item each.
_FEW, _MOSTLY = 8, 0.5
# Examples: of each class, and in all; characters of a text.
_OF_EACH, _EXAMPLES, _EXCERPT = 2, 20, 80


@dataclass(frozen=True, kw_only=True)
class DataDescription:
    """What was understood of a dataset, for people to check before anything is computed on it.

    Attributes:
        name: of the dataset.
        modality: of its items.
        items: how many can be used.
        classes: how many there are; of several labels an item how many labels, of values 0.
        target: class, labels or value.
        splits: items of each declared split; empty where none is declared.
        origins: the folder, file or column that each split was declared by.
        columns: name of the column of each role, of a table.
        skipped: how many items were left out, by reason.
        labels: how the labels were read, where another way would do.
        guessed: settings that would change what was guessed.
        notes: what looks odd, each with a way out.
    """

    name: str
    modality: str
    items: int
    classes: int
    target: str
    splits: Mapping[str, int]
    origins: Mapping[str, str]
    columns: Mapping[str, str]
    skipped: Mapping[str, int]
    labels: str
    guessed: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def line(self) -> str:
        """All of it in one line, without the notes."""
        parts = [f"{self._items} with {self._target}", self._splits]
        if self.skipped:
            parts.append(_left_out(self.skipped))
        change = " ".join(setting(name) for name in self.guessed)
        return f"{self.name}: {'; '.join(parts)}{f' [change: {change}]' if change else ''}"

    @property
    def _items(self) -> str:
        kind = known_modalities[self.modality]
        inputs = kind.plural if self.items != 1 else kind.name
        return f"{self.items:,} {inputs}{_of_column(self.columns.get(self.modality))}"

    @property
    def _target(self) -> str:
        what = (
            count(self.classes, "class")
            if self.target == CLASS
            else f"{self.classes} labels, several an item,"
        )
        shown = "values" if self.target == VALUE else what
        how = f" ({self.labels})" if self.labels else ""
        return f"{shown}{_of_column(self.columns.get('label'))}{how}"

    @property
    def _splits(self) -> str:
        if not self.splits:
            return "no declared splits"
        return ", ".join(
            f"{split} {n:,}{f' ({self.origins[split]})' if split in self.origins else ''}"
            for split, n in self.splits.items()
        )


def describe(data: LabelledData) -> DataDescription:
    """Return what was understood of a dataset."""
    reading = data.reading
    return DataDescription(
        name=data.name,
        modality=data.modality,
        items=len(data),
        classes=0 if data.kind == VALUE else len(data.outputs),
        target=data.kind,
        splits={name: len(rows) for name, rows in data.splits.items()},
        origins=reading.origins,
        columns=reading.columns,
        skipped=skipped_by_reason(data.skipped),
        labels=reading.labels,
        guessed=reading.guessed,
        notes=reading.notes,
    )


def skipped_by_reason(skipped: Sequence[Skip]) -> dict[str, int]:
    """Return how many items were left out for each reason, the most frequent first.

    Names of files and numbers in a reason do not tell reasons apart.

    Example:
        >>> skipped_by_reason([("a", "cannot read /x/a: gone"), ("b", "cannot read /x/b: gone")])
        {'cannot read the file: gone': 2}
    """
    reasons = Counter(_general(reason, where) for where, reason in skipped).most_common()
    rest = sum(n for _, n in reasons[_MOST_REASONS:])
    return {**dict(reasons[:_MOST_REASONS]), **({"other reasons": rest} if rest else {})}


def first_of_each_reason(skipped: Sequence[Skip]) -> dict[str, str]:
    """Return one item that was left out for each reason, and the reason as it was given."""
    found: dict[str, str] = {}
    for where, reason in skipped:
        found.setdefault(_general(reason, where), f"{where}: {reason}")
    return dict(list(found.items())[:_MOST_REASONS])


def count_by_class(data: LabelledData) -> dict[str, int]:
    """Return the number of items of each class, of several labels an item of each label; empty for values."""
    if data.kind == VALUE:
        return {}
    if data.targets is None:
        numbers = np.bincount(data.labels, minlength=len(data.classes))
    else:
        numbers = data.targets.sum(axis=0).astype(np.int64)
    return dict(zip(data.outputs, map(int, numbers), strict=True))


def examples(data: LabelledData, most: int = _EXAMPLES) -> list[tuple[str, str, str]]:
    """Return item, label and split of the first items of each class, at most so many in all."""
    where = {int(i): name for name, rows in data.splits.items() for i in rows}
    order = np.argsort(data.labels, kind="stable")
    _, starts = np.unique(data.labels[order], return_index=True)
    chosen = [int(order[start + k]) for k in range(_OF_EACH) for start in starts if start + k < len(order)]
    rows = [i for k, i in enumerate(chosen) if i not in chosen[:k]][:most]
    return [(_item(data, i), _label(data, i), where.get(i, "")) for i in sorted(rows)]


def line_on_inputs(inputs: RawData) -> str:
    """Return the line that says what unlabelled inputs were found."""
    kind, n = known_modalities[inputs.modality], len(inputs.records)
    left_out = f"; {_left_out(skipped_by_reason(inputs.skipped))}" if inputs.skipped else ""
    column = _of_column(inputs.reading.columns.get(kind.name))
    return f"{n:,} {kind.name if n == 1 else kind.plural}{column}{left_out}"


def _left_out(skipped: Mapping[str, int]) -> str:
    """Return how many were skipped and why; a single reason needs no number of its own."""
    reasons = [f"{reason}: {n:,}" if len(skipped) > 1 else reason for reason, n in skipped.items()]
    return f"{sum(skipped.values()):,} skipped ({listed(reasons, _REASONS)})"


def _item(data: LabelledData, index: int) -> str:
    item = data.items[index]
    if isinstance(item, bytes):
        return f"item {index + 1}, {byte_size(len(item))}"
    if isinstance(item, str):
        return shorten(" ".join(item[: 2 * _EXCERPT].split()), _EXCERPT)
    locator = Path(data.locator)
    return str(item.relative_to(locator)) if item.is_relative_to(locator) else str(item)


def _label(data: LabelledData, index: int) -> str:
    if data.targets is None:
        return data.classes[int(data.labels[index])]
    if data.kind == VALUE:
        return f"{data.targets[index, 0]:.6g}"
    return "; ".join(data.names[k] for k in np.flatnonzero(data.targets[index]))


def notes_on_classes(data: LabelledData) -> tuple[str, ...]:
    """Return what looks odd about the names of the classes and where they occur."""
    if data.kind == VALUE:
        return ()
    return (
        *_alike(data.outputs),
        *_unlabelled(data.outputs),
        *_in_one_split(data),
        *_mostly_single(data),
    )


def _general(reason: str, where: str) -> str:
    """Return a reason without what is particular to one item."""

    def stand_in(found: re.Match[str]) -> str:
        return f"the file{':' if found[0].endswith(':') else ''}" if found[0][0] not in "'\"" else "..."

    if "/" in where:
        # A path with blanks would not be recognised.
        reason = reason.replace(where, "the file")
    return " ".join(_NUMBER.sub("N", _PARTICULAR.sub(stand_in, reason)).split())


def _of_column(name: str | None) -> str:
    return f" from {_shown(name)!r}" if name else ""


def _alike(names: Sequence[str]) -> Iterator[str]:
    """Point out names that differ only by case, blanks or characters that cannot be seen."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[_folded(name)].append(name)
    for group in groups.values():
        if len(group) > 1:
            shown = " and ".join(repr(_shown(name)) for name in group[:_NAMED])
            numbers = all(_WHOLE.fullmatch(name) or name.isdigit() for name in group)
            how = "are the same number" if numbers else "differ only by case, blanks or invisible characters"
            yield (
                f"{shown} {how} and are read as {count(len(group), 'class')}: give them one name if they are "
                "one"
            )


def _folded(name: str) -> str:
    plain = unicodedata.normalize("NFKC", name).casefold()
    # 1 and 1.0 are one number where tables were joined, one of which had gaps.
    whole = _WHOLE.fullmatch(plain)
    plain = whole[1] if whole else plain
    return "".join(c for c in plain if not c.isspace() and unicodedata.category(c)[0] != "C")


def _shown(name: str) -> str:
    """Return a name with the characters that cannot be seen as escapes."""
    return "".join(c if c.isprintable() else f"<U+{ord(c):04X}>" for c in name)


def _unlabelled(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name.casefold() in _NO_LABELS:
            yield (
                f"{name!r} is read as a class: set {setting('no_label', name)} if it means that there is no "
                "label"
            )


def _in_one_split(data: LabelledData) -> Iterator[str]:
    """Point out classes that cannot be learnt, or are not measured, as a declared split lacks them."""
    if data.kind != CLASS or "train" not in data.splits:
        return
    there = {
        split: {data.classes[label] for label in data.labels[rows]} for split, rows in data.splits.items()
    }
    for split, classes in there.items():
        name, *more = sorted(classes)
        # -1 in the test split of a challenge, or the folder of its unsorted images, is no label to learn.
        if not more and name not in there["train"] and name.casefold() not in _NO_LABELS:
            yield (
                f"all items of the {split} split have the label {_shown(name)!r}, which no item to train on "
                f"has: set {setting('no_label', name)} if it means that there is no label"
            )
    elsewhere = sorted(set().union(*there.values()) - there["train"])
    if elsewhere:
        yield f"{count(len(elsewhere), 'class')} without an item to train on: {_some(elsewhere)}"
    for split in ("validation", "test"):
        missing = sorted(there["train"] - there.get(split, there["train"]))
        if missing:
            yield f"{count(len(missing), 'class')} without an item in the {split} split: {_some(missing)}"


def _mostly_single(data: LabelledData) -> Iterator[str]:
    """Point out labels that say of each item something else, as an address or a caption does."""
    if data.kind != CLASS or len(data.classes) <= _FEW:
        return
    single = int((np.bincount(data.labels, minlength=len(data.classes)) == 1).sum())
    if single > _MOSTLY * len(data.classes):
        column = data.reading.columns.get("label")
        other = f"; another column is read with {setting('label_column')}" if column else ""
        yield (
            f"{single:,} of {count(len(data.classes), 'class')} have one item only, from which nothing can "
            f"be learned and measured{other}"
        )


def _some(names: Sequence[str]) -> str:
    return listed([repr(_shown(name)) for name in names], _NAMED)
