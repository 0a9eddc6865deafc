"""Which files in the folder of a run the run wrote: only those are removed when it is replaced."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from expertise_graph.models.descriptions import RunRecord

RECORD, CARD, ENSEMBLE = "run.json", "README.md", "ensemble.json"
DESCRIPTION, HISTORY = "head.json", "history.json"
TESTED, LEARNT = "test.safetensors", "learnt.safetensors"

# Held by the process that is at work in the folder.
LOCK = ".run.lock"

# A record that was being written when its process was killed.
_HALF_WRITTEN = ".run."

# What a run may leave.
_OWN = (
    *("checkpoint", "cold", "model", "tensorboard", "members"),
    *("head.safetensors", TESTED, LEARNT, DESCRIPTION, HISTORY, ENSEMBLE, CARD),
)

# What it removes itself once it has finished.
_WHILE_RUNNING = "checkpoint/"

# The front matter of a card is at its beginning.
_CARD_BYTES = 1 << 16


def files_below(folder: Path) -> set[str]:
    """Return the paths of files and links in a folder, relative to it; links are not followed."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if (path.is_symlink() or not path.is_dir()) and path != folder / LOCK
    }


def manifest(folder: Path) -> dict[str, int]:
    """Return the sizes of the files that a run which took an empty folder has written, by their paths."""
    own = sorted(name for name in files_below(folder) if name.split("/")[0] in _OWN)
    return {name: (folder / name).lstat().st_size for name in own}


def own_files(folder: Path) -> set[str]:
    """Return the files below the folder of a run that it, or a run in a folder below, wrote.

    A finished run lists them; one that has not finished, or of an earlier version, is known by the names of
    what it writes. What was changed since is not the run's any more.

    Raises:
        InvalidInputError: when a record is damaged.
    """
    there = files_below(folder)
    below = [name.removesuffix(RECORD) for name in there if name.endswith(f"/{RECORD}")]
    own = {RECORD} | {name for name in there if name.startswith((_HALF_WRITTEN, _WHILE_RUNNING))}
    for inner in below:
        own |= {inner + name for name in own_files(folder / inner)}
    listed = RunRecord.from_file(folder / RECORD).files
    if listed is not None:
        return own | {name for name in there if _is_listed(folder, name, listed)}
    named = {n for n in there if n.split("/")[0] in _OWN and not n.startswith(tuple(below))}
    return own | {name for name in named if name != CARD or _is_card(folder / CARD)}


def _is_listed(folder: Path, name: str, listed: Mapping[str, int]) -> bool:
    path = folder / name
    return name in listed and not path.is_symlink() and path.stat().st_size == listed[name]


def _is_card(path: Path) -> bool:
    """Tell whether a file begins as the model cards that this program writes."""
    if path.is_symlink():
        return False
    with path.open("rb") as file:
        head = file.read(_CARD_BYTES)
    return head.startswith(b"---") and b'"expertise-graph"' in head
