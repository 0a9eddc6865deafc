"""From a locator to data: finds out what is there, and lets the reader of that format read it.

A labelled dataset is read in four steps: a reader gives records (`tables`, `arrays`, `class_folders`),
`targets` says what their labels are, and `build_dataset` opens every item once and numbers the classes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from expertise_graph.core import DatasetError, NotFoundError, did_you_mean, listed
from expertise_graph.data.arrays import read_npz
from expertise_graph.data.build_dataset import build_dataset
from expertise_graph.data.class_folders import modality_of_files, read_class_folders
from expertise_graph.data.coco import coco_files, read_coco, read_one_category
from expertise_graph.data.columns import choose_item, has_label, item_records
from expertise_graph.data.dataset import (
    NO_COLUMNS,
    NOT_RECORDED,
    Columns,
    LabelledData,
    RawData,
    Reading,
    Record,
)
from expertise_graph.data.exports import refuse_detection
from expertise_graph.data.files import (
    MAX_TABLE_BYTES,
    containment_root,
    decode_utf8,
    filled_folders,
    list_files,
    read_regular,
    read_start,
)
from expertise_graph.data.modalities.base import Modality, known_modalities
from expertise_graph.data.tables import (
    ARRAYS,
    configurations,
    format_of,
    is_saved,
    part_tables,
    read_parts,
    read_saved,
    read_split_tables,
    read_table,
    split_tables,
    table_formats,
)

Download = Callable[[str, str | None], Path]
"""Fetches the files of a dataset repository, given its id and revision, and returns their folder."""

Reader = Callable[[Path, Path | None, Columns], RawData]
"""Reads a path, whose files must not leave a folder where one is given, by its columns."""

_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_HUB = re.compile(rf"hf:(?P<repo>({_NAME}/)?(?P<name>{_NAME}))(@(?P<revision>[A-Za-z0-9_][\w./-]*))?")
# What is to be done first with files of other kinds.
_FIRST = {
    "unpack it first": (".zip", ".gz", ".tgz", ".tar", ".bz2", ".xz", ".zst", ".7z", ".rar"),
    "save it as .csv first": (".xlsx", ".xls", ".ods"),
    "write one object a line, as .jsonl": (".json",),
}
# Two objects on two lines, and bytes of a file that are enough to see them.
_ONE_A_LINE = re.compile(rb"\s*\{[^\n]*\}\s*\n\s*\{")
_START = 1 << 16
# Characters of a locator that an error repeats.
_SHOWN = 200


def read_data(
    locator: str | Path,
    *,
    columns: Columns = NO_COLUMNS,
    name: str | None = None,
    download: Download | None = None,
    strict: bool = True,
) -> LabelledData:
    """Read a labelled dataset of one modality.

    Args:
        locator: a folder (a folder per class, tables named for splits, or one written by
            `datasets.save_to_disk`), a .csv, .tsv, .jsonl, .parquet or .npz file, or
            ``hf:org/name[@revision]``. A local path wins over a Hub name.
        columns: the columns of a table; those left out are guessed.
        name: of the dataset; the file's or folder's name when left out.
        download: fetches a Hub dataset, given its id and revision, and returns its folder.
        strict: whether to refuse what nothing can be learned from: under four items, or one class.

    Returns:
        The items that can be opened, each with its class; the others are listed in `skipped`.

    Raises:
        NotFoundError: when there is no such path.
        DatasetError: when nothing can be learned from what is there.
    """
    text, path = str(locator), Path(locator)
    root: Path | None = None
    if not _exists(path) and text.startswith("hf:"):
        path, own_name, where = *_fetch(text, download), text
        # What strangers wrote must not make us read other files of this machine.
        root = containment_root(path)
    else:
        path = existing_path(path)
        own_name, where = path.name if path.is_dir() else path.stem, str(path)
    raw = _reader_of(path, root, columns)(path, root, columns)
    return build_dataset(raw, name=name or own_name, locator=where, columns=columns, strict=strict)


def read_inputs(path: Path, *, modality: str, columns: Columns = NO_COLUMNS) -> RawData:
    """Return the unlabelled inputs at `path`; nothing is decoded yet, and a text is its own name.

    Args:
        path: a table; for texts a .txt with one per line; otherwise a file, or a folder whose files
            are taken at any depth.
        modality: of the inputs.
        columns: the column of a table; guessed when left out.

    Raises:
        NotFoundError: when there is no such table, folder or file of texts.
        DatasetError: when it cannot hold inputs of that modality.
    """
    kind = known_modalities[modality]
    if _is_table(path):
        return _inputs_of_table(existing_path(path), kind, columns)
    if kind.written_out:
        return read_lines(_text_of(path, kind), modality=modality)
    if path.is_dir():
        return _inputs_of_folder(path, kind)
    return RawData(modality=modality, records=[Record(where=str(path), item=path, label=None)])


def read_argument(word: str, *, modality: str, columns: Columns = NO_COLUMNS) -> RawData:
    """Return the inputs that an argument is or names: a path as `read_inputs` takes it, or a text itself.

    Args:
        word: the argument; for texts one that neither names a file nor looks like such a name is the input.
        modality: of the inputs.
        columns: the column of a table; guessed when left out.

    Raises:
        NotFoundError, DatasetError: as `read_inputs`.
    """
    kind, path = known_modalities[modality], Path(word).expanduser()
    if kind.written_out and not (_names_a_file(word) or _exists(path)):
        return RawData(modality=modality, records=[Record(where=word, item=word, label=None)])
    return read_inputs(path, modality=modality, columns=columns)


def read_lines(text: str, *, modality: str) -> RawData:
    """Return the inputs that the lines of a text are, or name; blank lines are left out.

    Args:
        text: for texts one input per line; otherwise paths, as `read_inputs` takes them; one that cannot be
            read is skipped.
        modality: of the inputs.
    """
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if known_modalities[modality].written_out:
        return RawData(modality=modality, records=[Record(where=t, item=t, label=None) for t in lines])
    return read_each(
        lines, lambda line: read_inputs(Path(line).expanduser(), modality=modality), modality=modality
    )


def read_each(places: Sequence[str], read: Callable[[str], RawData], *, modality: str) -> RawData:
    """Return the inputs of several places together, those that cannot be read among the skipped.

    Args:
        places: files, folders or texts.
        read: gives the inputs of one.
        modality: of the inputs.
    """
    parts = [_or_skipped(place, read, modality) for place in places]
    return RawData(
        modality=modality,
        records=[record for part in parts for record in part.records],
        skipped=[skip for part in parts for skip in part.skipped],
        reading=next((part.reading for part in parts if part.reading.columns), NOT_RECORDED),
    )


def _or_skipped(place: str, read: Callable[[str], RawData], modality: str) -> RawData:
    try:
        return read(place)
    except (DatasetError, NotFoundError) as error:
        return RawData(modality=modality, records=[], skipped=[(place, str(error))])


def _names_a_file(word: str) -> bool:
    """Tell whether a word looks like the name of a file or folder, whether that is there or not."""
    # Sentences have strokes, too: "and/or". A word with one and without blanks is a path.
    if len(word.split()) == 1 and any(mark in word for mark in {"/", os.sep}):
        return True
    of_items = {suffix for name in known_modalities for suffix in known_modalities[name].suffixes}
    of_others = {suffix for suffixes in _FIRST.values() for suffix in suffixes}
    return Path(word).suffix.lower() in {*of_items, *table_formats, ARRAYS, *of_others}


def existing_path(path: Path) -> Path:
    """Return `path` made absolute; the name that the user gave stays where it is a symlink.

    Raises:
        NotFoundError: naming what is near it.
    """
    if _exists(there := _expanded(path)):
        return _canonical(there)
    folder = next((parent for parent in path.absolute().parents if _exists(parent)), Path.cwd())
    wanted = path.absolute().relative_to(folder).parts[0]
    names = [child.name for child in folder.iterdir()] if folder.is_dir() else []
    is_hub_like = len(path.parts) == 2 and not path.is_absolute()
    hub = f" For a dataset on the Hub write hf:{path}." if is_hub_like else ""
    given = repr(str(path)[:_SHOWN])
    raise NotFoundError(f"there is no {given}; looked in {folder}.{did_you_mean(wanted, names)}{hub}")


def locator_of(dataset: str | Path) -> str:
    """Return what a dataset is known by in the registry, however its path is written, also if it is gone."""
    path = _expanded(Path(dataset))
    return str(dataset) if not _exists(path) and str(dataset).startswith("hf:") else str(_canonical(path))


def _canonical(path: Path) -> Path:
    return path.parent.resolve() / path.name if path.is_symlink() and path.name else path.resolve()


def _expanded(path: Path) -> Path:
    """Return a path with the user's folder in place of ~, unless a file is called so."""
    try:
        return path if _exists(path) else path.expanduser()
    except RuntimeError:  # no such user
        return path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _fetch(locator: str, download: Download | None) -> tuple[Path, str]:
    """Return the local folder and the name of a Hub dataset.

    Raises:
        DatasetError: when the locator is malformed or no client was passed in.
    """
    match = _HUB.fullmatch(locator)
    if match is None or ".." in locator:
        raise DatasetError(
            f"{locator[:_SHOWN]!r} is not a Hub dataset; write hf:org/name or hf:org/name@revision"
        )
    if download is None:
        raise DatasetError(
            f"{locator} is on the Hub and no download function was given; give a local folder instead"
        )
    return Path(download(match["repo"], match["revision"])), match["name"]


