"""Arrays too large for the registry: content-addressed safetensors files under embeddings/."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from expertise_graph.core import Expert, FloatArray, replacing, sha256_of_texts


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
        """Return the array stored under `key`, or None where there is none that can be read."""
        try:
            array = load_file(self.path(key))["features"]
        except (OSError, SafetensorError, KeyError, ValueError):
            return None
        return array if np.isfinite(array).all() else None

    def discard(self, key: str) -> None:
        """Delete the array stored under `key`, if there is one."""
        self.path(key).unlink(missing_ok=True)

    def put(self, key: str, array: FloatArray) -> None:
        """Store an array of any shape under `key` as float32."""
        if self.read_only:
            return
        with replacing(self.path(key)) as temporary:
            save_file({"features": np.ascontiguousarray(array, dtype=np.float32)}, temporary)
