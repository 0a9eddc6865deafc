"""Where registries are shared: a folder, or a repository of data on the Hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from expertise_graph.core import InvalidInputError, Progress, setting, silent
from expertise_graph.sharing.folders import Pulled, Pushed, SharingOptions, pull_folder, push_folder
from expertise_graph.sharing.hub import pull_hub, push_hub
from expertise_graph.store import Store

_REPOSITORY = re.compile(r"[0-9A-Za-z][\w.-]{0,95}/[0-9A-Za-z][\w.-]{0,95}", re.ASCII)


def push(
    store: Store, target: str, options: SharingOptions, *, public: bool = False, progress: Progress = silent
) -> Pushed:
    """Push a registry to a place; see `Workspace.push`."""
    repository = repository_of(target)
    if repository is None:
        return push_folder(store, Path(target).expanduser(), options, progress=progress)
    return push_hub(store, repository, options, public=public, progress=progress)


def pull(store: Store, source: str, *, revision: str | None = None, progress: Progress = silent) -> Pulled:
    """Merge a registry from a place; see `Workspace.pull`."""
    repository = repository_of(source)
    if repository is None:
        if revision is not None:
            raise InvalidInputError(f"{source} is a folder, which has no {setting('revision')}; leave it out")
        return pull_folder(store, Path(source).expanduser(), progress=progress)
    return pull_hub(store, repository, revision=revision, progress=progress)


def is_repository(name: str) -> bool:
    """Tell whether a text is the name of a repository, ``ORG/NAME``."""
    return _REPOSITORY.fullmatch(name) is not None


def repository_of(text: str) -> str | None:
    """Return the repository on the Hub that a place is; None for a folder.

    Raises:
        InvalidInputError: for what is neither.

    Example:
        >>> repository_of("our-lab/graph"), repository_of("hf:our-lab/graph"), repository_of("./graph")
        ('our-lab/graph', 'our-lab/graph', None)
    """
    name = text.removeprefix("hf:")
    if _REPOSITORY.fullmatch(name) and not name.endswith((".git", ".ipynb")):
        return name
    if name != text or not text or "\0" in text or text.startswith(("http://", "https://")):
        raise InvalidInputError(
            f"{text!r} is not a place to share at: give ORG/NAME, a repository of data on the Hub, or a "
            f"folder, such as .{os.sep}our-graph"
        )
    return None