def _reader_of(path: Path, root: Path | None, columns: Columns) -> Reader:
    if path.is_dir():
        return _reader_of_folder(path, root, columns)
    if not path.is_file():
        raise DatasetError(f"{path} is neither a file nor a folder")
    suffix = format_of(path)
    if suffix == ARRAYS:
        return read_npz
    if suffix:
        return read_table
    if path.suffix.lower() == ".json" and (coco := read_coco(path)):
        return partial(read_one_category, [coco])
    possible = ", ".join(sorted([*table_formats, ARRAYS]))
    first = next((f": {what}" for what, suffixes in _FIRST.items() if path.suffix.lower() in suffixes), "")
    if path.suffix.lower() == ".json" and _ONE_A_LINE.match(read_start(path, _START)):
        first = ": it holds one object a line, so call it .jsonl"
    raise DatasetError(
        f"{path} cannot be read as a dataset{first}; supported are folders and files in {possible}, and "
        "COCO exports"
    )


def _reader_of_folder(folder: Path, root: Path | None, columns: Columns) -> Reader:
    if is_saved(folder):
        return read_saved
    if coco := coco_files(folder, root=root):
        return partial(read_one_category, coco)
    refuse_detection(folder)
    if by_split := split_tables(folder, columns, root=root):
        describing = _only_describe([path for paths in by_split.values() for path in paths], folder, columns)
        return read_class_folders if describing else read_split_tables
    tables = part_tables(folder, root=root)
    if tables and len(filled_folders(folder)) < 2:
        return lambda _, root, columns: read_parts(tables, folder, root, columns)
    inside = [] if tables else configurations(folder, columns, root=root)
    if len(inside) == 1:
        return lambda _, root, columns: read_split_tables(inside[0], root, columns)
    if inside:
        names = listed([child.name for child in inside])
        raise DatasetError(f"{folder} holds several datasets ({names}): give one of them, e.g. {inside[0]}")
    return read_class_folders


