"""Inputs without labels: files, folders of files, lines of texts, and columns of tables."""

from __future__ import annotations

from pathlib import Path

from expertise_graph.core import DatasetError
from expertise_graph.data.columns import choose_item
from expertise_graph.data.files import (
    MAX_TABLE_BYTES,
    containment_root,
    decode_utf8,
    list_files,
    read_regular,
)
from expertise_graph.data.modalities.base import known_modalities
from expertise_graph.data.readers import existing_path
from expertise_graph.data.records import Columns, RawData, Record
from expertise_graph.data.table import item_records
from expertise_graph.data.tables import TABLE_READERS

_NO_COLUMNS = Columns()


def read_inputs(path: Path, *, modality: str, columns: Columns = _NO_COLUMNS) -> RawData:
    """Return the inputs at `path`; nothing is decoded yet, and a text is its own name.

    Args:
        path: a table; for texts a .txt with one a line; otherwise a file, or a folder whose files
            are taken at any depth.
        modality: of the inputs.
        columns: the column of a table; guessed when left out.

    Raises:
        NotFoundError: when there is no such table, folder or file of texts.
        DatasetError: when it cannot hold inputs of that modality.
    """
    if path.suffix.lower() in TABLE_READERS:
        return _table(existing_path(path), modality, columns)
    if path.is_dir():
        return _folder(path, modality)
    if modality != "text":
        return RawData(modality=modality, records=[Record(where=str(path), item=path, label=None)])
    if existing_path(path).suffix.lower() != ".txt":
        possible = ", ".join((".txt", *TABLE_READERS))
        raise DatasetError(f"{path} cannot be read as texts; possible are files in {possible}, or --text")
    return text_inputs(decode_utf8(read_regular(path, limit=MAX_TABLE_BYTES), str(path)))


def text_inputs(text: str) -> RawData:
    """Return the lines of a text as inputs, blank ones left out."""
    lines = [line.strip() for line in text.split("\n")]
    records = [Record(where=line, item=line, label=None) for line in lines if line]
    return RawData(modality="text", records=records)


def _table(path: Path, modality: str, columns: Columns) -> RawData:
    table = TABLE_READERS[path.suffix.lower()](path, root=containment_root(path))
    if not table.columns:
        raise DatasetError(f"{path} holds no rows")
    records, skipped = item_records(table, choose_item(table, columns, modality), modality)
    return RawData(modality=modality, records=records, skipped=skipped)


def _folder(path: Path, modality: str) -> RawData:
    if modality == "text":
        raise DatasetError(
            f"{path} is a folder; give texts as a .txt with one a line, as a table, or with --text"
        )
    suffixes = known_modalities[modality].suffixes
    files, skipped = list_files(path, root=containment_root(path))
    used = [file for file in files if file.suffix.lower() in suffixes]
    if not used:
        raise DatasetError(f"{path} holds no {modality} file; readable are {', '.join(suffixes)}")
    records = [Record(where=str(file), item=file, label=None) for file in used]
    return RawData(modality=modality, records=records, skipped=skipped)
