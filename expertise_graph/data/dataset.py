"""What a dataset is: records as they were read, and labelled data in memory, whatever they were read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from expertise_graph.core import FloatArray, IntArray, Task
from expertise_graph.data.files import Skip

CLASS, LABELS, VALUE = KINDS = "class", "labels", "value"
"""Kinds of target: one class per item, any number of labels per item, or a measured value."""

WRITTEN, TYPED, NAMES = "written", "typed", "names"
"""What raw labels are: cells of a text table, whose types are yet to be found; values with types; or names
of folders, which mean themselves."""

Item = Path | bytes | str
"""An undecoded input: a file, the bytes of one, or a text."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns of a table hold what; what is left out is guessed where only one column fits.

    Attributes:
        item: column of the inputs.
        modality: of the inputs; in a folder or table that holds several modalities it chooses one.
        label: column of the labels.
        split: column of the split names.
        target: what the labels are, where they do not show it: class, labels (several per item) or value.
        separator: of several labels in one cell.
        splits: which folder, file or value is which split, "train=a,test=b", or "none".
        no_label: the class that means that an item has no label.
    """

    item: str | None = None
    modality: str | None = None
    label: str | None = None
    split: str | None = None
    target: str | None = None
    separator: str | None = None
    splits: str | None = None
    no_label: str | None = None

    @property
    def given(self) -> dict[str, str]:
        """The fields that are not left to a guess, by name."""
        return {name: value for name, value in asdict(self).items() if value}

    @property
    def settings(self) -> dict[str, str]:
        """The settings that say the same to a verb of the workspace, for `core.Command`.

        Example:
            >>> Columns(item="body", modality="text", label="stars").settings
            {'text_column': 'body', 'label_column': 'stars'}
        """
        # Where several modalities are in one folder, any name of a column chooses one.
        item = self.item or (self.modality and "any")
        given = {
            f"{self.modality or 'item'}_column": item,
            "label_column": self.label,
            "split_column": self.split,
            "target": self.target,
            "separator": self.separator,
            "splits": self.splits,
            "no_label": self.no_label,
        }
        return {name: value for name, value in given.items() if value}


NO_COLUMNS = Columns()
"""Everything is guessed."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """An item as it was read, unchecked; `where` says in messages where it stood."""

    where: str
    item: Item
    label: object
    split: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How data were read: what was chosen or guessed, for people to check.

    Attributes:
        origins: the folder, file or column that each split was declared by.
        columns: name of the column of each role (the modality, label, split).
        labels: how the labels were read, where more than one way is possible: "whole numbers".
        guessed: the settings that would change it, by name.
        notes: what looks odd, each with a way out.
    """

    origins: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: str = ""
    guessed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


NOT_RECORDED = Reading()
"""Of data that were made in memory."""


@dataclass(frozen=True, kw_only=True)
class RawData:
    """The records of one dataset, and what its reader left out.

    Attributes:
        labels: what the labels are: `WRITTEN`, `TYPED` or `NAMES`.
    """

    modality: str
    records: Sequence[Record]
    skipped: Sequence[Skip] = field(default_factory=tuple)
    reading: Reading = NOT_RECORDED
    labels: str = TYPED


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Undecoded inputs of one modality and the hash that stands for them in the cache."""

    items: Sequence[Item]
    modality: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class LabelledData:
    """Undecoded items with their labels.

    Attributes:
        items: n inputs; `known_modalities[modality].decode` opens one.
        labels: (n,) int, indices into `classes`. Where the target is not one class per item, classes
            stand for it wherever items are sampled, split and ranked: the most telling label, or a
            range of values.
        kind: of the target.
        names: the k labels, or the name of the value; empty for classes.
        targets: (n, k) float: 1 where an item has a label, or values; None for classes.
        splits: indices of the splits that the data itself declares (train, validation, test);
            empty when it declares none.
        skipped: what could not be used and why.
        sha256: hash of the content (items with their class names), independent of order and path.
        digests: of each item's content; empty where the order of the items is what they are known by.
        columns: that were named when the data were read.
        reading: how they were understood.
    """

    name: str
    modality: str
    locator: str
    items: tuple[Item, ...]
    labels: IntArray
    classes: tuple[str, ...]
    sha256: str
    kind: str = CLASS
    names: tuple[str, ...] = ()
    targets: FloatArray | None = None
    splits: Mapping[str, IntArray] = field(default_factory=dict)
    skipped: tuple[tuple[str, str], ...] = ()
    digests: tuple[str, ...] = ()
    columns: Columns = NO_COLUMNS
    reading: Reading = NOT_RECORDED

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.items)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what a model of the data gives: classes, labels, or values."""
        return self.names or self.classes

    @cached_property
    def by_content(self) -> IntArray:
        """(n,) int: the items in an order that neither file names nor the rows of a table change."""
        if not self.digests:
            return np.arange(len(self))
        where = {int(i): name for name, rows in self.splits.items() for i in rows}
        known = [(self.digests[i], int(self.labels[i]), where.get(i, ""), i) for i in range(len(self))]
        return np.array([row[-1] for row in sorted(known)], dtype=np.int64)

    def select(self, rows: IntArray, splits: Mapping[str, IntArray]) -> LabelledData:
        """Return the items at `rows` (m,) with splits of their own, indices into `rows`."""
        return replace(
            self,
            items=tuple(self.items[i] for i in rows),
            labels=self.labels[rows],
            targets=None if self.targets is None else self.targets[rows],
            splits=splits,
            digests=tuple(self.digests[i] for i in rows) if self.digests else (),
        )

    @property
    def as_classes(self) -> LabelledData:
        """The same items, as the classification that stands for them where experts are ranked."""
        return replace(self, kind=CLASS, names=(), targets=None)

    @property
    def stand_in(self) -> str:
        """What the classes are where they only stand for the labels, or an empty text."""
        if self.kind == CLASS:
            return ""
        what = "ranges of values" if self.kind == VALUE else "labels, for each item its rarest"
        return f"{len(self.classes)} {what}"

    @property
    def task(self) -> Task:
        """The node that stands for this data in the graph."""
        return Task(
            id=f"task:{self.sha256}",
            name=self.name,
            modality=self.modality,
            classes=self.classes,
            n=len(self),
            locator=self.locator,
        )
