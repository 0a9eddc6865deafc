"""From raw records to a checked dataset: every item opened and hashed, every label a target."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from expertise_graph.core import DatasetError, IntArray, count, setting, sha256_of_bytes, sha256_of_texts
from expertise_graph.data.dataset import CLASS, NO_COLUMNS, Columns, Item, LabelledData, RawData, Record
from expertise_graph.data.description import notes_on_classes
from expertise_graph.data.files import Skip
from expertise_graph.data.modalities.base import Modality, known_modalities
from expertise_graph.data.splits import SPLITS
from expertise_graph.data.targets import LabelFormat, label_format

# Two classes of two items are the least that an item to train on and one to measure on can be drawn from.
MIN_ITEMS = 4
# Decoding releases the interpreter's lock; more threads wait for the disk, and hold as many images at a time.
_THREADS = 4
# Items handed to a thread at once: single ones cost more to hand over than small images to decode.
_CHUNK = 64
_NO_LABEL = "no label"


@dataclass(frozen=True)
class _Checked:
    record: Record
    label: str
    sha256: str


def build_dataset(
    raw: RawData, *, name: str, locator: str, columns: Columns = NO_COLUMNS, strict: bool = True
) -> LabelledData:
    """Check the records and number their classes.

    Args:
        raw: what a reader gave.
        name: of the dataset.
        locator: where it was read from.
        columns: say what the labels are, where they do not show it.
        strict: whether to refuse what nothing can be learned from.

    Raises:
        DatasetError: when `strict`, and fewer than four usable items or a single class remain.
    """
    labels = label_format([record.label for record in raw.records], columns, source=raw.labels)
    labelled, unlabelled = _with_labels(raw.records, labels)
    checked, corrupt = _check(labelled, known_modalities[raw.modality])
    skipped = (*raw.skipped, *unlabelled, *corrupt)
    lacking = _too_few(checked, skipped, locator=locator)
    if strict and lacking:
        raise DatasetError(lacking)
    targets = labels.to_targets([item.label for item in checked])
    lacking = lacking or _one_class(targets.classes, locator, table="label" in raw.reading.columns)
    if strict and lacking:
        raise DatasetError(lacking)
    data = LabelledData(
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
        columns=columns,
        reading=raw.reading,
    )
    reading = raw.reading
    # Names are classes: there is nothing to guess about them.
    unsure = not columns.target and (labels.form or labels.kind != CLASS)
    guessed = (*reading.guessed, "target") if unsure else reading.guessed
    # Whoever looks at data before using them learns here that no other verb will take them.
    useless = (f"nothing can be ranked or trained on these data: {lacking}",) if lacking else ()
    notes = (*useless, *reading.notes, *labels.notes, *notes_on_classes(data))
    return replace(data, reading=replace(reading, labels=labels.form, guessed=guessed, notes=notes))


def _with_labels(
    records: Sequence[Record], labels: LabelFormat
) -> tuple[list[tuple[Record, str]], list[Skip]]:
    labelled: list[tuple[Record, str]] = []
    unlabelled: list[Skip] = []
    for record, cell in zip(records, labels.cells, strict=True):
        label = labels.text_of(cell)
        if label is None:
            unlabelled.append((record.where, _NO_LABEL))
        else:
            labelled.append((record, label))
    return labelled, unlabelled


def _check(labelled: Sequence[tuple[Record, str]], modality: Modality) -> tuple[list[_Checked], list[Skip]]:
    hashes = _hash_all([record.item for record, _ in labelled], modality)
    checked: list[_Checked] = []
    corrupt: list[Skip] = []
    for (record, label), result in zip(labelled, hashes, strict=True):
        if isinstance(result, DatasetError):
            corrupt.append((record.where, str(result)))
        else:
            checked.append(_Checked(record, label, result))
    return checked, corrupt


def _hash_all(items: Sequence[Item], modality: Modality) -> list[str | DatasetError]:
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    with ThreadPoolExecutor(_THREADS) as pool:
        results = pool.map(lambda chunk: [_hash_one(item, modality) for item in chunk], chunks)
        return [result for chunk in results for result in chunk]


def _hash_one(item: Item, modality: Modality) -> str | DatasetError:
    try:
        data, _ = modality.opened(item)
    except DatasetError as error:
        return error
    return sha256_of_bytes(data)


def _too_few(checked: Sequence[_Checked], skipped: Sequence[Skip], *, locator: str) -> str:
    """Return what is wrong with fewer items than something can be learnt from, else an empty text."""
    if len(checked) >= MIN_ITEMS:
        return ""
    example = f"; for example {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
    if skipped and not checked and all(reason == _NO_LABEL for _, reason in skipped):
        return (
            f"{locator}: none of {count(len(skipped), 'item')} has a label; "
            f"name the column that holds them ({setting('label_column')})"
        )
    if not checked and skipped:
        return f"{locator}: none of {count(len(skipped), 'item')} can be used{example}"
    if not checked:
        return f"{locator} holds no items; give at least {MIN_ITEMS} in two classes"
    return (
        f"{locator} has {count(len(checked), 'usable item')} and {len(skipped):,} skipped; "
        f"at least {MIN_ITEMS} are needed{example}"
    )


def _one_class(classes: tuple[str, ...], locator: str, *, table: bool) -> str:
    """Return what is wrong with a single class, else an empty text."""
    if len(classes) > 1:
        return ""
    another = f"; name another column with {setting('label_column')} if that one is wrong" if table else ""
    return (
        f"{locator} has the one class {classes[0]!r}; at least two are needed: a folder per class, "
        f"or two values in the label column{another}"
    )


def _splits(checked: Sequence[_Checked]) -> dict[str, IntArray]:
    members = {
        split: np.array([i for i, item in enumerate(checked) if item.record.split == split], dtype=np.int64)
        for split in SPLITS
    }
    return {split: indices for split, indices in members.items() if len(indices)}


def _content_hash(checked: Sequence[_Checked]) -> str:
    return sha256_of_texts(sorted(f"{c.sha256} {c.label} {c.record.split or '-'}" for c in checked))
