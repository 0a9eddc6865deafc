"""Datasets made of tables: one file, one file or several shards per split, or the folders of `datasets`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from expertise_graph.core import DatasetError, Registry, listed
from expertise_graph.data.columns import Roles, choose_roles, table_records
from expertise_graph.data.dataset import TYPED, WRITTEN, Columns, RawData, Reading, Record
from expertise_graph.data.files import Skip, below, files_in, folders_in, read_json_in_data
from expertise_graph.data.splits import SPLITS, chosen_splits, split_name, split_role
from expertise_graph.data.table import DataTable


class ReadTable(Protocol):
    """Opens a file as a table."""

    def __call__(self, path: Path, *, root: Path | None) -> DataTable:
        """Return the table in a file; paths in its cells must not leave `root`, where that is given."""
        ...


# By suffix; a format's module is imported when a file of it is read, as pyarrow takes longer than the rest.
table_formats: Registry[ReadTable] = Registry("table_format")
table_formats.point(".csv", "expertise_graph.data.table:csv_table")
table_formats.point(".tsv", "expertise_graph.data.table:csv_table")
table_formats.point(".jsonl", "expertise_graph.data.table:jsonl_table")
table_formats.point(".parquet", "expertise_graph.data.arrow:parquet_table")
_folder_formats: Registry[ReadTable] = Registry("table_folder")
_folder_formats.point("arrow", "expertise_graph.data.arrow:saved_table")
ARRAYS = ".npz"
_SAVED_DICT = "dataset_dict.json"
_SHARD = re.compile(r"(?P<name>.+)-(?P<shard>\d{5})-of-(?P<shards>\d{5})(-[0-9a-f]+)?")
# What tells the parts of one table apart: numbers, and the UUIDs that Spark writes.
_NUMBERS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d+")
# More folders than this are classes.
_MOST_CONFIGURATIONS = 50


@dataclass(frozen=True)
class Part:
    """A table of a dataset, opened when it is read, its name in messages, and the split that it is."""

    split: str | None
    name: str
    table: Callable[[], DataTable]


def format_of(path: Path) -> str:
    """Return the suffix that a file is read by: its own, or where that says nothing that of what it links to.

    Empty where neither is known.
    """
    names = (path, path.resolve()) if path.is_symlink() else (path,)
    suffixes = (name.suffix.lower() for name in names)
    return next((suffix for suffix in suffixes if suffix in table_formats or suffix == ARRAYS), "")


def read_table(path: Path, root: Path | None, columns: Columns) -> RawData:
    """Read one table file of a known format."""
    return read_tables([Part(None, path.name, _opener(path, root))], path, columns)


def read_parts(paths: Sequence[Path], folder: Path, root: Path | None, columns: Columns) -> RawData:
    """Read files that are parts of one table."""
    parts = [Part(None, path.name, _opener(path, root)) for path in paths]
    return read_tables(parts, folder if len(parts) > 1 else paths[0], columns)


def read_split_tables(folder: Path, root: Path | None, columns: Columns) -> RawData:
    """Read a folder whose tables are named for the splits: train.csv, test-00000-of-00002.parquet.

    Raises:
        DatasetError: when a shard is missing or a split is there in two formats.
    """
    by_split = split_tables(folder, columns, root=root)
    for split, paths in by_split.items():
        _check_shards(split, paths)
    parts = [
        Part(split, path.name, _opener(path, root)) for split in SPLITS for path in by_split.get(split, [])
    ]
    raw = read_tables(parts, folder, columns)
    used = {path for paths in by_split.values() for path in paths}
    others = [path.name for place in (folder, folder / "data") for path in _tables_in(place, root=root)]
    left_out = [name for name in others if name not in {path.name for path in used}]
    note = (f"tables beside the splits are not read: {listed(left_out, 3)}",) if left_out else ()
    return replace(raw, reading=replace(raw.reading, notes=(*raw.reading.notes, *note)))


def read_saved(folder: Path, root: Path | None, columns: Columns) -> RawData:
    """Read a folder written by `datasets.save_to_disk`, with or without splits.

    Raises:
        DatasetError: when dataset_dict.json does not list the splits.
    """
    if not _is_saved_dict(folder):
        return read_tables([Part(None, folder.name, _saved_opener(folder, root))], folder, columns)
    parts: list[Part] = []
    skipped: list[Skip] = []
    names = read_json_in_data(folder / _SAVED_DICT).get("splits")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DatasetError(f"{folder / _SAVED_DICT} does not list its splits")
    chosen = chosen_splits(columns.splits)
    for name in names:
        split = split_role(name) if chosen is None else chosen.get(name)
        if split is None:
            skipped.append((name, "not one of the splits train, validation and test"))
        else:
            parts.append(Part(split, name, _saved_opener(below(name, folder, root=root), root)))
    parts.sort(key=lambda part: SPLITS.index(part.split or "train"))
    raw = read_tables(parts, folder, columns)
    return replace(raw, skipped=(*skipped, *raw.skipped))


def is_saved(folder: Path) -> bool:
    """Tell whether `folder` was written by `datasets.save_to_disk`."""
    one = (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file()
    return one or _is_saved_dict(folder)


def _is_saved_dict(folder: Path) -> bool:
    """Tell whether `folder` holds several saved datasets, one per split."""
    return (folder / _SAVED_DICT).is_file()


def split_tables(folder: Path, columns: Columns, *, root: Path | None) -> dict[str, list[Path]]:
    """Return the tables of each split in `folder`, in its data folder or in one folder per split.

    Empty where no table is named for a split, or where only one is there and its name merely speaks of one.
    """
    there = [path for place in (folder, folder / "data") for path in _tables_in(place, root=root)]
    chosen = chosen_splits(columns.splits)
    if chosen is not None:
        named = {**{path.stem: path for path in there}, **{path.name: path for path in there}}
        return _by_split((split, [named[name]]) for name, split in chosen.items() if name in named)
    usual = _by_role(there, split_name)
    if usual:
        return _with_the_rest(usual, there)
    longer = _by_role(there, split_role)
    if len(longer) > 1:
        return longer
    inside = [(split_role(child.name), _tables_in(child, root=root)) for child in folders_in(folder)]
    return _by_split(inside)


def _by_split(pairs: Iterable[tuple[str | None, list[Path]]]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for split, paths in pairs:
        if split and paths:
            found.setdefault(split, []).extend(paths)
    return found


def _by_role(paths: Sequence[Path], role: Callable[[str], str | None]) -> dict[str, list[Path]]:
    matches = [(path, _SHARD.fullmatch(path.stem)) for path in paths]
    return _by_split((role(match["name"] if match else path.stem), [path]) for path, match in matches)


def _with_the_rest(found: dict[str, list[Path]], there: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the splits, the one other table as that to train on where none is called so."""
    rest = [path for path in there if not any(path in paths for paths in found.values())]
    return found if "train" in found or len(rest) != 1 else {**found, "train": rest}


