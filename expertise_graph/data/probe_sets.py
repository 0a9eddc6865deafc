"""Probe sets: drawn from any dataset or folder, and kept as one uncompressed zip, hashed item by item."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expertise_graph.core import (
    UNKNOWN,
    DatasetError,
    IntArray,
    NotFoundError,
    ProbeSet,
    replacing,
    sha256_of_bytes,
    sha256_of_texts,
)
from expertise_graph.data.class_folders import modality_of_files
from expertise_graph.data.dataset import Item, LabelledData, RawData, Record
from expertise_graph.data.files import list_files
from expertise_graph.data.modalities.base import WRITTEN_OUT, Modality, known_modalities
from expertise_graph.data.sampling import stratified_sample

# Every expert is run on all items, so a probe set stays small; the file is read whole.
MAX_BYTES = 64 << 20
MAX_ITEMS = 4096
# Debiased similarity divides by n - 3.
MIN_ITEMS = 4
MANIFEST = "manifest.json"
_MEMBER = re.compile(r"items/[A-Za-z0-9_-]+(\.[A-Za-z0-9]+)?")
# The first time that a zip can hold: the same items give the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class ProbeItem:
    """One unlabelled input, where it is from and under which licence."""

    item: Item
    origin: str
    license: str = UNKNOWN


@dataclass(frozen=True, kw_only=True)
class ProbeDraft:
    """Inputs drawn for a probe set, ready for `write_probe_set`."""

    modality: str
    items: tuple[ProbeItem, ...]


@dataclass(frozen=True, kw_only=True)
class ProbeFile:
    """A probe set with its inputs: texts, or the bytes of small files."""

    probe_set: ProbeSet
    items: tuple[Item, ...]
    manifest: Mapping[str, Any]


def probe_set_from(
    source: LabelledData | RawData | Path, n: int = 512, *, seed: int, license: str = UNKNOWN
) -> ProbeDraft:
    """Draw `n` different inputs, spread over the classes of a dataset or the sub-folders of files.

    They are stored compactly: images as PNG with no side longer than 224 pixels. What cannot be opened is
    passed over; fewer than `n` inputs are returned when there are no more.

    Raises:
        NotFoundError: when there is no such folder.
        DatasetError: when fewer than four inputs are there.
    """
    if isinstance(source, LabelledData):
        modality, items, groups = source.modality, source.items, source.labels
        origins = [f"{source.name} {number}" for number in range(len(items))]
    else:
        raw = read_unlabelled(source) if isinstance(source, Path) else source
        modality, items = raw.modality, tuple(record.item for record in raw.records)
        origins = [record.where for record in raw.records]
        _, groups = np.unique([origin.rpartition("/")[0] for origin in origins], return_inverse=True)
    probes: dict[str, ProbeItem] = {}
    order = _order(groups, n, seed=seed)
    for number, item in _compacted(items, order, modality=known_modalities[modality]):
        key = sha256_of_bytes(item if isinstance(item, bytes) else item.encode("utf-8"))
        probes.setdefault(key, ProbeItem(item=item, origin=origins[number], license=license))
        if len(probes) == n:
            break
    if len(probes) < MIN_ITEMS:
        raise DatasetError(f"only {len(probes)} different inputs were drawn; at least {MIN_ITEMS} are needed")
    return ProbeDraft(modality=modality, items=tuple(probes.values()))


def write_probe_set(
    path: Path, *, name: str, version: str, modality: str, items: Sequence[ProbeItem]
) -> ProbeFile:
    """Write a probe set file; the same arguments give the same bytes.

    An existing file is replaced at once or not at all.

    Raises:
        DatasetError: when an item cannot be decoded, is there twice, or limits are exceeded.
    """
    kind = known_modalities[modality]
    stored = [_stored(probe, number, modality=kind) for number, probe in enumerate(items)]
    manifest = {
        "name": name,
        "version": version,
        "modality": modality,
        "license": _license(items),
        "items": [entry for entry, _ in stored],
    }
    text = json.dumps(manifest, ensure_ascii=False, sort_keys=True, indent=1)
    files = {entry["file"]: data for entry, data in stored if "file" in entry}
    members = {MANIFEST: text.encode("utf-8", "backslashreplace"), **files}
    checked = _check(manifest, members, path=path)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for member, data in members.items():
            archive.writestr(_fixed(member), data)
    return checked


def read_probe_set(path: Path) -> ProbeFile:
    """Read a probe set file and verify every hash in it.

    Raises:
        NotFoundError: when there is no such file.
        DatasetError: when it is not a probe set file, or any part of it is not as declared.
    """
    if not path.is_file():
        raise NotFoundError(f"there is no probe set file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist(), path)
            members = {info.filename: archive.read(info) for info in archive.infolist()}
        manifest = json.loads(members[MANIFEST])
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} is not a readable probe set file: {error}") from error
    return _check(manifest, members, path=path)


def read_unlabelled(folder: Path) -> RawData:
    """Return the files of one modality in a folder, at any depth and whatever its sub-folders are.

    Raises:
        NotFoundError: when there is no such folder.
        DatasetError: when it holds no inputs, or those of several modalities.
    """
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder} to draw inputs from")
    files, skipped = list_files(folder)
    modality, used = modality_of_files(files)
    if modality is None:
        raise DatasetError(f"{folder} holds no file that can be read as an input")
    kept = set(used)
    unused = [(str(file), f"no {modality} file") for file in files if file not in kept]
    names = [f"{folder.name}/{file.relative_to(folder).as_posix()}" for file in used]
    records = [Record(where=name, item=file, label=None) for name, file in zip(names, used, strict=True)]
    return RawData(modality=modality, records=records, skipped=(*skipped, *unused))


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


def _stored(probe: ProbeItem, number: int, *, modality: Modality) -> tuple[dict[str, str], bytes]:
    """Return the manifest's entry of an item, and its bytes."""
    data, decoded = modality.opened(probe.item)
    entry = {"origin": probe.origin, "license": probe.license, "sha256": sha256_of_bytes(data)}
    if modality.written_out:
        return {**entry, WRITTEN_OUT: decoded}, data
    suffix = probe.item.suffix.lower() if isinstance(probe.item, Path) else modality.suffixes[0]
    return {**entry, "file": f"items/{number:04d}{suffix}"}, data


