"""Whether what the cache of the Hub holds is what the Hub has: files there are named by their hash."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from expertise_graph.core import TemporaryError
from expertise_graph.models.weights import sha256_of

_SHA256, _GIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


def check_blobs(root: Path, repo: str) -> None:
    """Refuse a snapshot in which a file is not the one that it is named after.

    The cache links each file to a blob under the name that the Hub gave with it: SHA-256 for large files,
    the hash of git for others. Without links, as on some systems, nothing can be told.

    Raises:
        TemporaryError: naming the file to delete.
    """
    for path in sorted(root.rglob("*")):
        if path.is_symlink() and path.is_file() and not _is_whole(path):
            raise TemporaryError(
                f"{path.relative_to(root)} of hf:{repo} is not what the Hub has: {path.resolve()} is "
                "damaged, delete it and do this again to download it anew"
            )


def _is_whole(path: Path) -> bool:
    name = path.resolve().name
    if _SHA256.fullmatch(name):
        return sha256_of([path]) == name
    if _GIT.fullmatch(name):
        data = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == name
    return True
