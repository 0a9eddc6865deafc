"""Arrays in a .npz file: inputs with labels."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import DatasetError, byte_size
from expertise_graph.data.dataset import Columns, Item, RawData, Reading, Record
from expertise_graph.data.modalities.base import known_modalities
from expertise_graph.data.splits import split_name

# Unpacked; more would not fit beside its decoded copy in the memory of a laptop.
MAX_ARRAY_BYTES = 4 << 30
# Besides the names of the modalities.
_ITEM_NAMES = ("x", "data")
_LABEL_NAMES = ("labels", "label", "y", "targets", "target")
_SPLIT_ARRAY = re.compile(r"(x|y)_([a-z]+)")

Arrays = Mapping[str, NDArray[Any]]


def read_npz(path: Path, root: Path | None, columns: Columns) -> RawData:
    """Read arrays named images, texts or x with labels or y, or x_train, y_train, x_test, y_test.

    What an array may be is up to the modalities; images are (n, H, W) or (n, H, W, C) uint8. Arrays
    have no columns, and files beside them play no part.

    Raises:
        DatasetError: when the arrays are not there, do not fit each other, or need pickle.
    """
    arrays = _load(path)
    names = arrays.get("classes")
    records: list[Record] = []
    modality = ""
    for split, (x, y) in _pairs(arrays, path).items():
        before, (modality, items) = modality, _items(x, path)
        if before not in ("", modality):
            raise DatasetError(
                f"{path} holds {before} and {modality} items: put each kind into a file of its own"
            )
        labels = _labels(y, names, n=len(items), path=path)
        where = f"{split} item" if split else "item"
        records += [
            Record(where=f"{where} {i}", item=item, label=label, split=split)
            for i, (item, label) in enumerate(zip(items, labels, strict=True))
        ]
    origins = {
        record.split: f"arrays x_{record.split}, y_{record.split}" for record in records if record.split
    }
    return RawData(modality=modality, records=records, reading=Reading(origins=origins))


def _load(path: Path) -> Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_ARRAY_BYTES:
            raise DatasetError(
                f"{path} unpacks to {byte_size(size)}; the limit is {byte_size(MAX_ARRAY_BYTES)}"
            )
        with np.load(path, allow_pickle=False) as file:
            arrays = {name.lower(): file[name] for name in file.files}
    except DatasetError:
        raise
    except Exception as error:  # the header of an array is Python, and its parser raises anything
        raise DatasetError(
            f"{path} cannot be read as plain arrays ({error}); save it with numpy.savez"
        ) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy gives other members of the archive as they are
            raise DatasetError(
                f"{path} cannot be read as plain arrays ({name} is none); save it with numpy.savez"
            )
    return arrays


def _pairs(arrays: Arrays, path: Path) -> dict[str | None, tuple[NDArray[Any], NDArray[Any]]]:
    declared: dict[str | None, tuple[NDArray[Any], NDArray[Any]]] = {}
    for name in arrays:
        match = _SPLIT_ARRAY.fullmatch(name)
        split = split_name(match[2]) if match and match[1] == "x" else None
        if match and split and f"y_{match[2]}" in arrays:
            declared[split] = (arrays[name], arrays[f"y_{match[2]}"])
    if declared:
        return declared
    nouns = [noun for name in known_modalities for noun in (known_modalities[name].plural, name)]
    x = next((arrays[name] for name in (*nouns, *_ITEM_NAMES) if name in arrays), None)
    y = next((arrays[name] for name in _LABEL_NAMES if name in arrays), None)
    if x is None or y is None:
        raise DatasetError(
            f"{path} holds the arrays {', '.join(sorted(arrays)) or 'none'}; "
            f"needed are {_either('plural')} with labels, or x_train, y_train, x_test, y_test"
        )
    return {None: (x, y)}


def _items(x: NDArray[Any], path: Path) -> tuple[str, list[Item]]:
    """Return the modality of an array, and its items."""
    for name in known_modalities:
        read = known_modalities[name].from_array
        items = read(x) if read else None
        if items is not None:
            return name, items
    raise DatasetError(f"{path}: items are {x.dtype} {x.shape}; supported are {_either('array_forms')}")


def _either(field: str) -> str:
    """Return what the modalities that are read from arrays have in a field."""
    kinds = [known_modalities[name] for name in known_modalities]
    return " or ".join(getattr(kind, field) for kind in kinds if kind.from_array)


def _labels(y: NDArray[Any], names: NDArray[Any] | None, *, n: int, path: Path) -> list[object]:
    if y.size != n or y.ndim not in (1, 2):
        is_matrix = y.ndim == 2 and len(y) == n
        how = "; of one-hot rows save the numbers of the classes, labels.argmax(1)" if is_matrix else ""
        raise DatasetError(
            f"{path}: {n} items but labels of shape {y.shape}; one label per item is needed{how}"
        )
    labels: list[object] = y.ravel().tolist()
    if names is None or y.dtype.kind not in "iu":
        return labels
    known = names.ravel().tolist()
    if labels and not 0 <= int(y.min()) <= int(y.max()) < len(known):
        raise DatasetError(f"{path}: labels run from {y.min()} to {y.max()}, classes has {len(known)} names")
    return [known[int(label)] for label in y.ravel()]
