"""A folder per class, with or without folders of splits above or below them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from expertise_graph.core import DatasetError, count, listed, setting
from expertise_graph.data.dataset import NAMES, Columns, RawData, Reading, Record
from expertise_graph.data.files import Skip, files_in, folders_in, is_folder, link_reason, list_files, visible
from expertise_graph.data.flat_folders import classes_in_names, how_to_lay_out
from expertise_graph.data.layout import (
    UNLABELLED,
    FolderLayout,
    SplitFolder,
    class_level,
    copies_of_classes,
    layout_of,
)
from expertise_graph.data.modalities.base import known_modalities, modality_of_file, written_in
from expertise_graph.data.splits import split_role
from expertise_graph.data.tables import table_formats

# Share of files of another modality, compared with the others, up to which they are notes beside those.
_BESIDE = 0.12


@dataclass
class _Found:
    """What was found so far: records, what was left out, and folders that need a word.

    `empty` ones hold no files, `unlabelled` ones files without a label, `copies` the classes beside them once
    more; `inside` has the names of the folders in each class folder.
    """

    records: list[Record] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    unlabelled: dict[str, int] = field(default_factory=dict)
    copies: dict[Path, list[str]] = field(default_factory=dict)
    inside: dict[str, set[str]] = field(default_factory=dict)


def read_class_folders(path: Path, root: Path | None, columns: Columns) -> RawData:
    """Read files of one modality, each labelled by the folder below `path` that it is in.

    Raises:
        DatasetError: when there are no such folders or the modality is not clear.
    """
    layout = layout_of(path, columns)
    found = _Found()
    for folder in layout.beside:
        files, _ = list_files(folder, root=root)
        found.skipped += [(str(file), f"in {folder.name}/, which is no split") for file in files]
    for part in layout.parts:
        _read_part(part, root, columns, found, classes_first=layout.classes_first)
    if not found.records and not found.skipped:
        raise DatasetError(f"{path} holds no folder per class with files in it, and no table")
    return _of_one_modality(found, path, layout, modality=columns.modality)


def modality_of_files(files: Sequence[Path], wanted: str | None = None) -> tuple[str | None, list[Path]]:
    """Return the modality of files, by their names or else their content, and those that are of it.

    Raises:
        DatasetError: when files of two modalities are there and `wanted` does not choose one.
    """
    kinds = {file: modality_of_file(file) for file in files}
    if wanted is not None:
        return known_modalities[wanted].name, [file for file in files if kinds[file] == wanted]
    if not any(kinds.values()):
        kinds = {file: written_in(file) for file in files}
    there = Counter(kind for kind in kinds.values() if kind)
    modality = there.most_common(1)[0][0] if there else None
    if modality and there.total() - there[modality] > _BESIDE * there[modality]:
        named = " and ".join(count(n, f"{name} file") for name, n in sorted(there.items()))
        columns = " or ".join(setting(f"{name}_column") for name in sorted(there))
        raise DatasetError(f"the folder holds {named}: set {columns}, to any name, to say which are meant")
    return modality, [file for file in files if kinds[file] == modality and modality]


def _read_part(
    part: SplitFolder, root: Path | None, columns: Columns, found: _Found, *, classes_first: bool
) -> None:
    copies = {} if columns.splits else copies_of_classes(part.folder)
    found.copies.update(copies)
    for entry in visible(part.folder, found.skipped):
        reason = link_reason(entry, root)
        if reason or not is_folder(entry):
            found.skipped.append((entry.path, reason or "in no class folder"))
            continue
        files, left_out = list_files(Path(entry.path), root=root)
        found.skipped += left_out
        if entry.name.lower() in UNLABELLED and columns.no_label is None:
            found.unlabelled[entry.name] = found.unlabelled.get(entry.name, 0) + len(files)
            found.skipped += [(str(file), f"no label (in {entry.name}/)") for file in files]
            continue
        if Path(entry.path) in copies:
            reason = f"in {entry.name}/, which holds the class folders beside it once more"
            found.skipped += [(str(file), reason) for file in files]
            continue
        if not files and not left_out:
            found.empty.append(entry.name)
        inside = found.inside.setdefault(entry.name, set())
        for file in files:
            inner, *deeper = file.relative_to(entry.path).parts
            inside.update([inner] if deeper else ())
            split = split_role(inner) if classes_first else part.split
            found.records.append(Record(where=str(file), item=file, label=entry.name, split=split))


def _of_one_modality(found: _Found, path: Path, layout: FolderLayout, *, modality: str | None) -> RawData:
    files = [Path(record.where) for record in found.records]
    if not layout.has_splits:
        _refuse_wrapper(found.records, path)
    modality, usable = modality_of_files(files, modality)
    if modality is None:
        raise DatasetError(_nothing_readable(path, files, skipped=found.skipped))
    kept = set(usable)
    used = [record for record, file in zip(found.records, files, strict=True) if file in kept]
    unused = [(str(file), f"no {modality} file") for file in files if file not in kept]
    if not layout.has_splits:
        _refuse_unsorted(used, path)
    return RawData(
        modality=modality,
        records=used,
        skipped=(*found.skipped, *unused),
        labels=NAMES,
        reading=Reading(
            origins=_origins(layout, used),
            guessed=("splits",) if layout.has_splits or layout.classes_first else (),
            notes=_notes(found, told_apart=layout.classes_first),
        ),
    )


def _origins(layout: FolderLayout, records: Sequence[Record]) -> dict[str, str]:
    if layout.classes_first:
        return {record.split: f"<class>/{record.split}" for record in records if record.split}
    return {part.split: f"{part.name}/" for part in layout.parts if part.split}


def _notes(found: _Found, *, told_apart: bool) -> tuple[str, ...]:
    notes = [
        f"the {count(n, 'file')} in {name}/ have no label and are left out: set {setting('no_label', '-')} "
        "to read the folder as a class"
        for name, n in found.unlabelled.items()
    ]
    if found.empty:
        notes.append(f"empty folders, no class: {listed(found.empty)}")
    notes += [
        f"{copy.name}/ holds the class folders beside it once more ({listed(names, 3)}) and is left out: set "
        f"{setting('splits', 'none')} to read it as a class"
        for copy, names in found.copies.items()
    ]
    if not told_apart and len(found.inside) > 1 and min(map(len, found.inside.values())) > 1:
        name, inside = min(found.inside.items())
        notes.append(
            f"each class folder holds folders of its own, as {name}/ does ({listed(sorted(inside), 3)}), "
            "which are not told apart: give one of them to learn those"
        )
    return tuple(notes)


def _nothing_readable(path: Path, files: list[Path], *, skipped: list[Skip]) -> str:
    flat = [] if files else [file for file in files_in(path) if modality_of_file(file)]
    if flat:
        return f"{path} holds {count(len(flat), 'file')} in no class folder{how_to_lay_out(flat)}"
    if any(file.suffix.lower() in table_formats for file in files):
        names = listed([file.relative_to(path).as_posix() for file in files], 3)
        return (
            f"{path} holds tables in its folders ({names}): where each folder is a class, write their rows "
            "into one table with a column called label; else give one of them"
        )
    readable = ", ".join(suffix for name in known_modalities for suffix in known_modalities[name].suffixes)
    example = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped and not files else ""
    return f"{path} has no file that can be read in its class folders{example}; readable are {readable}"


def _refuse_wrapper(records: list[Record], path: Path) -> None:
    inner = _only_folder(records, path)
    if inner and len(folders_in(inner)) > 1:
        raise DatasetError(f"{path} holds the one folder {records[0].label!r}; did you mean {inner}?")


def _refuse_unsorted(records: list[Record], path: Path) -> None:
    files = [Path(record.where) for record in records]
    if _only_folder(records, path) and classes_in_names(files):
        only = f"{path} holds the one folder {records[0].label!r}"
        raise DatasetError(f"{only} of {count(len(files), 'file')}{how_to_lay_out(files)}")


def _only_folder(records: list[Record], path: Path) -> Path | None:
    """Return the folder of the classes in the one folder that records are of; None where they are of more."""
    names = {str(record.label) for record in records}
    if len(names) != 1:
        return None
    level = class_level(path / next(iter(names)))
    while len(inside := folders_in(level)) == 1:
        level = class_level(inside[0])
    return level
