"""Delta files: safetensors whose every tensor is checked against the parent before it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from expertise_graph.core import (
    InvalidInputError,
    NotFoundError,
    check_no_workspace,
    check_output,
    replacing,
    setting,
)
from expertise_graph.deltas.delta import DIFFERENCE, NO_HEAD, About, Delta, head_sha256
from expertise_graph.deltas.packing import check_parts
from expertise_graph.merging import LoadedModel, State
from expertise_graph.models import inspect

# The largest classifiers have some 20,000; a header that declares more would only fill the memory.
MOST_CLASSES = 100_000
HEAD_TENSORS = (":head.weight", ":head.bias")


def write_delta(delta: Delta, path: Path) -> int:
    """Write a delta and return its size in bytes; a reader sees the whole file or none.

    Raises:
        InvalidInputError: when there is something at `path`, or it cannot be written.
    """
    check_free(path)
    tensors = {
        f"{part}:{name}": tensor.contiguous()
        for name, parts in delta.parts.items()
        for part, tensor in parts.items()
    }
    try:
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata=delta.about.as_metadata())
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be written ({error.strerror}): choose another {setting('out')}"
        ) from error
    return path.stat().st_size


def check_free(path: Path) -> None:
    """Refuse a path that holds something or belongs to a workspace; folders above it are made.

    Raises:
        InvalidInputError: when it does.
    """
    if path.parent.exists():
        check_output(path)
    else:
        check_no_workspace(path)


def read_about(path: Path) -> About:
    """Return what a delta file says of itself, from its header.

    Raises:
        NotFoundError: when there is no file.
        SourceError: when it is no safetensors file.
        InvalidInputError: when it is no delta.
    """
    if not path.exists():
        raise NotFoundError(f"no delta at {path}")
    inspect(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    try:
        return About.from_metadata(metadata or {})
    except InvalidInputError as error:
        raise InvalidInputError(f"{path} cannot be used: {error}") from error


def read_delta(path: Path, parent: LoadedModel, *, head: bool = True) -> Delta:
    """Return the delta in a file, if it belongs to the weights of `parent`.

    Names, shapes and types of all tensors are compared with the parent's before one is read, so that
    no more memory is taken than the parent takes.

    Args:
        path: the file.
        parent: the model it is to be added to.
        head: whether the head in it, if there is one, is read.

    Raises:
        NotFoundError, SourceError: as `read_about`.
        InvalidInputError: when it is a delta to other weights (both hashes are named), or has
            tensors that the parent has not, of another shape, or with NaN or infinite values.
    """
    about = read_about(path)
    if about.parent_sha256 != parent.expert.weights_sha:
        raise InvalidInputError(
            f"{path} is a delta to weights {about.parent_sha256[:16]}, those of {parent.name} are "
            f"{parent.expert.weights_sha[:16]}: apply it to {about.parent[:80]}"
        )
    about = about if head else dataclasses.replace(about, head=NO_HEAD, classes=())
    shapes = tensor_shapes(parent, about)
    with safe_open(path, framework="pt") as file:
        keys = list(file.keys())
        names = _grouped(path, [key for key in keys if head or not key.endswith(HEAD_TENSORS)])
        for name, parts in names.items():
            declared = {part: _shape(file, f"{part}:{name}") for part in parts}
            reason = (
                check_parts(declared, shapes[name]) if name in shapes else "the parent has no such tensor"
            )
            if reason:
                raise InvalidInputError(f"{path} cannot be applied to {parent.name}: {name[:80]}: {reason}")
        read = {name: {p: file.get_tensor(f"{p}:{name}") for p in parts} for name, parts in names.items()}
    _check_finite(path, read)
    return Delta(about=about, parts=read)


def tensor_shapes(parent: LoadedModel, about: About) -> dict[str, torch.Size]:
    """Return the shape of each tensor that a delta to `parent` may have.

    Raises:
        InvalidInputError: when its head does not go with the parent's.
    """
    shapes = {f"backbone.{name}": tensor.shape for name, tensor in parent.weights.floating.items()}
    if about.head == NO_HEAD:
        return shapes
    if about.head == DIFFERENCE and (
        parent.head is None or head_sha256(parent.head) != about.parent_head_sha256
    ):
        raise InvalidInputError(
            f"the delta changes a head that {parent.name} does not have (sha256 "
            f"{about.parent_head_sha256[:16]}): apply it to the folder of the run, or set "
            f"{setting('head', False)}"
        )
    count = len(about.classes)
    if not 1 <= count <= MOST_CLASSES:
        raise InvalidInputError(f"the delta has a head for {count} classes: 1 to {MOST_CLASSES} are read")
    return shapes | {
        "head.weight": torch.Size([count, parent.backbone.dim]),
        "head.bias": torch.Size([count]),
    }


def _grouped(path: Path, keys: list[str]) -> dict[str, list[str]]:
    """Return the parts of each tensor."""
    names: dict[str, list[str]] = {}
    for key in keys:
        part, colon, name = key.partition(":")
        if not colon:
            raise InvalidInputError(f"{path} has a tensor {key[:80]!r}, which no delta has")
        names.setdefault(name, []).append(part)
    return names


def _shape(file: Any, key: str) -> tuple[tuple[int, ...], str]:
    part = file.get_slice(key)
    return tuple(part.get_shape()), str(part.get_dtype())


def _check_finite(path: Path, read: Mapping[str, State]) -> None:
    for name, parts in read.items():
        for part, tensor in parts.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise InvalidInputError(f"{path} has NaN or infinite values in {name} ({part})")
