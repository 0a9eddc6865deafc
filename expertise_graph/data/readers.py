"""Any labelled dataset to `LabelledData`: finds out what a locator is and who reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from expertise_graph.core import DatasetError, NotFoundError, did_you_mean
from expertise_graph.data.arrays import read_npz
from expertise_graph.data.arrow import is_saved_dataset, is_saved_dict
from expertise_graph.data.build_dataset import assemble
from expertise_graph.data.dataset import LabelledData
from expertise_graph.data.files import containment_root, folders_in
from expertise_graph.data.folder import read_class_folders
from expertise_graph.data.hub import Download, fetch, repository_name
from expertise_graph.data.records import Columns, RawData, Request
from expertise_graph.data.tables import (
    TABLE_READERS,
    lone_table,
    read_saved,
    read_split_tables,
    read_table,
    split_tables,
)

_NO_COLUMNS = Columns()


def read_data(
    locator: str | Path,
    *,
    columns: Columns = _NO_COLUMNS,
    name: str | None = None,
    download: Download | None = None,
    strict: bool = True,
) -> LabelledData:
    """Read a labelled dataset of images or texts.

    Args:
        locator: a folder (a folder per class, tables named for splits, or one written by
            `datasets.save_to_disk`), a .csv, .tsv, .jsonl, .parquet or .npz file, or
            ``hf:org/name[@revision]``. A local path wins over a Hub name.
        columns: the columns of a table; those left out are guessed.
        name: of the dataset; the file's or folder's name when left out.
        download: fetches a Hub dataset, given its id and revision, and returns its folder.
        strict: whether to refuse what nothing can be learnt from: under four items, or one class.

    Returns:
        The items that can be opened, each with its class; the others are listed in `skipped`.

    Raises:
        NotFoundError: when there is no such path.
        DatasetError: when nothing can be learnt from what is there.
    """
    text = str(locator)
    path = Path(locator)
    if not _exists(path) and text.startswith("hf:"):
        path = fetch(text, download)
        name, where = name or repository_name(text), text
    else:
        path = existing_path(path)
        name, where = name or (path.name if path.is_dir() else path.stem), str(path)
    return assemble(_read(path, columns), name=name, locator=where, columns=columns, strict=strict)


def existing_path(path: Path) -> Path:
    """Return `path` made absolute.

    Raises:
        NotFoundError: naming what is near it.
    """
    if _exists(path):
        return path.resolve()
    folder = next((parent for parent in path.absolute().parents if _exists(parent)), Path.cwd())
    wanted = path.absolute().relative_to(folder).parts[0]
    names = [child.name for child in folder.iterdir()] if folder.is_dir() else []
    is_hub_like = len(path.parts) == 2 and not path.is_absolute()
    hub = f" For a dataset on the Hub write hf:{path}." if is_hub_like else ""
    given = repr(str(path)[:200])
    raise NotFoundError(f"there is no {given}; looked in {folder}.{did_you_mean(wanted, names)}{hub}")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _read(path: Path, columns: Columns) -> RawData:
    request = Request(path=path, root=containment_root(path), columns=columns)
    if path.is_dir():
        return _folder_reader(request)(request)
    if not path.is_file():
        raise DatasetError(f"{path} is neither a file nor a folder")
    return _file_reader(path)(request)


def _file_reader(path: Path) -> Callable[[Request], RawData]:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return read_npz
    if suffix in TABLE_READERS:
        return read_table
    possible = ", ".join([*TABLE_READERS, ".npz"])
    raise DatasetError(f"{path} cannot be read as a dataset; possible are a folder, or a file in {possible}")


def _folder_reader(request: Request) -> Callable[[Request], RawData]:
    folder = request.path
    if is_saved_dict(folder) or is_saved_dataset(folder):
        return read_saved
    if split_tables(folder, root=request.root):
        return read_split_tables
    table = lone_table(folder, root=request.root)
    if table and not any(folders_in(folder)):
        return lambda whole: read_table(Request(path=table, root=whole.root, columns=whole.columns))
    return read_class_folders