def configurations(folder: Path, columns: Columns, *, root: Path | None) -> list[Path]:
    """Return the folders in `folder` that hold tables named for splits, as datasets of several parts have."""
    children = folders_in(folder)
    if len(children) > _MOST_CONFIGURATIONS:
        return []
    return [child for child in children if split_tables(child, columns, root=root)]


def part_tables(folder: Path, *, root: Path | None) -> list[Path]:
    """Return the only table in `folder`, or the files that are parts of one, told apart by numbers.

    Raises:
        DatasetError: when there are several tables, and no folders that may be classes.
    """
    tables = _tables_in(folder, root=root) or _tables_in(folder / "data", root=root)
    if len({(_NUMBERS.sub("#", path.stem.lower()), path.suffix.lower()) for path in tables}) < 2:
        return tables
    if not folders_in(folder):
        raise DatasetError(
            f"{folder} holds {len(tables)} tables ({listed([path.name for path in tables], 3)}): give one of "
            "them, or call them train and test where they are splits; where each is a class, write their "
            "rows into one table with a column called label"
        )
    return []


def _tables_in(folder: Path, *, root: Path | None) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in files_in(folder, root=root) if path.suffix.lower() in table_formats]


def _opener(path: Path, root: Path | None) -> Callable[[], DataTable]:
    return lambda: table_formats[format_of(path)](path, root=root)


