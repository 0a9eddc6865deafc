"""Splits: the names people give to the parts to train on, to stop by and to measure on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from expertise_graph.core import DatasetError, inline, setting

SPLITS = ("train", "validation", "test")
_USUAL = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_SPLIT_NAMES = {name: split for split, names in _USUAL.items() for name in names}
# Words of longer names: seg_train, Validation_Set, holdout. An "eval" set is looked at while training.
_MORE = {
    "train": ("trn", "trainset", "trainingset", "traindata", "trainval"),
    "validation": ("validate", "devel", "development", "eval", "evaluation", "valset", "devset", "evalset"),
    "test": ("tst", "testset", "testdata", "holdout", "heldout"),
}
_WORDS = {**_SPLIT_NAMES, **{name: split for split, names in _MORE.items() for name in names}}
# Parts of words that are enough where the structure of the folders already says that these are splits.
_PARTS = {"train": "train", "valid": "validation", "test": "test", "holdout": "test", "eval": "validation"}
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_OUT = re.compile(r"\b(hold|held)[ _-]?out\b")


def split_name(name: str) -> str | None:
    """Return train, validation or test for the usual spellings, None for other names.

    Example:
        >>> split_name("Valid"), split_name("cats")
        ('validation', None)
    """
    return _SPLIT_NAMES.get(name.strip().lower())


def split_role(name: str, *, loose: bool = False) -> str | None:
    """Return the split that a longer name speaks of, None where it speaks of none or of two.

    Args:
        name: of a folder, a file without its suffix, or a value.
        loose: whether a part of a word counts, as in `imagestrain`; `latest` would then be a test split.

    Example:
        >>> split_role("seg_train"), split_role("Validation_Set"), split_role("train2017")
        ('train', 'validation', 'train')
        >>> split_role("latest"), split_role("train_test"), split_role("imagestrain", loose=True)
        (None, None, 'train')
    """
    plain = _OUT.sub("holdout", _CAMEL.sub(" ", name).lower().replace("_", " "))
    found = {_WORDS[word] for word in re.split(r"[^a-z]+", plain) if word in _WORDS}
    if not found and loose:
        found = {split for part, split in _PARTS.items() if part in plain}
    return found.pop() if len(found) == 1 else None


def chosen_splits(text: str | None) -> dict[str, str] | None:
    """Return which folder, file or value is which split, as a user wrote it.

    Returns:
        The split by name; empty for "none", which means that nothing is a split; None where nothing was said.

    Raises:
        DatasetError: when it is not written that way.

    Example:
        >>> chosen_splits("train=part1,test=part2"), chosen_splits("none"), chosen_splits(None)
        ({'part1': 'train', 'part2': 'test'}, {}, None)
    """
    if text is None:
        return None
    if text.strip().lower() == "none":
        return {}
    chosen: dict[str, str] = {}
    for pair in text.split(","):
        name, mark, value = pair.partition("=")
        split = split_name(name)
        if not (split and mark and value.strip()):
            given = setting("splits", inline(text[:80]))
            raise DatasetError(
                f"{given} does not say which is which: write train=NAME,test=NAME with the names of folders, "
                "files or values, or none"
            )
        chosen[value.strip()] = split
    return chosen


def which_is_which(names: Sequence[str]) -> str:
    """Return how to say which of some names is which split, and that none is."""
    first, second = (*names, "NAME", "NAME")[:2]
    return f"set {setting('splits', f'train={first},test={second}')}, or {setting('splits', 'none')}"
