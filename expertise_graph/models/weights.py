"""Weights on disk: which files hold them, whether they are what they claim, and their hash."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from expertise_graph.core import (
    InvalidInputError,
    SourceError,
    UntrustedError,
    read_json_object,
    sha256_of_file,
    sha256_of_texts,
)

WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".onnx", ".pt2")

# The largest published models have about 100,000 in many files, of which each has far fewer; a header that
# declares millions only fills the memory.
_MAX_TENSORS = 50_000


@dataclass(frozen=True)
class WeightFiles:
    """Safetensors files of one model, in order, with what their headers say."""

    files: tuple[Path, ...]
    params: int
    bytes: int
    sha256: str


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file that came with an expert.

    Raises:
        SourceError: when it is missing, too large, nested too deeply, or not an object.
    """
    try:
        return read_json_object(path)
    except InvalidInputError as error:
        raise SourceError(str(error)) from error


def sha256_of(paths: Sequence[Path]) -> str:
    """Return the hash of the contents of the files, in the order given.

    A file that has not changed since this process hashed it is not read again.
    """
    hashes = [_sha256_at(path, *_state_of(path)) for path in paths]
    return hashes[0] if len(hashes) == 1 else sha256_of_texts(hashes)


def _state_of(path: Path) -> tuple[int, int, int]:
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


@lru_cache(maxsize=4096)
def _sha256_at(path: Path, inode: int, size: int, changed: int) -> str:
    return sha256_of_file(path)


def find_weights(folder: Path) -> WeightFiles:
    """Return the safetensors weights of a checkpoint folder; nothing else in it is opened.

    Raises:
        UntrustedError: when weights are there in a pickle-bearing format only.
        SourceError: when there are none, or a file is not what it claims to be.
    """
    files = _weight_files(folder)
    if not files:
        raise _no_weights(folder)
    params = sum(inspect(path) for path in files)
    size = sum(path.stat().st_size for path in files)
    return WeightFiles(tuple(files), params, size, sha256_of(files))


def weight_paths(folder: Path) -> list[Path]:
    """Return the safetensors files of a checkpoint folder, which are not opened; none where there are none.

    Raises:
        SourceError: when an index names a file that is not there.
    """
    return _weight_files(folder)


def inspect(path: Path) -> int:
    """Return the number of parameters that the header of a safetensors file declares.

    Raises:
        SourceError: when the file is damaged or in another format under this name.
    """
    if not path.is_file():
        raise SourceError(f"{path} is not a regular file")
    try:
        with safe_open(path, framework="pt") as tensors:
            names = list(tensors.keys())
            if len(names) > _MAX_TENSORS:
                raise SourceError(f"{path} declares {len(names)} tensors; at most {_MAX_TENSORS} are read")
            return sum(math.prod(tensors.get_slice(name).get_shape()) for name in names)
    except (SafetensorError, OSError, ValueError) as error:
        raise SourceError(
            f"{path} is not a safetensors file ({error}); download or convert it again"
        ) from error


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).exists():
        return [_contained(folder, WEIGHTS)]
    if not (folder / SHARDS).is_file():
        return []
    shards = read_object(folder / SHARDS).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise SourceError(f"{folder / SHARDS} has no weight_map")
    return [_contained(folder, name) for name in sorted(set(shards.values()))]


def _contained(folder: Path, name: str) -> Path:
    """Return folder / name, which must be a plain name of a regular file.

    Links are followed: hub snapshots are made of links into a shared cache.
    """
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise SourceError(f"weights file {name!r} is not a regular file in {folder}")
    return path


def _no_weights(folder: Path) -> SourceError | UntrustedError:
    if not folder.is_dir():
        return SourceError(f"{folder} is not a folder; give the folder that holds config.json and {WEIGHTS}")
    if inner := _newest_model(folder):
        return SourceError(f"{folder} is the output of a training, not a model: give dir:{inner}")
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLES)
    if pickles:
        return UntrustedError(
            f"{folder} has weights only as {pickles[0]}, a format that can run code; convert it where you "
            f"trust it, with AutoModel.from_pretrained(...).save_pretrained(...), and register the {WEIGHTS}"
        )
    if shards := sorted(p.name for p in folder.glob("model-*-of-*.safetensors")):
        return SourceError(
            f"{folder} has {shards[0]} and no {SHARDS}, which says what is in it: add that file"
        )
    if variants := sorted(p.name for p in folder.glob("*.safetensors")):
        return SourceError(f"no {WEIGHTS} in {folder}: if {variants[0]} is what you mean, rename it")
    there = ", ".join(sorted(p.name for p in folder.iterdir())[:8])
    if not there:
        return SourceError(f"no {WEIGHTS} in {folder}: the folder is empty")
    return SourceError(f"no {WEIGHTS} in {folder}; there: {there}")


def _newest_model(folder: Path) -> Path | None:
    """Return the last checkpoint in the output folder of a Trainer, or the only model below a folder."""
    models = [p.parent for p in folder.glob("*/config.json") if not (folder / "config.json").exists()]
    steps = {int(n): p for p in models if (n := p.name.removeprefix("checkpoint-")).isdigit()}
    if steps:
        return steps[max(steps)]
    return models[0] if len(models) == 1 else None