def _saved_opener(folder: Path, root: Path | None) -> Callable[[], DataTable]:
    return lambda: _folder_formats["arrow"](folder, root=root)


def read_tables(parts: Sequence[Part], path: Path, columns: Columns) -> RawData:
    """Read tables, all with the columns of the first, or where they lack those with their own."""
    first: Roles | None = None
    records: list[Record] = []
    skipped: list[Skip] = []
    notes: list[str] = []
    origins: dict[str, list[str]] = {}
    labels = TYPED
    for part in parts:
        table = part.table()
        if not table.columns:
            example = [f" that can be used: {where} is {reason}" for where, reason in table.skipped[:1]]
            raise DatasetError(f"{table.path} holds no rows{''.join(example)}")
        first = first or _roles(table, columns, split=part.split)
        roles = _own_roles(table, columns, first, split=part.split)
        if roles is None:
            skipped += [*table.skipped, *_without_label(table, first.label)]
            continue
        if roles != first:
            notes.append(f"{part.name} has other columns: read are {roles.item!r} and {roles.label!r}")
        more, left_out = table_records(table, roles, split=part.split, chosen=columns.splits)
        records += more
        skipped += left_out
        labels = WRITTEN if table.untyped else labels
        if part.split:
            origins.setdefault(part.split, []).append(part.name)
    if first is None:
        raise DatasetError(f"{path} holds no split called train, validation or test")
    named = {split: listed(names, 2) for split, names in origins.items()}
    if first.split:
        named = {record.split: f"column {first.split!r}" for record in records if record.split}
    reading = Reading(
        origins=named,
        columns={name: column for name, column in first.columns.items() if column},
        guessed=first.guessed(columns),
        notes=(*notes, *first.notes),
    )
    return RawData(modality=first.modality, records=records, skipped=skipped, reading=reading, labels=labels)


def _roles(table: DataTable, columns: Columns, *, split: str | None) -> Roles:
    roles = choose_roles(table, columns)
    # The file's name already says the split; a column decides only where the user named it.
    return replace(roles, split=columns.split) if split else roles


def _own_roles(table: DataTable, columns: Columns, first: Roles, *, split: str | None) -> Roles | None:
    """Return the columns to read of a further table; None where it has no labels."""
    if {first.item, first.label} <= set(table.columns):
        return first
    try:
        own = _roles(table, columns, split=split)
    except DatasetError:
        return None
    return own if own.modality == first.modality else None


def _without_label(table: DataTable, label: str) -> list[Skip]:
    rows = len(next(iter(table.columns.values())).values())
    return [(f"{table.path.name} row {n}", f"no label column {label!r}") for n in range(1, rows + 1)]


def _check_shards(split: str, paths: Sequence[Path]) -> None:
    kinds = sorted({path.suffix.lower() for path in paths})
    if len(kinds) > 1:
        raise DatasetError(f"the {split} split is there as {' and as '.join(kinds)}; keep one of them")
    declared = [match for path in paths if (match := _SHARD.fullmatch(path.stem))]
    wanted = int(declared[0]["shards"]) if declared else 0
    if len({match["shard"] for match in declared}) != wanted:
        raise DatasetError(
            f"the {split} split has {len(declared)} of {wanted} shards; fetch the missing ones"
        )
