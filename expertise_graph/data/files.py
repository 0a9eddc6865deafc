"""Files of a dataset: regular ones, inside its folder, and of bounded size."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expertise_graph.core import DatasetError, InvalidInputError, byte_size, read_json_object

Skip = tuple[str, str]
"""What was left out, and why."""

# Items are decoded in memory by several threads, and tables are read whole.
MAX_ITEM_BYTES = 64 << 20
MAX_TABLE_BYTES = 2 << 30
# Left by archives of macOS and by Python.
_IGNORED_FOLDERS = frozenset({"__MACOSX", "__pycache__"})


def read_regular(path: Path, *, limit: int = MAX_ITEM_BYTES) -> bytes:
    """Read a whole file, unless it is a pipe or a device, or larger than `limit` bytes.

    Raises:
        DatasetError: when the file cannot be read or must not be.
    """
    # Without O_NONBLOCK opening a pipe would wait for a writer for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DatasetError(f"{path} is not a regular file")
        if status.st_size > limit:
            raise DatasetError(f"{path} has {byte_size(status.st_size)}; the limit is {byte_size(limit)}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def contained(name: str, folder: Path, *, root: Path) -> Path:
    """Return the path of `name` relative to `folder`, which must lie within `root`.

    Raises:
        DatasetError: when it leads out of `root`, by name or through a symlink.
    """
    try:
        path = folder / name
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise DatasetError(f"{name!r} is not a usable path: {error}") from error
    if not inside:
        raise DatasetError(f"{name!r} is outside the dataset's folder")
    return path


def containment_root(path: Path) -> Path:
    """Return the folder that the files of the dataset at `path` must not leave.

    It is the folder itself, except in a Hub cache, where a snapshot is made of symlinks to blobs.
    """
    folder = path if path.is_dir() else path.parent
    if folder.parent.name == "snapshots" and (folder.parent.parent / "blobs").is_dir():
        return folder.parent.parent.resolve()
    return folder.resolve()


def list_files(folder: Path, *, root: Path) -> tuple[list[Path], list[Skip]]:
    """List the usable files below `folder`, sorted, and what was left out.

    Hidden files are ignored; links to folders are not followed.
    """
    found: list[Path] = []
    skipped: list[Skip] = []
    pending = [folder]
    while pending:
        for entry in visible(pending.pop(), skipped):
            if entry.is_dir(follow_symlinks=False):
                pending.append(Path(entry.path))
            elif reason := _unusable(entry, root):
                skipped.append((entry.path, reason))
            else:
                found.append(Path(entry.path))
    return sorted(found), sorted(skipped)


def visible(folder: Path, skipped: list[Skip]) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of `folder` that are not hidden; a closed folder is added to `skipped`."""
    try:
        with os.scandir(folder) as entries:
            names = [e for e in entries if not e.name.startswith(".") and e.name not in _IGNORED_FOLDERS]
    except OSError as error:
        skipped.append((str(folder), f"cannot be opened: {error.strerror}"))
        return
    yield from sorted(names, key=lambda entry: entry.name)


def folders_in(folder: Path) -> list[Path]:
    """Return the visible folders in `folder`, links left out."""
    return [Path(e.path) for e in visible(folder, []) if e.is_dir(follow_symlinks=False)]


def files_in(folder: Path, *, root: Path) -> list[Path]:
    """Return the visible usable files directly in `folder`."""
    entries = [e for e in visible(folder, []) if not e.is_dir(follow_symlinks=False)]
    return [Path(e.path) for e in entries if not _unusable(e, root)]


def _unusable(entry: os.DirEntry[str], root: Path) -> str | None:
    if not entry.is_symlink():
        return None if entry.is_file(follow_symlinks=False) else "not a regular file"
    try:
        target = Path(entry.path).resolve(strict=True)
    except (OSError, RuntimeError):
        return "broken symlink"
    if not target.is_relative_to(root.resolve()):
        return "symlink that leaves the folder"
    if target.is_dir():
        return "symlink to a folder"
    return None if target.is_file() else "not a regular file"


def read_json_in_data(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of a dataset.

    Raises:
        DatasetError: when it is missing, is no regular file, or holds something else.
    """
    try:
        return read_json_object(path)
    except InvalidInputError as error:
        raise DatasetError(str(error)) from error


def decode_utf8(data: bytes, name: str) -> str:
    """Decode UTF-8 bytes, with or without byte order mark.

    Raises:
        DatasetError: naming the offset of the first byte that is not UTF-8 and the way out.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DatasetError(f"{name} is UTF-16, not UTF-8 (byte order mark at offset 0); {_way_out('UTF-16')}")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        byte = data[error.start]
        raise DatasetError(
            f"{name} is not UTF-8: byte 0x{byte:02x} at offset {error.start}; {_way_out('ISO-8859-1')}"
        ) from error


def _way_out(encoding: str) -> str:
    return f"convert it, for example with: iconv -f {encoding} -t UTF-8 OLD > NEW"
