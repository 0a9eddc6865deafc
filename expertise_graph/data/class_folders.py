"""A folder per class, with or without train, validation and test folders above them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from expertise_graph.core import DatasetError
from expertise_graph.data.dataset import Columns, RawData, Record, split_name
from expertise_graph.data.files import Skip, folders_in, list_files, visible
from expertise_graph.data.modalities.base import known_modalities


def read_class_folders(path: Path, root: Path, columns: Columns) -> RawData:
    """Read files of one modality, each labelled by the folder below `path` that it is in.

    Raises:
        DatasetError: when there are no such folders or the modality is not clear.
    """
    splits = split_folders(path)
    tops: list[tuple[str | None, Path]] = [*splits] or [(None, path)]
    skipped: list[Skip] = []
    if splits:
        inside = {folder for _, folder in splits}
        others = [folder for folder in folders_in(path) if folder not in inside]
        skipped += [(str(folder), "beside the split folders, but not a split") for folder in others]
    records = [
        record for split, top in tops for record in _class_files(top, root, split=split, skipped=skipped)
    ]
    if not records and not skipped:
        raise DatasetError(f"{path} holds no folder per class with files in it, and no table")
    return _of_one_modality(records, path, modality=columns.modality, skipped=skipped)


def split_folders(folder: Path) -> list[tuple[str, Path]]:
    """Return the (split, folder) pairs when `folder` is laid out as train/class, test/class, ...

    Raises:
        DatasetError: when the split folders hold no folder per class.
    """
    pairs = [(split, child) for child in folders_in(folder) if (split := split_name(child.name))]
    names = [split for split, _ in pairs]
    alone = len(folders_in(folder)) == 1
    if "train" not in names or not (alone or len(names) > 1):
        return []
    if not any(folders_in(child) for _, child in pairs):
        raise DatasetError(f"{folder} holds the folders {', '.join(names)} but no folder per class in them")
    repeated = [split for split, count in Counter(names).items() if count > 1]
    if repeated:
        raise DatasetError(f"{folder} holds several folders for the {repeated[0]} split; keep one")
    return pairs


def modality_of_files(files: Sequence[Path], wanted: str | None = None) -> str | None:
    """Return the modality that most files are named for, or None if no file is.

    Raises:
        DatasetError: when files of two modalities are there and `wanted` does not choose one.
    """
    if wanted is not None:
        return known_modalities[wanted].name
    suffixes = Counter(file.suffix.lower() for file in files)
    counts = {m: sum(suffixes[s] for s in known_modalities[m].suffixes) for m in known_modalities}
    there = {name: count for name, count in counts.items() if count}
    if len(there) > 1:
        kinds = " and ".join(f"{count} {name} files" for name, count in there.items())
        columns = " or ".join(f"{name} column" for name in there)
        raise DatasetError(
            f"the folder holds {kinds}; say which by naming a column of them ({columns}, any name)"
        )
    return next(iter(there), None)


def _class_files(top: Path, root: Path, *, split: str | None, skipped: list[Skip]) -> Iterator[Record]:
    for entry in visible(top, skipped):
        if not entry.is_dir(follow_symlinks=False):
            link = entry.is_symlink() and entry.is_dir()
            skipped.append((entry.path, "symlink to a folder" if link else "in no class folder"))
            continue
        files, left_out = list_files(Path(entry.path), root=root)
        skipped.extend(left_out)
        for file in files:
            yield Record(where=str(file), item=file, label=entry.name, split=split)


def _of_one_modality(
    records: list[Record], path: Path, *, modality: str | None, skipped: list[Skip]
) -> RawData:
    files = [Path(record.where) for record in records]
    modality = modality_of_files(files, modality)
    if modality is None:
        raise DatasetError(_nothing_readable(path, files, skipped=skipped))
    suffixes = known_modalities[modality].suffixes
    used = [record for record, file in zip(records, files, strict=True) if file.suffix.lower() in suffixes]
    unused = [(str(file), f"no {modality} file") for file in files if file.suffix.lower() not in suffixes]
    _refuse_wrapper(used, path)
    return RawData(modality=modality, records=used, skipped=(*skipped, *unused))


def _nothing_readable(path: Path, files: list[Path], *, skipped: list[Skip]) -> str:
    readable = ", ".join(suffix for name in known_modalities for suffix in known_modalities[name].suffixes)
    example = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped and not files else ""
    return f"{path} has no file that can be read in its class folders{example}; readable are {readable}"


def _refuse_wrapper(records: list[Record], path: Path) -> None:
    names = {str(record.label) for record in records}
    inner = path / next(iter(names)) if len(names) == 1 else None
    if inner and len(folders_in(inner)) > 1 and not split_folders(path):
        raise DatasetError(f"{path} holds the one folder {inner.name!r}; did you mean {inner}?")
