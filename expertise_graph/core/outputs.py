"""Where a command may write: into nothing of a workspace, and over a file only if that is to be replaced."""

from __future__ import annotations

from pathlib import Path

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.core.text import setting

DATABASE, ARRAYS = "registry.db", "embeddings"
"""The registry of a workspace, and the folder beside it that holds what is too large for it."""


def check_output(path: Path, name: str | None = "out", *, force: bool | None = None) -> None:
    """Refuse a path that no file may be written to.

    Args:
        path: of the file.
        name: of the setting that gave it; None for an argument.
        force: whether a file that is there is replaced; None where nothing can be.

    Raises:
        InvalidInputError: when it belongs to a workspace, is a folder, a link or a device, is in no folder,
            or is there and is not to be replaced.
    """
    other = _another(name)
    check_no_workspace(path, name)
    if path.is_dir():
        raise InvalidInputError(f"{path} is a folder: {other}")
    if not path.absolute().parent.is_dir():
        raise InvalidInputError(f"there is no folder {path.absolute().parent}: make it, or {other}")
    # A link is often one of the system, such as /dev/stdout: replacing it would break it for all.
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise InvalidInputError(f"{path} is not a regular file: {other}")
    if path.exists() and not force:
        replace = "" if force is None else f"set {setting('force')} to replace it, or "
        raise InvalidInputError(f"{path} exists already: {replace}{other}")


def check_no_workspace(path: Path, name: str | None = "out") -> None:
    """Refuse a path that belongs to a workspace: its registry, the logs of that, or anything in its arrays.

    Raises:
        InvalidInputError: when it does.
    """
    where = path.absolute().parent.resolve() / path.name
    folders = (*where.parents, where)
    # Case does not count on some file systems, and may be one file under two names.
    of_registry = where.name.casefold().startswith(DATABASE) or _same(where, where.parent / DATABASE)
    of_arrays = any(
        folder.name.casefold() == ARRAYS and (folder.parent / DATABASE).exists() for folder in folders
    )
    if of_registry or of_arrays:
        raise InvalidInputError(f"{path} is part of a workspace: {_another(name)}")


def _another(name: str | None) -> str:
    return f"choose another {setting(name) if name else 'path'}"


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False