def _only_describe(tables: Sequence[Path], folder: Path, columns: Columns) -> bool:
    """Tell whether tables lie beside the class folders of splits and hold no labels, but captions, say."""
    if columns.item or columns.label or any(path.parent in (folder, folder / "data") for path in tables):
        return False
    beside = all(len(filled_folders(path.parent)) > 1 for path in tables)
    return beside and not any(
        has_label(table_formats[format_of(path)](path, root=path.parent)) for path in tables
    )


def _inputs_of_table(path: Path, modality: Modality, columns: Columns) -> RawData:
    table = table_formats[format_of(path)](path, root=None)
    if not table.columns:
        raise DatasetError(f"{path} holds no rows")
    item = choose_item(table, columns, modality)
    records, skipped = item_records(table, item, modality)
    reading = Reading(columns={modality.name: item})
    return RawData(modality=modality.name, records=records, skipped=skipped, reading=reading)


def _text_of(path: Path, modality: Modality) -> str:
    if path.is_dir():
        raise DatasetError(
            f"{path} is a folder; give {modality.plural} as arguments, as a table, or as a "
            f"{' or '.join(modality.suffixes)} with one per line"
        )
    if existing_path(path).suffix.lower() not in modality.suffixes:
        possible = ", ".join((*modality.suffixes, *table_formats))
        raise DatasetError(
            f"{path} cannot be read as {modality.plural}; supported are files in {possible}, or "
            f"{modality.plural} as arguments"
        )
    return decode_utf8(read_regular(path, limit=MAX_TABLE_BYTES), str(path))


def _inputs_of_folder(path: Path, modality: Modality) -> RawData:
    files, skipped = list_files(path)
    _, used = modality_of_files(files, modality.name)
    if not used:
        readable = ", ".join(modality.suffixes)
        reason = f"; for example {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise DatasetError(f"{path} holds no {modality.name} file; readable are {readable}{reason}")
    kept = set(used)
    unused = [(str(file), f"no {modality.name} file") for file in files if file not in kept]
    records = [Record(where=str(file), item=file, label=None) for file in used]
    return RawData(modality=modality.name, records=records, skipped=(*skipped, *unused))


def _is_table(path: Path) -> bool:
    """Tell whether a path is a table, or by its name would be one."""
    suffix = format_of(path) if path.is_file() else path.suffix.lower()
    return suffix in table_formats
