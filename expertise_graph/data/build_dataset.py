"""From raw records to checked data: every item opened once, hashed, its class numbered."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expertise_graph.core import DatasetError, IntArray
from expertise_graph.data.dataset import Item, LabelledData
from expertise_graph.data.files import Skip
from expertise_graph.data.modalities.base import Modality, known_modalities
from expertise_graph.data.records import SPLITS, Columns, RawData, Record
from expertise_graph.data.targets import Reading, reading_of

MIN_ITEMS = 4
_NO_COLUMNS = Columns()
_THREADS = 4
_CHUNK = 64


@dataclass(frozen=True)
class _Checked:
    record: Record
    name: str
    sha256: str


def assemble(
    raw: RawData, *, name: str, locator: str, columns: Columns = _NO_COLUMNS, strict: bool = True
) -> LabelledData:
    """Check the records and number their classes.

    Args:
        raw: what a reader found.
        name: of the dataset.
        locator: where it was read from.
        columns: say what the labels are, where they do not show it.
        strict: whether to refuse what nothing can be learnt from.

    Raises:
        DatasetError: when `strict`, and fewer than four usable items or a single class remain.
    """
    reading = reading_of([record.label for record in raw.records], columns)
    labelled, unlabelled = _with_names(raw.records, reading)
    checked, corrupt = _check(labelled, raw.modality)
    skipped = (*raw.skipped, *unlabelled, *corrupt)
    if strict:
        _require_enough(checked, skipped, locator=locator)
    targets = reading.number([item.name for item in checked])
    if strict:
        _require_classes(targets.classes, locator)
    return LabelledData(
        name=name,
        modality=raw.modality,
        locator=locator,
        items=tuple(item.record.item for item in checked),
        labels=targets.labels,
        classes=targets.classes,
        sha256=_content_hash(checked),
        kind=targets.kind,
        names=targets.names,
        targets=targets.values,
        splits=_splits(checked),
        skipped=skipped,
        digests=tuple(item.sha256 for item in checked),
    )


def _with_names(records: Sequence[Record], reading: Reading) -> tuple[list[tuple[Record, str]], list[Skip]]:
    names = [reading.one(record.label) for record in records]
    labelled = [(r, name) for r, name in zip(records, names, strict=True) if name is not None]
    missing = [(r.where, "no label") for r, name in zip(records, names, strict=True) if name is None]
    return labelled, missing


def _check(labelled: Sequence[tuple[Record, str]], modality: str) -> tuple[list[_Checked], list[Skip]]:
    hashes = _hash_all([record.item for record, _ in labelled], known_modalities[modality])
    checked: list[_Checked] = []
    corrupt: list[Skip] = []
    for (record, name), result in zip(labelled, hashes, strict=True):
        if isinstance(result, DatasetError):
            corrupt.append((record.where, str(result)))
        else:
            checked.append(_Checked(record, name, result))
    return checked, corrupt


def _hash_all(items: Sequence[Item], modality: Modality) -> list[str | DatasetError]:
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    with ThreadPoolExecutor(_THREADS) as pool:
        results = pool.map(lambda chunk: [_hash_one(item, modality) for item in chunk], chunks)
        return [result for chunk in results for result in chunk]


def _hash_one(item: Item, modality: Modality) -> str | DatasetError:
    try:
        data = modality.to_bytes(item)
        # A file is read only once: what was hashed is what was opened.
        modality.decode(data if isinstance(item, Path) else item)
    except DatasetError as error:
        return error
    return hashlib.sha256(data).hexdigest()


def _require_enough(checked: Sequence[_Checked], skipped: Sequence[Skip], *, locator: str) -> None:
    if len(checked) >= MIN_ITEMS:
        return
    example = f"; for example {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
    if not checked and skipped:
        raise DatasetError(f"{locator}: none of {len(skipped)} items can be used{example}")
    if not checked:
        raise DatasetError(f"{locator} holds no items; give at least {MIN_ITEMS} in two classes")
    raise DatasetError(
        f"{locator} has {len(checked)} usable items and {len(skipped)} skipped ones; "
        f"at least {MIN_ITEMS} are needed{example}"
    )


def _require_classes(classes: tuple[str, ...], locator: str) -> None:
    if len(classes) < 2:
        raise DatasetError(
            f"{locator} has the one class {classes[0]!r}; at least two are needed: a folder per class, "
            "or two values in the label column"
        )


def _splits(checked: Sequence[_Checked]) -> dict[str, IntArray]:
    members = {
        split: np.array([i for i, item in enumerate(checked) if item.record.split == split], dtype=np.int64)
        for split in SPLITS
    }
    return {split: indices for split, indices in members.items() if len(indices)}


def _content_hash(checked: Sequence[_Checked]) -> str:
    lines = sorted(f"{item.sha256} {item.name} {item.record.split or '-'}" for item in checked)
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()
