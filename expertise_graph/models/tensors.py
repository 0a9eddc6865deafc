"""Tensors on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from expertise_graph.core import SourceError, first_line, replacing, sha256_of_texts
from expertise_graph.models.weights import inspect

_TYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all."""
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    with replacing(path) as temporary:
        save_file(plain, temporary)


def read_tensors(paths: Sequence[Path]) -> tuple[str, dict[str, torch.Tensor]]:
    """Return the hash of safetensors files and their tensors, of the very bytes that were hashed.

    The files are read once: what takes their place meanwhile is not seen.

    Raises:
        SourceError: when a file is damaged.
    """
    hashes, tensors = [], dict[str, torch.Tensor]()
    for path in paths:
        inspect(path)
        data = np.fromfile(path, dtype=np.uint8)
        hashes.append(hashlib.sha256(data.data).hexdigest())
        try:
            tensors.update(_parsed(data))
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            raise SourceError(f"{path} is not a safetensors file ({first_line(error)})") from error
    return hashes[0] if len(hashes) == 1 else sha256_of_texts(hashes), tensors


def _parsed(data: NDArray[np.uint8]) -> dict[str, torch.Tensor]:
    """Return the tensors in the bytes of a safetensors file, which they share."""
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:start].tobytes())
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        kind = _TYPES[entry["dtype"]]
        begin, end = (start + offset for offset in entry["data_offsets"])
        if end > len(data):
            raise ValueError("it is cut short")
        # A copy of each, aligned as torch wants it.
        part = data[begin:end].copy()
        flat = torch.frombuffer(part, dtype=kind) if len(part) else torch.empty(0, dtype=kind)
        tensors[name] = flat.reshape(entry["shape"])
    return tensors
