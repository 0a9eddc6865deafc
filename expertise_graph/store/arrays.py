"""Arrays too large for the registry: content-addressed safetensors files under embeddings/."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from expertise_graph.core import Expert, FloatArray, disk_errors


def features_key(expert: Expert, inputs: str) -> str:
    """Return the key of features: which weights saw which inputs through which preprocessing."""
    return _key(expert.weights_sha, inputs, expert.preprocessing_sha)


def response_key(method: str, version: str, of_task: str, of_probes: str) -> str:
    """Return the key of a task's response: by which method, from which two arrays of features."""
    return _key(method, version, of_task, of_probes)


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


# A file that a killed process left half-written; a live one writes for seconds.
_LEFT_AFTER_SECONDS = 3600


class Arrays:
    """A folder of features and responses, each written whole or not at all; a damaged one is absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Return where the array of `key` is or would be."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def get(self, key: str) -> NDArray[np.float32] | None:
        """Return the array stored under `key`, or None where there is none that can be read."""
        try:
            array = load_file(self.path(key))["features"]
        except (OSError, SafetensorError, KeyError, ValueError):
            return None
        return array if np.isfinite(array).all() else None

    def put(self, key: str, array: FloatArray) -> None:
        """Store an array of any shape under `key` as float32."""
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with disk_errors():
                save_file({"features": np.ascontiguousarray(array, dtype=np.float32)}, temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _remove_leftovers(path)


def _remove_leftovers(path: Path) -> None:
    for other in path.parent.glob(f"{path.stem}.*.tmp"):
        with contextlib.suppress(FileNotFoundError):  # another process cleans as well
            if time.time() - other.stat().st_mtime > _LEFT_AFTER_SECONDS:
                other.unlink()
