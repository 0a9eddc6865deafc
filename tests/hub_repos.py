"""Plain folders read as repositories of a model hub: revisions, commits, files, metadata.

``root/models/<org>/<name>/`` is the branch ``main``; a folder ``@<rev>`` inside it is one more
revision (``/`` in its name written ``%2F``). The commit of a revision follows from its content, so
the same content is the same commit wherever it lies. Marker files, never served: ``.gated`` and
``.private`` list the tokens that may pass, one a line; ``.hub.json`` adds to the metadata.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

LFS_SUFFIXES = {".safetensors", ".bin", ".pt", ".pth", ".npz", ".npy", ".parquet", ".zip", ".tar", ".gz"}
MARKERS = {".gated", ".private", ".hub.json"}
HASH_AGAIN_BELOW = 1 << 20


@dataclass(frozen=True)
class Blob:
    """A file of a revision with the hashes that the hub shows."""

    path: str
    file: Path
    size: int
    oid: str
    sha256: str

    @property
    def lfs(self) -> bool:
        return Path(self.path).suffix in LFS_SUFFIXES

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    @property
    def pointer(self) -> dict[str, Any]:
        return {"size": self.size, "pointerSize": 134}


@dataclass(frozen=True)
class Revision:
    """What a branch, a tag or a commit holds."""

    commit: str
    blobs: Mapping[str, Blob]

    def text(self, path: str) -> str:
        return self.blobs[path].file.read_text(encoding="utf-8") if path in self.blobs else ""


@dataclass(frozen=True)
class Repository:
    """A repository of one kind, ``models`` or ``datasets``."""

    kind: str
    id: str
    folder: Path

    def tokens(self, marker: str) -> set[str] | None:
        """Tokens that pass `marker`, or None when the repository does not carry it."""
        file = self.folder / marker
        return set(file.read_text(encoding="utf-8").split()) if file.is_file() else None

    def revisions(self) -> dict[str, Revision]:
        folders = {unquote(f.name[1:]): f for f in self.folder.glob("@*") if f.is_dir()}
        return {name: self._read(folder) for name, folder in {"main": self.folder, **folders}.items()}

    def find(self, name: str) -> Revision | None:
        """The revision called `name`, or the one whose commit it is."""
        revisions = self.revisions()
        by_commit = {revision.commit: revision for revision in revisions.values()}
        return revisions.get(name) or by_commit.get(name)

    def _read(self, folder: Path) -> Revision:
        files = {str(f.relative_to(folder)): f for f in sorted(folder.rglob("*")) if f.is_file()}
        kept = {p: f for p, f in files.items() if p not in MARKERS and not p.startswith("@")}
        blobs = {path: read_blob(path, file) for path, file in kept.items()}
        listing = "\n".join([f"{self.kind}/{self.id}", *(f"{b.oid} {b.path}" for b in blobs.values())])
        return Revision(hashlib.sha1(listing.encode()).hexdigest(), blobs)


def find_repository(root: Path, kind: str, name: str) -> Repository | None:
    """The repository `name` (``org/name``) under `root`, or None."""
    folder = root / kind / name
    return Repository(kind, name, folder) if folder.is_dir() and ".." not in name.split("/") else None


def list_repositories(root: Path, kind: str) -> list[Repository]:
    folders = (f for f in sorted((root / kind).glob("*/*")) if f.is_dir())
    return [Repository(kind, f"{f.parent.name}/{f.name}", f) for f in folders]


def read_blob(path: str, file: Path) -> Blob:
    """Hash a file; the hashes of a large one are kept as long as size and time stay the same."""
    stat = file.stat()
    hashes = _hashes if stat.st_size < HASH_AGAIN_BELOW else _hashes_kept
    oid, sha256 = hashes(file, stat.st_size, stat.st_mtime_ns)
    return Blob(path, file, stat.st_size, oid, sha256)


def _hashes(file: Path, size: int, mtime_ns: int) -> tuple[str, str]:
    content = file.read_bytes()
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return oid, hashlib.sha256(content).hexdigest()


_hashes_kept = lru_cache(maxsize=256)(_hashes)
