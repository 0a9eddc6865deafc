"""Arrays too large for the registry: content-addressed safetensors files under embeddings/."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from expertise_graph.core import (
    Expert,
    FloatArray,
    disk_errors,
    replacing,
    sha256_of_bytes,
    sha256_of_texts,
)

_NAME = "features"
_CHECKSUM, _NOTE, _KEY = "sha256", "note", "key"
# Bytes that name, shape, checksum and note of an array take at most.
_DESCRIPTION = 4096


def features_key(expert: Expert, inputs: str) -> str:
    """Return the key of features: which weights saw which inputs through which preprocessing."""
    return sha256_of_texts([expert.weights_sha, inputs, expert.preprocessing_sha])


def response_key(method: str, version: str, of_task: str, of_probes: str) -> str:
    """Return the key of a task's response: by which method, from which two arrays of features."""
    return sha256_of_texts([method, version, of_task, of_probes])


class Arrays:
    """A folder of features and responses, each written whole or not at all; a damaged one is absent.

    Args:
        folder: of the arrays.
        read_only: whether nothing can be kept there; what is put is then dropped.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder, self.read_only = folder, read_only

    def path(self, key: str) -> Path:
        """Return where the array of `key` is or would be."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def get(self, key: str) -> NDArray[np.float32] | None:
        """Return the array stored under `key`, or None where there is none that can be read.

        One whose numbers are not those that were stored under this key counts as absent; earlier versions
        kept no checksum, or none of the key.
        """
        try:
            with safe_open(self.path(key), framework="np") as stored:
                array = stored.get_tensor(_NAME)
                metadata = stored.metadata() or {}
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):
            return None
        right = {_CHECKSUM: _checksum(array), _KEY: key}
        if any(metadata.get(name, value) != value for name, value in right.items()):
            return None
        return array if np.isfinite(array).all() else None

    def note(self, key: str) -> str:
        """Return what was noted with the array of `key`; an empty text where that is nothing."""
        try:
            with safe_open(self.path(key), framework="np") as stored:
                return str((stored.metadata() or {}).get(_NOTE, ""))
        except (OSError, SafetensorError):
            return ""

    def keys_of_length(self, length: int, *, most: int) -> list[str]:
        """Return the keys of up to `most` vectors of a length, in the order of the keys."""
        found: list[str] = []
        for path in sorted(self.folder.glob("??/*.safetensors")):
            # A file that is far larger than the vector and its description is not looked into.
            if len(found) < most and path.stat().st_size < 4 * length + _DESCRIPTION:
                with contextlib.suppress(OSError, SafetensorError), safe_open(path, framework="np") as stored:
                    if stored.get_slice(_NAME).get_shape() == [length]:
                        found.append(path.stem)
        return found

    def discard(self, key: str) -> None:
        """Delete the array stored under `key`, if there is one."""
        self.path(key).unlink(missing_ok=True)

    def put(self, key: str, array: FloatArray, *, note: str = "") -> None:
        """Store an array of any shape under `key` as float32, with its checksum and a note for people."""
        if self.read_only:
            return
        kept = np.ascontiguousarray(array, dtype=np.float32)
        metadata = {_CHECKSUM: _checksum(kept), _KEY: key, **({_NOTE: note} if note else {})}
        with replacing(self.path(key)) as temporary, disk_errors():
            save_file({_NAME: kept}, temporary, metadata=metadata)


def _checksum(array: NDArray[np.float32]) -> str:
    return sha256_of_bytes(f"{array.dtype} {array.shape}".encode() + array.tobytes())
