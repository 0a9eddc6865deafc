"""Files of a dataset: regular ones, inside its folder, and of bounded size."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from expertise_graph.core import DatasetError, InvalidInputError, byte_size, read_json_object

Skip = tuple[str, str]
"""What was left out, and why."""

# Items are decoded in memory by several threads, and tables are read whole.
MAX_ITEM_BYTES = 64 << 20
MAX_TABLE_BYTES = 2 << 30
# Characters of a name that a message repeats.
_SHOWN = 200
# Left by systems, archives and tools, in any case; hidden ones (.DS_Store, .ipynb_checkpoints) are ignored
# like all hidden files.
_OF_SYSTEMS = frozenset(
    {
        *("__macosx", "__pycache__", "@eadir", "$recycle.bin", "@recycle", "#recycle", "recycler"),
        *("system volume information", "lost+found", "ipynb_checkpoints", "@tmp", "#snapshot"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "_success", "_metadata", "_common_metadata"),
    }
)


def read_regular(path: Path, *, limit: int = MAX_ITEM_BYTES) -> bytes:
    """Read a whole file, unless it is a pipe or a device, or larger than `limit` bytes.

    Raises:
        DatasetError: when the file cannot be read or must not be.
    """
    with _opened(path) as descriptor:
        size = os.fstat(descriptor).st_size
        if size > limit:
            raise DatasetError(f"{path} has {byte_size(size)}; the limit is {byte_size(limit)}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()


def read_start(path: Path, size: int) -> bytes:
    """Read the first bytes of a file; raises as `read_regular`."""
    with _opened(path) as descriptor:
        return os.read(descriptor, size)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    # Without O_NONBLOCK opening a pipe would wait for a writer for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DatasetError(f"{path} is not a regular file")
        yield descriptor
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
    finally:
        os.close(descriptor)


def contained(name: str, folder: Path, *, root: Path | None) -> Path:
    """Return the path of `name` relative to `folder`, which must lie within `root` unless that is None.

    Raises:
        DatasetError: when it leads out of `root`, by name or through a symlink.
    """
    try:
        path = folder / name
        inside = root is None or path.resolve().is_relative_to(root.resolve())
        os.fspath(path).encode("utf-8", "surrogateescape")
    except (OSError, RuntimeError, ValueError) as error:
        raise DatasetError(f"{name[:_SHOWN]!r} is not a usable path: {error}") from error
    if not inside:
        raise DatasetError(f"{name[:_SHOWN]!r} is outside the dataset's folder")
    return path


def below(name: str, folder: Path, *, root: Path | None) -> Path:
    """Return the path of `name`, which a file of `folder` names and which must not lead out of it.

    Raises:
        DatasetError: as `contained`, also when the name leads upwards.
    """
    parts = Path(name).parts
    if Path(name).is_absolute() or ".." in parts:
        raise DatasetError(f"{name[:_SHOWN]!r} is outside the dataset's folder")
    return contained(name, folder, root=root)


def containment_root(folder: Path) -> Path:
    """Return the folder that the files of a downloaded dataset must not leave.

    It is the folder itself, except in a Hub cache, where a snapshot is made of symlinks to blobs. What users
    have themselves needs no such bounds: their symlinks are followed.
    """
    if folder.parent.name == "snapshots" and (folder.parent.parent / "blobs").is_dir():
        return folder.parent.parent.resolve()
    return folder.resolve()


def list_files(folder: Path, *, root: Path | None = None) -> tuple[list[Path], list[Skip]]:
    """List the usable files below `folder`, sorted, and what was left out.

    Hidden files and those of systems are ignored. Symlinks are followed, but not out of `root`, not to a
    folder that they lie in, and to no folder twice.
    """
    found: list[Path] = []
    skipped: list[Skip] = []
    pending = [folder]
    seen = {_identity(folder)}
    while pending:
        for entry in visible(pending.pop(), skipped):
            reason = link_reason(entry, root)
            if reason is None and is_folder(entry):
                known = len(seen)
                seen.add(_identity(Path(entry.path)))
                if len(seen) > known:
                    pending.append(Path(entry.path))
                    continue
                reason = "its folder is read already"
            if reason := reason or _not_a_file(entry):
                skipped.append((entry.path, reason))
            else:
                found.append(Path(entry.path))
    return sorted(found), sorted(skipped)


def visible(folder: Path, skipped: list[Skip]) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of `folder` that users put there; a closed folder is added to `skipped`."""
    try:
        with os.scandir(folder) as entries:
            names = [e for e in entries if not e.name.startswith(".") and e.name.lower() not in _OF_SYSTEMS]
    except OSError as error:
        skipped.append((str(folder), f"cannot be opened: {error.strerror}"))
        return
    yield from sorted(names, key=lambda entry: entry.name)


def folders_in(folder: Path) -> list[Path]:
    """Return the visible folders in `folder`, and links to folders elsewhere."""
    return [Path(e.path) for e in visible(folder, []) if is_folder(e) and link_reason(e, None) is None]


def filled_folders(folder: Path) -> list[Path]:
    """Return the visible folders in `folder` that hold a file at any depth."""
    return [child for child in folders_in(folder) if _holds_a_file(child)]


def _holds_a_file(folder: Path) -> bool:
    return next(walk(folder), None) is not None


def walk(folder: Path, *, root: Path | None = None) -> Iterator[Path]:
    """Yield the usable files below `folder`, through symlinks as `list_files` follows them."""
    pending, seen = [folder], {_identity(folder)}
    while pending:
        here = pending.pop()
        yield from files_in(here, root=root)
        for child in folders_in(here):
            if (known := _identity(child)) not in seen:
                seen.add(known)
                pending.append(child)


def files_in(folder: Path, *, root: Path | None = None) -> list[Path]:
    """Return the visible usable files directly in `folder`."""
    entries = [e for e in visible(folder, []) if not is_folder(e)]
    return [Path(e.path) for e in entries if not (link_reason(e, root) or _not_a_file(e))]


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def link_reason(entry: os.DirEntry[str], root: Path | None) -> str | None:
    """Return why a symlink cannot be followed; None where it can, and for what is no symlink."""
    if not entry.is_symlink():
        return None
    try:
        target = Path(entry.path).resolve(strict=True)
        if target.is_dir() and Path(entry.path).parent.resolve().is_relative_to(target):
            return "symlink to a folder that it is in"
    except (OSError, RuntimeError):
        return "broken symlink"
    if root is not None and not target.is_relative_to(root.resolve()):
        return "symlink that leaves the folder"
    return None


def _not_a_file(entry: os.DirEntry[str]) -> str | None:
    try:
        return None if entry.is_file() else "not a regular file"
    except OSError as error:
        return f"cannot be opened: {error.strerror}"


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError:
        return -1, -1
    return status.st_dev, status.st_ino


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
