"""What every reader hands over before anything is checked: raw items with raw labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from expertise_graph.data.dataset import Item
from expertise_graph.data.files import Skip

SPLITS = ("train", "validation", "test")
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def split_name(name: str) -> str | None:
    """Return train, validation or test for the usual spellings, None for other names.

    Example:
        >>> split_name("Valid"), split_name("cats")
        ('validation', None)
    """
    return _SPLIT_NAMES.get(name.strip().lower())


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns of a table hold what; those left out are guessed when only one fits.

    `target` says what the labels are, class, labels (several an item) or value, where they do not
    show it; `separator` stands between several labels in one cell.
    In a folder that holds both images and texts, any name for `image` or `text` chooses the kind.
    """

    text: str | None = None
    image: str | None = None
    label: str | None = None
    split: str | None = None
    target: str | None = None
    separator: str | None = None

    @property
    def settings(self) -> dict[str, str]:
        """The settings that say the same to a verb of the workspace, for `core.Command`."""
        named = {f"{name}_column": getattr(self, name) for name in ("text", "image", "label", "split")}
        named |= {"target": self.target, "separator": self.separator}
        return {name: value for name, value in named.items() if value}

    @property
    def options(self) -> list[str]:
        """What says the same on the command line."""
        named = ("text", "image", "label", "split")
        flags = {f"--{name}-column": getattr(self, name) for name in named}
        flags |= {"--target": self.target, "--separator": self.separator}
        return [word for flag, value in flags.items() if value for word in (flag, value)]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One thing to read: a local path, the folder its files must not leave, the columns."""

    path: Path
    root: Path
    columns: Columns


@dataclass(frozen=True, kw_only=True)
class Record:
    """An unchecked item; `where` says in messages where it stood."""

    where: str
    item: Item
    label: object
    split: str | None = None


@dataclass(frozen=True, kw_only=True)
class RawData:
    """The records of one dataset, and what its reader left out."""

    modality: str
    records: Sequence[Record]
    skipped: Sequence[Skip] = field(default_factory=tuple)
