"""The probe sets of a workspace: immutable files under embeddings/probes/, one current a modality."""

from __future__ import annotations

import shutil
from pathlib import Path

from expertise_graph.core import (
    ARRAYS,
    DatasetError,
    NotFoundError,
    ProbeSet,
    did_you_mean,
    path_part,
    replacing,
)
from expertise_graph.data import Inputs, ProbeFile, read_probe_set
from expertise_graph.store import Store

PENDING = "embeddings"
"""Kind of the work that is to be finished when a probe set has become the current one."""


def install(store: Store, path: Path, *, use: bool = False) -> ProbeSet:
    """Copy a probe set file into the workspace; it becomes current if `use`, or if there is none.

    Raises:
        DatasetError: when the file is damaged.
    """
    probe_set = read_probe_set(path).probe_set
    with replacing(_path(store, probe_set.id)) as temporary:
        shutil.copyfile(path, temporary)
    with store.transaction():
        store.put_probe_set(probe_set)
        if use or store.state(_state(probe_set.modality)) is None:
            make_current(store, probe_set)
    return probe_set


def make_current(store: Store, probe_set: ProbeSet) -> None:
    """Make a probe set the current one of its modality; experts without an embedding on it are to follow."""
    with store.transaction():
        store.set_state(_state(probe_set.modality), probe_set.id)
        if store.without_embedding(probe_set.id, probe_set.modality):
            store.put_pending(PENDING, probe_set.id, {})


def current(store: Store, modality: str) -> ProbeSet:
    """Return the probe set that experts of `modality` are embedded on.

    Raises:
        NotFoundError: when the workspace has none for it.
    """
    probe_set = store.probe_set(store.state(_state(modality)) or "")
    if probe_set:
        return probe_set
    known = sorted({p.modality for p in store.probe_sets()})
    raise NotFoundError(
        f"no probe set of modality {modality!r}; there are: {', '.join(known) or 'none'}. "
        "Make one with: expertise-graph probe create FOLDER"
    )


def find(store: Store, text: str) -> ProbeSet:
    """Return the newest probe set with this name, id or unique beginning of an id.

    Raises:
        NotFoundError: naming those there are.
    """
    known = store.probe_sets()
    matches = [p for p in known if text == p.name or p.id.startswith((text, f"probe:{text}"))]
    if not matches:
        names = [p.name for p in known]
        raise NotFoundError(
            f"no probe set {text!r}; there are: {', '.join(names)}.{did_you_mean(text, names)}"
        )
    return matches[-1]


def read(store: Store, probe_set: ProbeSet) -> ProbeFile:
    """Return the file of a probe set, verified.

    Raises:
        DatasetError: when it is missing, damaged, or another one.
    """
    path = _path(store, probe_set.id)
    if not path.is_file():
        raise DatasetError(f"the file of probe set {probe_set.name!r} is missing; restore {path}")
    content = read_probe_set(path)
    if content.probe_set.id != probe_set.id:
        raise DatasetError(f"{path} is not the probe set {probe_set.name!r}; restore it from a backup")
    return content


def inputs(store: Store, probe_set: ProbeSet) -> Inputs:
    """Return what experts are run on for a probe set."""
    return Inputs(items=read(store, probe_set).items, modality=probe_set.modality, sha256=probe_set.id)


def _path(store: Store, probe_set_id: str) -> Path:
    return store.folder / ARRAYS / "probes" / f"{path_part(probe_set_id.partition(':')[2])}.zip"


def _state(modality: str) -> str:
    return f"probe set of {modality}"
