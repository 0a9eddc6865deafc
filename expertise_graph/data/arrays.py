"""Arrays in a .npz file: images or texts with labels."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import DatasetError
from expertise_graph.data.dataset import Item
from expertise_graph.data.records import RawData, Record, Request, split_name

MAX_ARRAY_BYTES = 4 << 30
_ITEM_NAMES = ("images", "image", "texts", "text", "x", "data")
_LABEL_NAMES = ("labels", "label", "y", "targets", "target")
_SPLIT_ARRAY = re.compile(r"(x|y)_([a-z]+)")

Arrays = Mapping[str, NDArray[Any]]


def read_npz(request: Request) -> RawData:
    """Read arrays named images, x or texts with labels or y, or x_train, y_train, x_test, y_test.

    Images are (n, H, W) or (n, H, W, C) uint8 with one, three or four channels.

    Raises:
        DatasetError: when the arrays are not there, do not fit each other, or need pickle.
    """
    arrays = _load(request.path)
    pairs = _pairs(arrays, request.path)
    names = arrays.get("classes")
    records: list[Record] = []
    modality = ""
    for split, (x, y) in pairs.items():
        modality, items = _items(x, request.path)
        labels = _labels(y, names, n=len(items), path=request.path)
        where = f"{split} item" if split else "item"
        records += [
            Record(where=f"{where} {i}", item=item, label=label, split=split)
            for i, (item, label) in enumerate(zip(items, labels, strict=True))
        ]
    return RawData(modality=modality, records=records)


def _load(path: Path) -> Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_ARRAY_BYTES:
            raise DatasetError(f"{path} unpacks to {size:,} bytes; the limit is {MAX_ARRAY_BYTES:,}")
        with np.load(path, allow_pickle=False) as file:
            return {name.lower(): file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        raise DatasetError(
            f"{path} cannot be read as plain arrays ({error}); save it with numpy.savez"
        ) from error


def _pairs(arrays: Arrays, path: Path) -> dict[str | None, tuple[NDArray[Any], NDArray[Any]]]:
    declared: dict[str | None, tuple[NDArray[Any], NDArray[Any]]] = {}
    for name in arrays:
        match = _SPLIT_ARRAY.fullmatch(name)
        split = split_name(match[2]) if match and match[1] == "x" else None
        if match and split and f"y_{match[2]}" in arrays:
            declared[split] = (arrays[name], arrays[f"y_{match[2]}"])
    if declared:
        return declared
    x = next((arrays[name] for name in _ITEM_NAMES if name in arrays), None)
    y = next((arrays[name] for name in _LABEL_NAMES if name in arrays), None)
    if x is None or y is None:
        raise DatasetError(
            f"{path} holds the arrays {', '.join(sorted(arrays)) or 'none'}; "
            "needed are images or texts with labels, or x_train, y_train, x_test, y_test"
        )
    return {None: (x, y)}


def _items(x: NDArray[Any], path: Path) -> tuple[str, list[Item]]:
    if x.ndim == 1 and x.dtype.kind in "US":
        return "text", [t.decode("utf-8", "replace") if isinstance(t, bytes) else t for t in x.tolist()]
    channels = x.shape[3] if x.ndim == 4 else 1
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or channels not in (1, 3, 4) or 0 in x.shape[1:]:
        raise DatasetError(
            f"{path}: items are {x.dtype} {x.shape}; possible are uint8 images (n, H, W) or "
            "(n, H, W, 1 | 3 | 4), and texts (n,)"
        )
    return "image", [_netpbm(image) for image in x]


def _netpbm(image: NDArray[np.uint8]) -> bytes:
    # Not PNG: the bytes are hashed, and those of a compressor change with its version.
    if image.ndim == 3 and image.shape[2] == 4:
        alpha = image[:, :, 3:].astype(np.uint16)
        image = ((image[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    kind = "P6" if image.ndim == 3 and image.shape[2] == 3 else "P5"
    return f"{kind}\n{image.shape[1]} {image.shape[0]}\n255\n".encode() + image.tobytes()


def _labels(y: NDArray[Any], names: NDArray[Any] | None, *, n: int, path: Path) -> list[object]:
    if y.size != n or y.ndim not in (1, 2):
        raise DatasetError(f"{path}: {n} items but labels of shape {y.shape}; one label an item is needed")
    labels: list[object] = y.ravel().tolist()
    if names is None or y.dtype.kind not in "iu":
        return labels
    known = names.ravel().tolist()
    if labels and not 0 <= int(y.min()) <= int(y.max()) < len(known):
        raise DatasetError(f"{path}: labels run from {y.min()} to {y.max()}, classes has {len(known)} names")
    return [known[int(label)] for label in y.ravel()]
