"""The items that a check looks at: names, splits, and features of an expert."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expertise_graph.core import (
    FloatArray,
    IntArray,
    InvalidInputError,
    NotFoundError,
    setting,
    sha256_of_texts,
)
from expertise_graph.data import Inputs, Item, LabelledData, plural_of

# The split of items of a separate test set, and what their names begin with: the setting that names the set.
SEPARATE_TEST = setting("test")

# Characters of a text that name it in a report; it is enough to find the text again.
_EXCERPT = 40


@dataclass(frozen=True, kw_only=True)
class CheckedItems:
    """Items of a dataset, and behind them those of a separate test set.

    Attributes:
        labels: (n,) int, indices into `classes`.
        splits: the split of each item; all "train" where the data declare none.
        names: what each item is called in a report.
        only_in_test: classes that only the separate test set has.
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
    only_in_test: tuple[str, ...] = ()

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
            [i for i, split in enumerate(self.splits) if split not in ("test", SEPARATE_TEST)], dtype=np.int64
        )


def checked_items(data: LabelledData, test: LabelledData | None = None) -> CheckedItems:
    """Return the items of `data`, then those of `test`.

    Raises:
        InvalidInputError: when the two are of different modalities.
    """
    own = CheckedItems(
        name=data.name,
        modality=data.modality,
        locator=data.locator,
        items=data.items,
        labels=data.labels,
        classes=data.classes,
        splits=_splits(data),
        names=item_names(data.items, data.locator),
        skipped=data.skipped,
    )
    return own if test is None else _joined(own, test)


def _joined(own: CheckedItems, test: LabelledData) -> CheckedItems:
    if test.modality != own.modality:
        raise InvalidInputError(
            f"{own.locator} holds {plural_of(own.modality)} and {setting('test', test.locator)} holds "
            f"{plural_of(test.modality)}: give a test set of the same kind"
        )
    only_in_test = tuple(name for name in test.classes if name not in own.classes)
    classes = (*own.classes, *only_in_test)
    index = {name: i for i, name in enumerate(classes)}
    labels = np.array([index[test.classes[label]] for label in test.labels], dtype=np.int64)
    names = item_names(test.items, test.locator)
    return dataclasses.replace(
        own,
        items=(*own.items, *test.items),
        labels=np.concatenate([own.labels, labels]),
        classes=classes,
        splits=(*own.splits, *[SEPARATE_TEST] * len(test)),
        names=(*own.names, *(f"{SEPARATE_TEST} {name}" for name in names)),
        skipped=(*own.skipped, *test.skipped),
        only_in_test=only_in_test,
    )


def _splits(data: LabelledData) -> tuple[str, ...]:
    splits = ["train"] * len(data)
    for split, indices in data.splits.items():
        for i in indices:
            splits[i] = split
    return tuple(splits)


def separate_test_named(name: str, wording: Callable[[str], str]) -> str:
    """Return the name of an item, with the setting that it may begin with in the form of the face."""
    start = f"{SEPARATE_TEST} "
    return f"{wording(SEPARATE_TEST)} {name.removeprefix(start)}" if name.startswith(start) else name


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


def _nothing_to_say(inputs: Inputs) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class FeatureExtractor:
    """An expert, and how to get its features.

    Attributes:
        expert: its name.
        reason: why this one.
        features: inputs to (n, d) float.
        note: what is to be said about features that it gave: what share of the texts was cut.
    """

    expert: str
    reason: str
    features: Callable[[Inputs], FloatArray]
    note: Callable[[Inputs], str] = _nothing_to_say

    def of(
        self, checked: CheckedItems, rows: Sequence[int], hashes: Sequence[str | None]
    ) -> tuple[FloatArray, str]:
        """Return the features (len(rows), d) of some items, cached by their content, and a note on them."""
        key = sha256_of_texts(hashes[i] or "" for i in rows)
        items = tuple(checked.items[i] for i in rows)
        inputs = Inputs(items=items, modality=checked.modality, sha256=f"check:{key}")
        return np.asarray(self.features(inputs)), self.note(inputs)


Choose = Callable[[], FeatureExtractor]
"""Finds the expert whose features are used when they are needed; raises ExpertiseError if there is none."""


def no_expert() -> FeatureExtractor:
    """Find none.

    Raises:
        NotFoundError: always.
    """
    raise NotFoundError("there is no workspace here; make one with: expertise-graph init")
