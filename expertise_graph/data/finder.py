"""Finds the files that the cells of a table name, however they are written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from expertise_graph.core import DatasetError, listed
from expertise_graph.data.files import contained, walk

# Files below the folder of a table that are looked through; more are somebody's home and not a data set.
_MOST = 300_000


class FileFinder:
    """Finds files by the cells of a table.

    A cell is a path as seen from the folder of the table, or an absolute one (without a root also from the
    user's home on, `~/x.png`); else it may have backslashes, a
    query (`?w=10`), or be a URL: then the file of that name below the folder is meant, or that of its stem
    where the cell has no suffix or another. A path with folders is only found in a folder of that name.

    Args:
        folder: of the table.
        root: folder that files must not leave; None for no bounds.
        prefer: stem of the table: where several files have a name, those in folders called like it are meant.
    """

    def __init__(self, folder: Path, root: Path | None, *, prefer: str = "") -> None:
        self._folder = folder
        self._root = root
        self._prefer = prefer.lower()

    def path(self, cell: str) -> Path:
        """Return the file that a cell names; a path that does not exist where there is none.

        Raises:
            DatasetError: when it is no path, leads out of the root, or several files may be meant.
        """
        if self._root is None and cell.startswith("~/"):
            cell = os.path.expanduser(cell)
        plain = _plain(cell)
        for name in (cell, plain) if plain != cell else (cell,):
            path = contained(name, self._folder, root=self._root)
            if _is_file(path):
                return path
        found = self._by_name(plain)
        if len(found) > 1:
            shown = listed([path.relative_to(self._folder).as_posix() for path in sorted(found)], 2)
            raise DatasetError(f"several files may be meant: {shown}")
        if not found and "://" in cell:
            name = plain.rpartition("/")[2][:80]
            raise DatasetError(f"No such file: nothing is downloaded, and there is no {name!r} here")
        return found[0] if found else contained(cell, self._folder, root=self._root)

    def finds(self, cells: Sequence[str]) -> bool:
        """Tell whether at least half of some cells name files that are there."""
        return bool(cells) and sum(map(self._there, cells)) * 2 >= len(cells)

    def _there(self, cell: str) -> bool:
        try:
            return bool(cell) and _is_file(self.path(cell))
        except DatasetError:
            return False

    def _by_name(self, plain: str) -> list[Path]:
        folder, _, name = plain.rpartition("/")
        known = self._files.get(_stem(name), [])
        exact = [path for path in known if path.name == name] or known
        if folder and "://" not in plain:
            # Another file of that name in another folder may be of another class.
            return [path for path in exact if path.parent.name == folder.rpartition("/")[2]]
        inside = [path for path in exact if _in_folder(path, self._folder, self._prefer)]
        return inside if len(exact) > 1 and inside else exact

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for number, path in enumerate(walk(self._folder, root=self._root)):
            if number >= _MOST:
                return {}
            found.setdefault(_stem(path.name), []).append(path)
        return found


def _plain(cell: str) -> str:
    path = cell.strip().replace("\\", "/")
    bare = path.partition("?")[0] if "://" in path or "." in path.partition("?")[0] else path
    return unquote(bare.partition("#")[0] if "://" in bare else bare) or cell


def _stem(name: str) -> str:
    """Return a name without its suffix; a dot in an id (`v1.17`) begins none."""
    stem, _, suffix = name.rpartition(".")
    return stem if stem and suffix.isalnum() and not suffix.isdigit() and len(suffix) <= 5 else name


def _in_folder(path: Path, top: Path, name: str) -> bool:
    parts = path.relative_to(top).parts[:-1]
    return bool(name) and any(part.lower().startswith(name.lower()) for part in parts)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
