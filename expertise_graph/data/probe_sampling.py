"""Probe sets drawn from any dataset or folder of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expertise_graph.core import UNKNOWN, DatasetError, IntArray, NotFoundError
from expertise_graph.data.dataset import Item, LabelledData
from expertise_graph.data.files import containment_root, list_files
from expertise_graph.data.folder import modality_of
from expertise_graph.data.modalities.base import Modality, known_modalities
from expertise_graph.data.probe_files import MIN_ITEMS, ProbeItem
from expertise_graph.data.records import Columns
from expertise_graph.data.sampling import stratified_sample


@dataclass(frozen=True, kw_only=True)
class ProbeDraft:
    """Inputs drawn for a probe set, ready for `write_probe_set`."""

    modality: str
    items: tuple[ProbeItem, ...]


def probe_set_from(
    source: LabelledData | Path, n: int = 512, *, seed: int, license: str = UNKNOWN
) -> ProbeDraft:
    """Draw `n` different inputs, spread over the classes of a dataset or the sub-folders of a folder.

    Images are stored as PNG with no side longer than 224 pixels. What cannot be opened is passed over;
    fewer than `n` inputs are returned when there are no more.

    Raises:
        NotFoundError: when there is no such folder.
        DatasetError: when fewer than four inputs are there.
    """
    if isinstance(source, LabelledData):
        name, modality, items, groups = source.name, source.modality, source.items, source.labels
        origins = [f"{name} {number}" for number in range(len(items))]
    else:
        modality, files, groups = _files(source)
        items, origins = tuple(files), [f"{source.name}/{f.relative_to(source).as_posix()}" for f in files]
    probes: dict[str, ProbeItem] = {}
    order = _order(groups, n, seed=seed)
    for number, item in _compacted(items, order, modality=known_modalities[modality]):
        key = hashlib.sha256(item if isinstance(item, bytes) else item.encode("utf-8")).hexdigest()
        probes.setdefault(key, ProbeItem(item=item, origin=origins[number], license=license))
        if len(probes) == n:
            break
    if len(probes) < MIN_ITEMS:
        raise DatasetError(f"only {len(probes)} different inputs were drawn; at least {MIN_ITEMS} are needed")
    return ProbeDraft(modality=modality, items=tuple(probes.values()))


def _files(folder: Path) -> tuple[str, list[Path], IntArray]:
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder} to draw inputs from")
    files, _ = list_files(folder, root=containment_root(folder))
    modality = modality_of(files, Columns())
    if modality is None:
        raise DatasetError(f"{folder} holds no file that can be read as an input")
    files = [file for file in files if file.suffix.lower() in known_modalities[modality].suffixes]
    _, groups = np.unique([str(file.parent) for file in files], return_inverse=True)
    return modality, files, groups


def _order(groups: IntArray, n: int, *, seed: int) -> list[int]:
    """Return the sample first, shuffled, then the others to take the place of what drops out."""
    rng = np.random.default_rng(seed)
    first = stratified_sample(groups, n, seed=seed)
    rest = np.setdiff1d(np.arange(len(groups)), first)
    return [*rng.permutation(first).tolist(), *rng.permutation(rest).tolist()]


def _compacted(
    items: Sequence[Item], order: Sequence[int], *, modality: Modality
) -> Iterator[tuple[int, bytes | str]]:
    for number in order:
        try:
            yield number, modality.compact(modality.decode(items[number]))
        except DatasetError:
            continue
