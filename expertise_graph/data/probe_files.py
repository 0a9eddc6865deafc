"""Probe set files: one uncompressed zip with a manifest, hashed item by item."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expertise_graph.core import UNKNOWN, DatasetError, NotFoundError, ProbeSet
from expertise_graph.data.dataset import Item
from expertise_graph.data.modalities.base import Modality, known_modalities

MAX_BYTES = 64 << 20
MAX_ITEMS = 4096
MIN_ITEMS = 4
MANIFEST = "manifest.json"
_MEMBER = re.compile(r"items/[A-Za-z0-9_-]+(\.[A-Za-z0-9]+)?")
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class ProbeItem:
    """One unlabelled input, where it is from and under which licence."""

    item: Item
    origin: str
    license: str = UNKNOWN


@dataclass(frozen=True, kw_only=True)
class ProbeFile:
    """A probe set with its inputs: texts, or the bytes of small files."""

    probe_set: ProbeSet
    items: tuple[Item, ...]
    manifest: Mapping[str, Any]


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
    members = {entry["file"]: data for entry, data in stored if "file" in entry}
    text = json.dumps(manifest, ensure_ascii=False, sort_keys=True, indent=1)
    checked = _check(manifest, {**members, MANIFEST: text.encode("utf-8")}, path=path)
    _write_zip(path, {MANIFEST: text.encode("utf-8"), **members})
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


def _stored(probe: ProbeItem, number: int, *, modality: Modality) -> tuple[dict[str, str], bytes]:
    data = modality.to_bytes(probe.item)
    decoded = modality.decode(probe.item)
    entry = {"origin": probe.origin, "license": probe.license, "sha256": hashlib.sha256(data).hexdigest()}
    if isinstance(decoded, str):
        return {**entry, "text": decoded}, data
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
    digest = hashlib.sha256("\n".join([fields["modality"], *hashes]).encode("utf-8")).hexdigest()
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
    known_modalities[fields["modality"]]
    return fields


def _item(entry: Any, members: Mapping[str, bytes], *, path: Path) -> Item:
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise DatasetError(f"{path}: an item of {MANIFEST} is not made of texts")
    if ("text" in entry) == ("file" in entry) or not {"origin", "license", "sha256"} <= set(entry):
        raise DatasetError(f"{path}: an item of {MANIFEST} needs text or file, origin, license and sha256")
    item: Item = entry["text"] if "text" in entry else members.get(entry["file"], b"")
    data = item if isinstance(item, bytes) else str(item).encode("utf-8", "surrogatepass")
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        label = entry.get("file") or repr(entry["text"][:40])
        raise DatasetError(f"{path}: {label} is not what its sha256 says; fetch the file again")
    return item


def _write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for name, data in members.items():
                    archive.writestr(_fixed(name), data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _fixed(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=_EPOCH)
    info.create_system = 3
    info.external_attr = 0o644 << 16
    return info
