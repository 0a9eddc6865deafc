"""A registry as a folder: pushed to it, and merged from it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from expertise_graph.core import (
    DATABASE,
    METADATA,
    InvalidInputError,
    NotFoundError,
    Progress,
    check_no_workspace,
    count,
    replacing,
    sha256_of_file,
    silent,
)
from expertise_graph.features import probe_sets
from expertise_graph.models import hub_token
from expertise_graph.registry import tidy
from expertise_graph.sharing.card import Draw, write_card
from expertise_graph.sharing.checks import check
from expertise_graph.sharing.files import read_manifest, read_snapshot, write_snapshot
from expertise_graph.sharing.format import (
    CARD,
    DATA,
    MANIFEST,
    PICTURE,
    Manifest,
    Snapshot,
    not_a_registry,
    pull_first,
)
from expertise_graph.sharing.gather import gather
from expertise_graph.sharing.merge import Conflict, TableCounts, merge
from expertise_graph.sharing.privacy import Cleaner, refuse_secrets
from expertise_graph.store import Store

# As many digits as a commit of the Hub has.
_REVISION = 40
# Steps that the bar of a push or a pull shows.
_STEPS = 3
_OF_REGISTRY = (MANIFEST, CARD, PICTURE, DATA, ".gitattributes")


@dataclass(frozen=True, kw_only=True)
class SharingOptions:
    """How a registry is shared.

    Attributes:
        anonymous: whether names of tasks and classes are replaced by hashes.
        draw: writes the picture of the graph; None for none.
    """

    anonymous: bool = False
    draw: Draw | None = None


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What was pushed.

    Attributes:
        place: where to.
        revision: commit or, of a folder, hash of what is there now.
        rows: number of rows by table.
        bytes: of all tables and vectors.
        changed: whether anything was new there.
    """

    place: str
    revision: str
    rows: Mapping[str, int]
    bytes: int
    changed: bool


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What was merged.

    Attributes:
        place: where from.
        origin: what its rows are marked with.
        revision: commit or, of a folder, hash of what is there.
        tables: what became of the rows, by table.
        conflicts: rows that contradict what is here, which stayed; the first thousand.
        notes: what to know or to do.
    """

    place: str
    origin: str
    revision: str
    tables: Mapping[str, TableCounts]
    conflicts: tuple[Conflict, ...]
    notes: tuple[str, ...] = field(default=())


def push_folder(
    store: Store, target: Path, options: SharingOptions, *, progress: Progress = silent
) -> Pushed:
    """Write what others may see of a registry into a folder.

    An earlier push is replaced when the new one is whole. Killed in between, the same command completes it.

    Raises:
        InvalidInputError: when the folder holds other files, or what another workspace has pushed since.
    """
    _check_target(target)
    place = place_of(store, target)
    with prepared(store, str(target), options, progress) as (folder, manifest):
        revision = revision_of(folder)
        there = revision_of(target) if (target / MANIFEST).is_file() else None
        if there not in (None, revision, known_revision(store, place)):
            raise pull_first(str(target))
        _copy(folder, target, manifest)
        note_push(store, place, revision)
    progress("pushing", _STEPS, _STEPS)
    return pushed(str(target), revision, manifest, changed=there != revision)


def pushed(place: str, revision: str, manifest: Manifest, *, changed: bool) -> Pushed:
    """Return what was pushed."""
    size = sum(file.bytes for file in manifest.files.values())
    return Pushed(place=place, revision=revision, rows=manifest.rows, bytes=size, changed=changed)


def note_push(store: Store, place: str, revision: str) -> None:
    """Note that a place is known at a revision; what was pulled from it stays noted."""
    with store.transaction():
        store.put_ledger(place, revision, store.ledgers().get(place, {"rows": {}})["rows"])
        store.note_shared("push", place, {"revision": revision})


def known_revision(store: Store, place: str) -> str | None:
    """Return the revision that a place was last pushed to or pulled at."""
    noted = store.ledgers().get(place)
    return noted["revision"] if noted else None


@contextmanager
def prepared(
    store: Store, place: str, options: SharingOptions, progress: Progress
) -> Iterator[tuple[Path, Manifest]]:
    """Give a temporary folder with all files of a shared registry, and its manifest.

    Raises:
        InvalidInputError: when there is nothing to share, or a file would hold a secret.
    """
    progress("pushing", 0, _STEPS)
    token = hub_token()
    secrets = [token] if token else []
    cleaner = Cleaner(store.folder, store.salt(), anonymous=options.anonymous, secrets=secrets)
    snapshot = gather(store, cleaner)
    if not snapshot.tables["experts"]:
        raise InvalidInputError("this workspace has no expert to share; register one first")
    check(snapshot, "this workspace")
    progress("pushing", 1, _STEPS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        manifest = write_snapshot(snapshot, folder, anonymous=options.anonymous)
        # What a folder is called here is not for others.
        called = (
            place if "/" in place and not Path(place).is_absolute() and "." not in place[0] else "./FOLDER"
        )
        write_card(snapshot, folder, called, anonymous=options.anonymous, draw=options.draw)
        refuse_secrets((path for path in folder.rglob("*") if path.is_file()), cleaner.secrets)
        progress("pushing", 2, _STEPS)
        yield folder, manifest


def _check_target(target: Path) -> None:
    check_no_workspace(target, None)
    if target.exists() and not target.is_dir():
        raise InvalidInputError(f"{target} is a file: give a new or empty folder, or ORG/NAME of the Hub")
    if target.is_dir() and not (target / MANIFEST).is_file():
        others = sorted({p.name for p in target.iterdir()} - {*_OF_REGISTRY})
        if others or (target / DATABASE).exists():
            raise InvalidInputError(
                f"{target} holds other files ({', '.join(others[:3])}): give a new or empty folder"
            )


def _copy(folder: Path, target: Path, manifest: Manifest) -> None:
    """Copy a prepared folder: the manifest last, so that what is there is always whole."""
    try:
        (target / DATA).mkdir(parents=True, exist_ok=True)
        for name in [*manifest.files, *(n for n in (CARD, PICTURE) if (folder / n).is_file()), MANIFEST]:
            with replacing(target / name) as temporary:
                shutil.copyfile(folder / name, temporary)
    except OSError as error:
        raise InvalidInputError(f"{target} cannot be written: {error.strerror or error}") from error
    for path in (target / DATA).iterdir():
        if f"{DATA}/{path.name}" not in manifest.files and path.suffix in (".parquet", ".safetensors"):
            path.unlink()


def pull_folder(store: Store, source: Path, *, progress: Progress = silent) -> Pulled:
    """Merge a pushed folder into a registry; see `merge.merge` for the rules.

    Raises:
        NotFoundError: when there is no such folder.
        InvalidInputError: when it is not a whole registry, or of a newer version; nothing is merged then.
    """
    if not source.is_dir():
        raise NotFoundError(f"there is no folder {source}")
    if not (source / MANIFEST).is_file():
        raise not_a_registry(str(source))
    progress("pulling", 0, _STEPS)
    manifest, revision = read_manifest(source, str(source)), revision_of(source)
    snapshot = read_snapshot(source, manifest, str(source))
    return take_in(store, snapshot, str(source), place_of(store, source), revision, progress)


def merge_folder(store: Store, source: Path, *, progress: Progress = silent) -> Pulled:
    """Merge another workspace, or a pushed folder, into a registry; raises as `pull_folder`."""
    if not (source / DATABASE).is_file():
        return pull_folder(store, source, progress=progress)
    if source.resolve() == store.folder.resolve():
        raise InvalidInputError(f"{source} is this workspace; give another one")
    progress("pulling", 0, _STEPS)
    with Store(source) as other, tempfile.TemporaryDirectory() as temporary:
        snapshot = gather(other, Cleaner(other.folder, other.salt(), anonymous=False))
        # Its hash is that of the folder that it would be pushed as.
        write_snapshot(snapshot, Path(temporary), anonymous=False)
        revision = revision_of(Path(temporary))
    return take_in(store, snapshot, str(source), place_of(store, source), revision, progress)


def take_in(
    store: Store, snapshot: Snapshot, name: str, place: str, revision: str, progress: Progress
) -> Pulled:
    """Check what was read from a place, and merge it.

    Args:
        store: the registry.
        snapshot: what was read.
        name: of the place, for messages.
        place: what the registry knows it by.
        revision: of the place.
        progress: called after each step.

    Raises:
        InvalidInputError: naming the first row that is not what it should be; nothing is merged then.
    """
    check(snapshot, name)
    progress("pulling", 1, _STEPS)
    merged = merge(store, snapshot, place=place, revision=revision)
    origin = f"{place}@{revision[:12]}"
    for key, response in snapshot.responses.items():
        # A cache, filed by its content: what is there already was worked out here.
        if not store.features.path(key).exists():
            store.features.put(key, response, note=origin)
    progress("pulling", 2, _STEPS)
    tidy(store)
    progress("pulling", _STEPS, _STEPS)
    return Pulled(
        place=name,
        origin=origin,
        revision=revision,
        tables=dict(merged.tables),
        conflicts=tuple(merged.conflicts),
        notes=tuple(_notes(store, snapshot)),
    )


def _notes(store: Store, snapshot: Snapshot) -> Iterator[str]:
    """Say which experts cannot be run here, and which are not embedded on the current probe set."""
    experts = snapshot.tables["experts"]
    # Of experts that only tables of results name there is no hash of weights, and nothing was ever here.
    by_name = sum(row["source"] == METADATA and bool(row["weights_sha"]) for row in experts)
    if by_name:
        yield (
            f"{count(by_name, 'expert')} known by name only: their weights are with those who trained them; "
            "ask for a folder, and register it"
        )
    ids = [row["id"] for row in experts if row["source"] != METADATA]
    missing = 0
    for modality in {probe_set.modality for probe_set in store.probe_sets()}:
        current = probe_sets.current(store, modality)
        missing += sum(e.id in ids for e in store.without_embedding(current.id, modality))
    if missing:
        yield (
            f"{count(missing, 'expert')} without an embedding on the current probe set: choose that again "
            "with expertise-graph probe use, to run and embed them"
        )


def place_of(store: Store, folder: Path) -> str:
    """Return what a registry knows a folder by: a hash, as its path is not for others."""
    return f"folder:{Cleaner(store.folder, store.salt(), anonymous=False).digest(str(folder.resolve()))}"


def revision_of(folder: Path) -> str:
    """Return the hash that changes with anything in a pushed folder."""
    return sha256_of_file(folder / MANIFEST)[:_REVISION]