def _license(items: Sequence[ProbeItem]) -> str:
    licenses = sorted({probe.license for probe in items})
    return UNKNOWN if UNKNOWN in licenses else " AND ".join(licenses)


def _check_members(members: Sequence[zipfile.ZipInfo], path: Path) -> None:
    names = [info.filename for info in members]
    if len(names) > MAX_ITEMS + 1 or sum(info.file_size for info in members) > MAX_BYTES:
        raise DatasetError(f"{path} is larger than {MAX_ITEMS} items or {MAX_BYTES >> 20} MiB")
    if len(set(names)) < len(names):
        raise DatasetError(f"{path} holds a member twice")
    odd = next((name for name in names if name != MANIFEST and not _MEMBER.fullmatch(name)), None)
    if odd is not None:
        raise DatasetError(f"{path} holds {odd[:80]!r}, which is neither {MANIFEST} nor a file in items/")
    if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in members):
        raise DatasetError(f"{path} is compressed or encrypted; a probe set is stored as it is")


def _check(manifest: Any, members: Mapping[str, bytes], *, path: Path) -> ProbeFile:
    fields = _fields(manifest, path)
    items = [_item(entry, members, path=path) for entry in manifest["items"]]
    hashes = [entry["sha256"] for entry in manifest["items"]]
    if not MIN_ITEMS <= len(items) <= MAX_ITEMS or sum(map(len, members.values())) > MAX_BYTES:
        raise DatasetError(
            f"{path} has {len(items)} items; possible are {MIN_ITEMS} to {MAX_ITEMS} in {MAX_BYTES >> 20} MiB"
        )
    if len(set(hashes)) < len(hashes):
        raise DatasetError(f"{path} holds the same input twice; each must differ")
    if {entry["file"] for entry in manifest["items"] if "file" in entry} | {MANIFEST} != set(members):
        raise DatasetError(f"{path} holds files that its manifest does not list")
    digest = sha256_of_texts([fields["modality"], *hashes])
    probe_set = ProbeSet(id=f"probe:{digest}", n=len(items), **fields)
    return ProbeFile(probe_set=probe_set, items=tuple(items), manifest=manifest)


def _fields(manifest: Any, path: Path) -> dict[str, str]:
    names = ("name", "version", "modality", "license")
    if not isinstance(manifest, dict) or not isinstance(manifest.get("items"), list):
        raise DatasetError(f"{path}: {MANIFEST} does not list items")
    missing = [name for name in names if not isinstance(manifest.get(name), str)]
    if missing:
        raise DatasetError(f"{path}: {MANIFEST} has no {', '.join(missing)}")
    fields: dict[str, str] = {name: manifest[name] for name in names}
    # Raises NotFoundError where this version does not know it.
    known_modalities[fields["modality"]]
    return fields


def _item(entry: Any, members: Mapping[str, bytes], *, path: Path) -> Item:
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise DatasetError(f"{path}: an item of {MANIFEST} is not made of texts")
    written = WRITTEN_OUT in entry
    if written == ("file" in entry) or not {"origin", "license", "sha256"} <= set(entry):
        raise DatasetError(
            f"{path}: an item of {MANIFEST} needs {WRITTEN_OUT} or file, origin, license and sha256"
        )
    item: Item = entry[WRITTEN_OUT] if written else members.get(entry["file"], b"")
    data = item if isinstance(item, bytes) else str(item).encode("utf-8", "surrogatepass")
    if sha256_of_bytes(data) != entry["sha256"]:
        label = entry.get("file") or repr(entry[WRITTEN_OUT][:40])
        raise DatasetError(f"{path}: {label} is not what its sha256 says; fetch the file again")
    return item


def _fixed(name: str) -> zipfile.ZipInfo:
    """Return a member that is the same on every machine and at every time."""
    info = zipfile.ZipInfo(name, date_time=_EPOCH)
    info.create_system = 3
    info.external_attr = 0o644 << 16
    return info
