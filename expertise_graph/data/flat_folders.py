"""Folders of files without a folder per class: what their names tell, and how to lay them out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from expertise_graph.core import listed

# The class before the number of a file (cat_001, cat.1, "cat (1)", cat12) or behind it (001_cat).
_FORMS = (
    re.compile(r"(?P<name>.*[^\W\d_])[-_. ]*\(?\d+\)?"),
    re.compile(r"\d+[-_. ]+(?P<name>[^\W\d_].*)"),
)
# Names that say something are shared: by so many files of a class at least.
_SHARED = 2
# Share of the files whose names must be of the form.
_MOST = 0.9
# Classes that a message names.
_NAMED = 4


def classes_in_names(files: Sequence[Path]) -> dict[str, int]:
    """Return how many files seem to be of each class by their names; empty where those do not tell.

    Example:
        >>> classes_in_names([Path(f"{kind}_{i:03}.jpg") for kind in ("cat", "dog") for i in range(3)])
        {'cat': 3, 'dog': 3}
        >>> classes_in_names([Path(f"IMG_{i}.jpg") for i in range(6)])
        {}
    """
    for form in _FORMS:
        matches = [form.fullmatch(file.stem) for file in files]
        found = Counter(match["name"] for match in matches if match)
        if len(found) > 1 and min(found.values()) >= _SHARED and found.total() >= _MOST * len(files):
            return dict(sorted(found.items()))
    return {}


def how_to_lay_out(files: Sequence[Path]) -> str:
    """Return a sentence on what to do with files that lie in no folder of their class."""
    named = classes_in_names(files)
    seem = listed([f"{name}: {n:,}" for name, n in named.items()], _NAMED)
    told = f"; by their names they seem to be of {len(named):,} classes ({seem})" if named else ""
    return (
        f"{told}: put the files of each class into a folder called like the class, or give a table with a "
        "column of file names and one of labels"
    )
