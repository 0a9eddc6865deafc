"""Where a workspace is."""

from __future__ import annotations

import os
from pathlib import Path

from expertise_graph.core import DATABASE, NotFoundError

HOME_VARIABLE = "EXPERTISE_GRAPH_HOME"


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
        raise NotFoundError(f"no workspace in {folder}; make one with: expertise-graph init {folder}")
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / DATABASE).is_file():
            return folder
    raise NotFoundError(f"no workspace in {here} or a folder above; make one with: expertise-graph init")
