"""Datasets made of tables: one file, one file or several shards per split, or the folders of `datasets`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from expertise_graph.core import DatasetError, Registry
from expertise_graph.data.columns import Roles, choose_roles, table_records
from expertise_graph.data.dataset import SPLITS, Columns, RawData, Record, split_name
from expertise_graph.data.files import Skip, contained, files_in, folders_in, read_json_in_data
from expertise_graph.data.table import DataTable


class ReadTable(Protocol):
    """Opens a file as a table."""

    def __call__(self, path: Path, *, root: Path) -> DataTable:
        """Return the table in a file; paths in its cells must not leave `root`."""
        ...


# By suffix; a format's module is imported when a file of it is read, as pyarrow takes longer than the rest.
table_formats: Registry[ReadTable] = Registry("table_format")
table_formats.point(".csv", "expertise_graph.data.table:csv_table")
table_formats.point(".tsv", "expertise_graph.data.table:csv_table")
table_formats.point(".jsonl", "expertise_graph.data.table:jsonl_table")
table_formats.point(".parquet", "expertise_graph.data.arrow:parquet_table")
_folder_formats: Registry[ReadTable] = Registry("table_folder")
_folder_formats.point("arrow", "expertise_graph.data.arrow:saved_table")
_SAVED_DICT = "dataset_dict.json"
_SPLIT_FILE = re.compile(r"(?P<split>[A-Za-z]+)(-(?P<shard>\d{5})-of-(?P<shards>\d{5})(-[0-9a-f]+)?)?")


@dataclass(frozen=True)
class _Part:
    split: str | None
    table: Callable[[], DataTable]


def read_table(path: Path, root: Path, columns: Columns) -> RawData:
    """Read one table file of a known format."""
    return _read_parts([_Part(None, _opener(path, root))], path, columns)


def read_split_tables(folder: Path, root: Path, columns: Columns) -> RawData:
    """Read a folder whose tables are named for the splits: train.csv, test-00000-of-00002.parquet.

    Raises:
        DatasetError: when a shard is missing or a split is there in two formats.
    """
    by_split = split_tables(folder, root=root)
    for split, paths in by_split.items():
        _check_shards(split, paths)
    parts = [_Part(split, _opener(path, root)) for split in SPLITS for path in by_split.get(split, [])]
    return _read_parts(parts, folder, columns)


def read_saved(folder: Path, root: Path, columns: Columns) -> RawData:
    """Read a folder written by `datasets.save_to_disk`, with or without splits.

    Raises:
        DatasetError: when dataset_dict.json does not list the splits.
    """
    if not _is_saved_dict(folder):
        return _read_parts([_Part(None, _saved_opener(folder, root))], folder, columns)
    parts: list[_Part] = []
    skipped: list[Skip] = []
    names = read_json_in_data(folder / _SAVED_DICT).get("splits")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DatasetError(f"{folder / _SAVED_DICT} does not list its splits")
    for name in names:
        split = split_name(name)
        if split is None:
            skipped.append((name, "not one of the splits train, validation and test"))
        else:
            parts.append(_Part(split, _saved_opener(contained(name, folder, root=root), root)))
    parts.sort(key=lambda part: SPLITS.index(part.split or "train"))
    raw = _read_parts(parts, folder, columns)
    return replace(raw, skipped=(*skipped, *raw.skipped))


def is_saved(folder: Path) -> bool:
    """Tell whether `folder` was written by `datasets.save_to_disk`."""
    one = (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file()
    return one or _is_saved_dict(folder)


def _is_saved_dict(folder: Path) -> bool:
    """Tell whether `folder` holds several saved datasets, one per split."""
    return (folder / _SAVED_DICT).is_file()


def split_tables(folder: Path, *, root: Path) -> dict[str, list[Path]]:
    """Return the tables of each split in `folder`, in its data folder or in one folder per split."""
    by_split: dict[str, list[Path]] = {}
    for place in (folder, folder / "data"):
        for path in _tables_in(place, root=root) if place.is_dir() else []:
            match = _SPLIT_FILE.fullmatch(path.stem)
            split = split_name(match["split"]) if match else None
            if split:
                by_split.setdefault(split, []).append(path)
    if not by_split:
        for child in folders_in(folder):
            split = split_name(child.name)
            if split and (tables := _tables_in(child, root=root)):
                by_split.setdefault(split, []).extend(tables)
    return by_split


def lone_table(folder: Path, *, root: Path) -> Path | None:
    """Return the only table in `folder`, if there is exactly one."""
    tables = _tables_in(folder, root=root)
    return tables[0] if len(tables) == 1 else None


def _tables_in(folder: Path, *, root: Path) -> list[Path]:
    return [path for path in files_in(folder, root=root) if path.suffix.lower() in table_formats]


def _opener(path: Path, root: Path) -> Callable[[], DataTable]:
    return lambda: table_formats[path.suffix.lower()](path, root=root)


def _saved_opener(folder: Path, root: Path) -> Callable[[], DataTable]:
    return lambda: _folder_formats["arrow"](folder, root=root)


def _read_parts(parts: Sequence[_Part], path: Path, columns: Columns) -> RawData:
    """Read the tables, all with the columns that are chosen in the first."""
    roles: Roles | None = None
    records: list[Record] = []
    skipped: list[Skip] = []
    for part in parts:
        table = part.table()
        if not table.columns:
            example = [f" that can be used: {where} is {reason}" for where, reason in table.skipped[:1]]
            raise DatasetError(f"{table.path} holds no rows{''.join(example)}")
        roles = roles or _roles(table, columns, split=part.split)
        if roles.label not in table.columns:
            skipped.append((str(table.path), f"no label column {roles.label!r}"))
            continue
        more, left_out = table_records(table, roles, split=part.split)
        records += more
        skipped += left_out
    if roles is None:
        raise DatasetError(f"{path} holds no split called train, validation or test")
    return RawData(modality=roles.modality, records=records, skipped=skipped)


def _roles(table: DataTable, columns: Columns, *, split: str | None) -> Roles:
    roles = choose_roles(table, columns)
    # The file's name already says the split; a column decides only where the user named it.
    return replace(roles, split=columns.split) if split else roles


def _check_shards(split: str, paths: Sequence[Path]) -> None:
    kinds = sorted({path.suffix.lower() for path in paths})
    if len(kinds) > 1:
        raise DatasetError(f"the {split} split is there as {' and as '.join(kinds)}; keep one of them")
    declared = [match for path in paths if (match := _SPLIT_FILE.fullmatch(path.stem)) and match["shards"]]
    wanted = int(declared[0]["shards"]) if declared else 0
    if len({match["shard"] for match in declared}) != wanted:
        raise DatasetError(
            f"the {split} split has {len(declared)} of {wanted} shards; fetch the missing ones"
        )
