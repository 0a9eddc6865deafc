"""All items that are looked at, with a name for each: the data, and behind it a test set of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expertise_graph.core import IntArray, InvalidInputError
from expertise_graph.data import Item, LabelledData, plural_of

TEST_OPTION = "--test"
"""The split that the items of a separate test set are in."""

_EXCERPT = 40


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Items with labels, splits and names.

    Attributes:
        labels: (n,) int, indices into `classes`.
        splits: the split of each item; all "train" where the data declare none.
        names: what each item is called in a report.
        strange: classes that only the separate test set has.
    """

    name: str
    modality: str
    locator: str
    items: tuple[Item, ...]
    labels: IntArray
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    strange: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.items)

    @property
    def split_sizes(self) -> dict[str, int]:
        """How many items each split has."""
        return {split: self.splits.count(split) for split in dict.fromkeys(self.splits)}

    @property
    def learnable(self) -> IntArray:
        """Indices of the items that may be learnt from: those of no test split."""
        return np.array(
            [i for i, s in enumerate(self.splits) if s not in ("test", TEST_OPTION)], dtype=np.int64
        )

    def label(self, index: int) -> str:
        """Return the class name of an item."""
        return self.classes[int(self.labels[index])]


def collect(data: LabelledData, test: LabelledData | None = None) -> Collection:
    """Return the items of `data`, then those of `test`.

    Raises:
        InvalidInputError: when the two are of different modalities.
    """
    own = Collection(
        name=data.name,
        modality=data.modality,
        locator=data.locator,
        items=data.items,
        labels=data.labels,
        classes=data.classes,
        splits=_splits(data),
        names=_names(data),
        skipped=data.skipped,
    )
    return own if test is None else _joined(own, test)


def _joined(own: Collection, test: LabelledData) -> Collection:
    if test.modality != own.modality:
        raise InvalidInputError(
            f"{own.locator} holds {plural_of(own.modality)} and --test {test.locator} holds "
            f"{plural_of(test.modality)}: give a test set of the same kind"
        )
    strange = tuple(name for name in test.classes if name not in own.classes)
    classes = (*own.classes, *strange)
    place = {name: i for i, name in enumerate(classes)}
    labels = np.array([place[test.classes[label]] for label in test.labels], dtype=np.int64)
    return Collection(
        name=own.name,
        modality=own.modality,
        locator=own.locator,
        items=(*own.items, *test.items),
        labels=np.concatenate([own.labels, labels]),
        classes=classes,
        splits=(*own.splits, *[TEST_OPTION] * len(test)),
        names=(*own.names, *(f"{TEST_OPTION} {name}" for name in _names(test))),
        skipped=(*own.skipped, *test.skipped),
        strange=strange,
    )


def _splits(data: LabelledData) -> tuple[str, ...]:
    splits = ["train"] * len(data)
    for split, indices in data.splits.items():
        for i in indices:
            splits[i] = split
    return tuple(splits)


def _names(data: LabelledData) -> tuple[str, ...]:
    return item_names(data.items, data.locator)


def item_names(items: Sequence[Item], locator: str) -> tuple[str, ...]:
    """Return what to call each item: its path in the dataset, or its number and how it begins."""
    return tuple(_item_name(i, item, locator) for i, item in enumerate(items, 1))


def _item_name(number: int, item: Item, locator: str) -> str:
    if isinstance(item, Path):
        return short_path(str(item), locator)
    if isinstance(item, bytes):
        return f"item {number}"
    text = " ".join(item[: 4 * _EXCERPT].split())
    return f'item {number} "{text if len(text) <= _EXCERPT else text[:_EXCERPT].rstrip() + "..."}"'


def short_path(path: str, locator: str) -> str:
    """Return a path as seen from the dataset's folder, where it lies in it."""
    try:
        return str(Path(path).relative_to(locator))
    except ValueError:
        return path
