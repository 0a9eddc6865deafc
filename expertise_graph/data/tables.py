"""Datasets made of tables: one file, one file or several shards a split, or saved Arrow folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from expertise_graph.core import DatasetError
from expertise_graph.data.arrow import is_saved_dict, parquet_table, saved_splits, saved_table
from expertise_graph.data.columns import choose_roles
from expertise_graph.data.delimited import csv_table, jsonl_table
from expertise_graph.data.files import Skip, contained, files_in, folders_in
from expertise_graph.data.records import SPLITS, Columns, RawData, Record, Request, split_name
from expertise_graph.data.table import Roles, Table, table_records


class _ReadTable(Protocol):
    def __call__(self, path: Path, *, root: Path) -> Table: ...


TABLE_READERS: dict[str, _ReadTable] = {
    ".csv": csv_table,
    ".tsv": csv_table,
    ".jsonl": jsonl_table,
    ".parquet": parquet_table,
}
_SPLIT_FILE = re.compile(r"(?P<split>[A-Za-z]+)(-(?P<shard>\d{5})-of-(?P<shards>\d{5})(-[0-9a-f]+)?)?")


@dataclass(frozen=True)
class _Part:
    split: str | None
    table: Callable[[], Table]


def read_table(request: Request) -> RawData:
    """Read one .csv, .tsv, .jsonl or .parquet file."""
    return _read_parts([_Part(None, _opener(request.path, request.root))], request)


def read_split_tables(request: Request) -> RawData:
    """Read a folder whose tables are named for the splits: train.csv, test-00000-of-00002.parquet.

    Raises:
        DatasetError: when a shard is missing or a split is there in two formats.
    """
    found = split_tables(request.path, root=request.root)
    for split, paths in found.items():
        _check_shards(split, paths)
    parts = [_Part(split, _opener(p, request.root)) for split in SPLITS for p in found.get(split, [])]
    return _read_parts(parts, request)


def read_saved(request: Request) -> RawData:
    """Read a folder written by `datasets.save_to_disk`, with or without splits."""
    if not is_saved_dict(request.path):
        return _read_parts([_Part(None, _saved_opener(request.path, request.root))], request)
    parts: list[_Part] = []
    skipped: list[Skip] = []
    for name in saved_splits(request.path):
        split = split_name(name)
        if split is None:
            skipped.append((name, "not one of the splits train, validation and test"))
        else:
            folder = contained(name, request.path, root=request.root)
            parts.append(_Part(split, _saved_opener(folder, request.root)))
    parts.sort(key=lambda part: SPLITS.index(part.split or "train"))
    raw = _read_parts(parts, request)
    return RawData(modality=raw.modality, records=raw.records, skipped=(*skipped, *raw.skipped))


def split_tables(folder: Path, *, root: Path) -> dict[str, list[Path]]:
    """Return the tables of each split in `folder`, in its data folder or in one folder a split."""
    found: dict[str, list[Path]] = {}
    for place in (folder, folder / "data"):
        for path in _tables_in(place, root=root) if place.is_dir() else []:
            match = _SPLIT_FILE.fullmatch(path.stem)
            split = split_name(match["split"]) if match else None
            if split:
                found.setdefault(split, []).append(path)
    if not found:
        for child in folders_in(folder):
            split = split_name(child.name)
            if split and (tables := _tables_in(child, root=root)):
                found.setdefault(split, []).extend(tables)
    return found


def lone_table(folder: Path, *, root: Path) -> Path | None:
    """Return the only table in `folder`, if there is exactly one."""
    tables = _tables_in(folder, root=root)
    return tables[0] if len(tables) == 1 else None


def _tables_in(folder: Path, *, root: Path) -> list[Path]:
    return [path for path in files_in(folder, root=root) if path.suffix.lower() in TABLE_READERS]


def _opener(path: Path, root: Path) -> Callable[[], Table]:
    return lambda: TABLE_READERS[path.suffix.lower()](path, root=root)


def _saved_opener(folder: Path, root: Path) -> Callable[[], Table]:
    return lambda: saved_table(folder, root=root)


def _read_parts(parts: Sequence[_Part], request: Request) -> RawData:
    roles: Roles | None = None
    records: list[Record] = []
    skipped: list[Skip] = []
    for part in parts:
        table = part.table()
        if not table.columns:
            example = (
                f" that can be used: {table.skipped[0][0]} is {table.skipped[0][1]}" if table.skipped else ""
            )
            raise DatasetError(f"{table.path} holds no rows{example}")
        roles = roles or _roles(table, request.columns, split=part.split)
        if roles.label not in table.columns:
            skipped.append((str(table.path), f"no label column {roles.label!r}"))
            continue
        more, left_out = table_records(table, roles, split=part.split)
        records += more
        skipped += left_out
    if roles is None:
        raise DatasetError(f"{request.path} holds no split called train, validation or test")
    return RawData(modality=roles.modality, records=records, skipped=skipped)


def _roles(table: Table, columns: Columns, *, split: str | None) -> Roles:
    roles = choose_roles(table, columns)
    # The file's name already says the split; a column decides only where the user named it.
    keep = columns.split if split else roles.split
    return Roles(modality=roles.modality, item=roles.item, label=roles.label, split=keep)


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
