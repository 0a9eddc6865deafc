"""Where a workspace is, and whether its file system can carry a write-ahead log."""

from __future__ import annotations

import os
from pathlib import Path

from expertise_graph.core import NotFoundError

HOME_VARIABLE = "EXPERTISE_GRAPH_HOME"
DATABASE = "registry.db"
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "9p", "afs", "beegfs", "ceph"})


def find_workspace(path: str | Path | None = None) -> Path:
    """Return the folder of the workspace that commands work on.

    The order is: `path`, $EXPERTISE_GRAPH_HOME, then the nearest folder from the current one
    upwards that holds a registry.db.

    Raises:
        NotFoundError: when none of them holds a registry.db.
    """
    named = path or os.environ.get(HOME_VARIABLE)
    if named:
        folder = Path(named).expanduser().resolve()
        if (folder / DATABASE).is_file():
            return folder
        raise NotFoundError(f"no {DATABASE} in {folder}; run: expertise-graph init {folder}")
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / DATABASE).is_file():
            return folder
    raise NotFoundError(f"no {DATABASE} in {here} or above; run: expertise-graph init")


def on_network(path: Path, mounts: str | None = None) -> bool:
    """Tell whether `path` lies on a network file system, where write-ahead logs are unsafe.

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
