"""A registry as a repository of data on the Hub: pushed to it, and merged from it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from expertise_graph.core import InvalidInputError, NotFoundError, Progress, silent
from expertise_graph.models import HubRepository, RemoteState, missing
from expertise_graph.sharing.files import read_manifest, read_snapshot
from expertise_graph.sharing.folders import (
    Pulled,
    Pushed,
    SharingOptions,
    known_revision,
    note_push,
    prepared,
    pushed,
    take_in,
)
from expertise_graph.sharing.format import (
    CARD,
    DATA,
    MANIFEST,
    MOST_MANIFEST_BYTES,
    PICTURE,
    Manifest,
    not_a_registry,
    pull_first,
)
from expertise_graph.store import Store

_KIND = "dataset"
# What the Hub puts into a new repository.
_OF_HUB = (".gitattributes", CARD)


def push_hub(
    store: Store, name: str, options: SharingOptions, *, public: bool = False, progress: Progress = silent
) -> Pushed:
    """Commit what others may see of a registry to a repository; one that is not there is made.

    It is one commit: it is there as a whole, or not. Killed in between, the same command completes it.

    Raises:
        InvalidInputError: when the repository holds something else, or what others have pushed since the last
            pull.
        OfflineError, SourceError: when the Hub does not answer, or does not let this account write.
    """
    repository = HubRepository(name, _KIND)
    with prepared(store, name, options, progress) as (folder, manifest):
        state = repository.state() or _made(repository, public)
        there = _manifest_of(repository, state)
        if there == manifest:
            # Pushed before, perhaps by a process that was killed before it could note that.
            note_push(store, name, state.commit)
            return pushed(name, state.commit, manifest, changed=False)
        if there is not None and known_revision(store, name) != state.commit:
            raise pull_first(name)
        if there is None and (others := sorted({*state.files} - {*_OF_HUB})):
            raise InvalidInputError(
                f"{name} holds other files ({', '.join(others[:3])}): give the name of a new repository"
            )
        files = [n for n in (*manifest.files, CARD, PICTURE, MANIFEST) if (folder / n).is_file()]
        old = [n for n in state.files if n.startswith(f"{DATA}/") and n not in manifest.files]
        rows = manifest.rows
        commit = repository.commit(
            folder,
            files=files,
            delete=old,
            parent=state.commit,
            message=f"Registry: {rows['experts']} experts, {rows['tasks']} tasks, {rows['edges']} relations",
        )
        if commit is None:
            raise pull_first(name)
        note_push(store, name, commit)
    progress("pushing", 3, 3)
    return pushed(name, commit, manifest, changed=True)


def _made(repository: HubRepository, public: bool) -> RemoteState:
    repository.create(public=public)
    state = repository.state()
    if state is None:
        raise NotFoundError(missing(repository.name))
    return state


def _manifest_of(repository: HubRepository, state: RemoteState) -> Manifest | None:
    """Return the manifest of a revision; None where it has none."""
    if MANIFEST not in state.files:
        return None
    with tempfile.TemporaryDirectory() as temporary:
        return _fetch_manifest(repository, state, Path(temporary))


def _fetch_manifest(repository: HubRepository, state: RemoteState, folder: Path) -> Manifest:
    size = state.files[MANIFEST]
    if size is not None and size > MOST_MANIFEST_BYTES:
        raise not_a_registry(repository.name)
    repository.fetch(folder, files=[MANIFEST], revision=state.commit)
    return read_manifest(folder, repository.name)


def pull_hub(store: Store, name: str, *, revision: str | None = None, progress: Progress = silent) -> Pulled:
    """Merge a registry from a repository; see `merge.merge` for the rules.

    Raises:
        NotFoundError: when there is no such repository or revision.
        InvalidInputError: when it is not a whole registry, or of a newer version; nothing is merged then.
        OfflineError, SourceError: when the Hub does not answer, or refuses to.
    """
    repository = HubRepository(name, _KIND)
    state = repository.state(revision)
    if state is None:
        raise NotFoundError(missing(name))
    if MANIFEST not in state.files:
        raise not_a_registry(name)
    progress("pulling", 0, 3)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        manifest = _fetch_manifest(repository, state, folder)
        for path, file in manifest.files.items():
            # Before anything is downloaded: a file may be larger than the manifest says.
            if state.files.get(path, file.bytes) not in (None, file.bytes) or path not in state.files:
                raise InvalidInputError(
                    f"{name} is not whole: {path} is missing or of another size; push it again"
                )
        repository.fetch(folder, files=manifest.files, revision=state.commit)
        snapshot = read_snapshot(folder, manifest, name)
    return take_in(store, snapshot, name, name, state.commit, progress)
