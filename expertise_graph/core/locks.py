"""One process at a time: a lock file that names its owner, and is let go by the system when that dies."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.core.processes import is_gone, process_name

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "9p", "afs", "beegfs", "ceph"})

# What is in a lock file is shorter; more was written by something else.
_MOST_BYTES = 4096


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file while the block runs; its parent must be there.

    The system lets go of the lock when its owner dies. Where it does not do so for processes of other
    machines, the owner that the file names counts until it is known to be gone.

    Args:
        path: of the file; removed at the end.
        what: is in use while it is held, for the message.

    Raises:
        InvalidInputError: when another process holds it.
        OSError: when it cannot be written.
    """
    handle = _taken(path, what)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(handle)


def refuse_in_use(path: Path, what: str) -> None:
    """Raise InvalidInputError, as `locked` does, where another process holds a lock file; take no lock."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return
    try:
        owner = _owner(handle)
        # Whoever died left the file behind; only an owner that seems alive is looked at closely.
        if owner and not is_gone(owner["process"]) and not (_is_alone(handle) and _is_here(path)):
            raise InvalidInputError(_in_use(path, what, owner))
    finally:
        os.close(handle)


def on_network(path: Path, mounts: str | None = None) -> bool:
    """Tell whether `path` lies on a network file system, where locks and write-ahead logs are unsafe.

    Args:
        path: any path; it need not exist yet.
        mounts: text in the form of /proc/mounts, by default that file where there is one.
    """
    if mounts is None:
        table = Path("/proc/mounts")
        mounts = table.read_text() if table.is_file() else ""
    best, kind = "", ""
    for line in mounts.splitlines():
        _, escaped, fstype, *_ = line.split(" ")
        point = escaped.replace("\\040", " ")
        if Path(os.path.abspath(path)).is_relative_to(point) and len(point) >= len(best):
            best, kind = point, fstype
    return kind in _NETWORK or kind.startswith("fuse.ssh")


def _taken(path: Path, what: str) -> int:
    """Return the open lock file, with this process as its owner."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            alone = _is_alone(handle)
            if not _is_at(handle, path):  # its owner removed it meanwhile
                os.close(handle)
                continue
            owner = _owner(handle)
            # A lock that the system gave is the only one, but for what is on other machines.
            if alone is False or (owner and not is_gone(owner["process"]) and not (alone and _is_here(path))):
                raise InvalidInputError(_in_use(path, what, owner))
            content = {"process": process_name(), "pid": str(os.getpid()), "host": platform.node()}
            content["since"] = datetime.now(UTC).isoformat(timespec="seconds")
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(content).encode(), 0)
            return handle
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(handle)
            raise


def _is_alone(handle: int) -> bool | None:
    """Take the lock of the system; False where another holds it, None where there is none to take."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (OSError, AttributeError):
        return None
    return True


def _is_here(path: Path) -> bool:
    return not on_network(path)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _owner(handle: int) -> dict[str, str] | None:
    """Return what a lock file says of its owner, None where it is new."""
    try:
        content = json.loads(os.pread(handle, _MOST_BYTES, 0))
        return {name: str(content[name]) for name in ("process", "pid", "host", "since")}
    except (ValueError, KeyError, TypeError):
        return None


def _in_use(path: Path, what: str, owner: dict[str, str] | None) -> str:
    if owner is None:
        return f"{what} is in use by another process: try again when it is done"
    gone = "" if is_gone(owner["process"]) is False else f"; if it is gone, remove {path}"
    return (
        f"{what} is in use by process {owner['pid']} on {owner['host']} since {owner['since']}: try again "
        f"when it is done{gone}"
    )
