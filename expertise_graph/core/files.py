"""Files: written as a whole or not at all, JSON read strictly, hashes of contents.

Everything that the package leaves on disk goes through here: content is written beside its target, flushed
to the disk, and moved into place, so that a reader or a power failure sees the old content or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from expertise_graph.core.errors import InvalidInputError, disk_errors
from expertise_graph.core.processes import is_gone, process_name

# Larger files are data, not configuration: reading one would only fill the memory.
MAX_JSON_BYTES = 64 << 20

# A temporary file of another machine that is this old was left by a killed writer; a live one writes
# for seconds.
LEFT_AFTER_SECONDS = 3600


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write a file to; it takes the place of `path` at the end.

    Parents of `path` are made. Nothing is left when the block raises.

    Raises:
        OSError: for example when the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = _beside(path)
    try:
        with disk_errors():
            yield temporary
            finish(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder beside `path`; it becomes `path` at the end, with all its files on disk.

    `path` must be absent or an empty folder. Nothing is left when the block raises.

    Raises:
        InvalidInputError: when `path` holds files by then.
        OSError: for example when the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = _beside(path)
    temporary.mkdir()
    try:
        with disk_errors():
            yield temporary
            finish_tree(temporary)
        try:
            temporary.rename(path)
        except OSError as error:
            raise InvalidInputError(f"{path} is there already and is not empty; choose another") from error
        sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all; bytes of a path that are none are written as escapes."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: object) -> None:
    """Write strict JSON (no NaN), whole or not at all."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Return what a regular JSON file of at most `MAX_JSON_BYTES` holds; NaN and Infinity are refused.

    Raises:
        InvalidInputError: naming the file and what is wrong with it.
    """
    try:
        # A pipe or a device would be waited for.
        if path.exists() and not path.is_file():
            raise InvalidInputError(f"{path} is not a regular file")
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InvalidInputError(f"{path} is larger than {MAX_JSON_BYTES >> 20} MiB")
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise InvalidInputError(f"{path} is missing") from error
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror or error}") from error
    except RecursionError as error:
        raise InvalidInputError(f"{path} is nested too deeply") from error
    except ValueError as error:
        raise InvalidInputError(f"{path} is no JSON: {error}") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; see `read_json`.

    Raises:
        InvalidInputError: as `read_json`, and when it holds something else than an object.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InvalidInputError(f"{path} holds a {type(content).__name__}, an object is expected")
    return content


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def finish(path: Path) -> None:
    """Flush a new file to the disk, readable to whom the umask allows it."""
    # safetensors makes its files for the owner alone, whatever the umask says (safetensors#782).
    with contextlib.suppress(PermissionError):  # a file system without permissions
        path.chmod(0o666 & ~_umask())
    sync(path)


def finish_tree(folder: Path) -> None:
    """Do the same for all files below a new folder, and flush the folders."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if not path.is_symlink():
            sync(path) if path.is_dir() else finish(path)
    sync(folder)


def _umask() -> int:
    """Return the umask of this process; only Linux tells it without changing it for a moment."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("Umask:")[1].split()[0], 8)
    except (OSError, IndexError, ValueError):
        umask = os.umask(0)
        os.umask(umask)
        return umask


def path_part(text: str) -> str:
    """Return a text that is to be part of a file's name, such as what an id of the registry ends with.

    Raises:
        InvalidInputError: when it could lead to another folder.
    """
    if not re.fullmatch(r"[0-9A-Za-z_-]{1,128}", text):
        raise InvalidInputError(f"{text!r} is no part of an id: it would name a file elsewhere")
    return text


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sha256_of_bytes(content: bytes) -> str:
    """Return the sha256 of bytes as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_texts(texts: Iterable[str]) -> str:
    """Return the sha256 of texts joined by line ends, as 64 hexadecimal digits."""
    return sha256_of_bytes("\n".join(texts).encode("utf-8", "backslashreplace"))


def sha256_of_json(value: object) -> str:
    """Return the sha256 of a value's JSON with sorted keys: the same however it was put together."""
    return sha256_of_bytes(json.dumps(value, sort_keys=True).encode("utf-8"))


def sha256_of_file(path: Path) -> str:
    """Return the sha256 of a file's content, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _beside(path: Path) -> Path:
    # Hidden, so that no reader of the folder takes it for content; some writers look at the suffix.
    return path.with_name(f".{path.stem}.{process_name()}-{uuid.uuid4().hex}.tmp{path.suffix}")


def _remove_leftovers(path: Path) -> None:
    for other in path.parent.glob(f".{_escaped(path.stem)}.*.tmp*"):
        with contextlib.suppress(FileNotFoundError):  # another process cleans as well
            if _is_left_over(other):
                remove(other)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed writers in a folder and below it."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.startswith(".") and ".tmp" in name:
                with contextlib.suppress(OSError):  # another process cleans as well
                    if _is_left_over(Path(parent) / name):
                        remove(Path(parent) / name)


def _is_left_over(temporary: Path) -> bool:
    """Tell whether the writer of a temporary file is gone: by its process on this machine, else by age."""
    owner = re.search(r"\.([0-9a-f]{8}-\d+)-[0-9a-f]{32}\.tmp", temporary.name)
    gone = is_gone(owner[1]) if owner else None
    if gone is not None:
        return gone
    # By the clock of the file system; one that was set back makes what was written before younger than now.
    with tempfile.TemporaryFile(dir=temporary.parent) as new:
        age = os.fstat(new.fileno()).st_mtime - temporary.stat().st_mtime
    return abs(age) > LEFT_AFTER_SECONDS


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
