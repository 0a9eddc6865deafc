"""COCO exports with one category an image: a JSON file that lists images, annotations and categories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from expertise_graph.core import DatasetError, InvalidInputError, listed, read_json
from expertise_graph.data.dataset import Columns, RawData
from expertise_graph.data.files import Skip, files_in, folders_in
from expertise_graph.data.splits import SPLITS, chosen_splits, split_role, which_is_which
from expertise_graph.data.table import CLASSES, Column, DataTable
from expertise_graph.data.tables import Part, read_tables

# Levels of folders below the one given that are looked at, and files and folders of a level: of exports there
# are few, while thousands of JSON files are one beside each image.
_LEVELS, _MOST = 2, 12
# What the names of such files begin with, before that of the split.
_PREFIX = "instances_"
_ANNOTATIONS = "annotations"


@dataclass(frozen=True, kw_only=True)
class CocoFile:
    """What a file says: for each image its name and the names of its categories."""

    path: Path
    images: Sequence[tuple[str, frozenset[str]]]
    skipped: Sequence[Skip]


def coco_files(folder: Path, *, root: Path | None) -> list[CocoFile]:
    """Return the COCO exports in a folder and the folders in it; empty where no image has a category."""
    found = [coco for path in _candidates(folder, root, levels=_LEVELS) if (coco := read_coco(path))]
    main = [coco for coco in found if coco.path.name.startswith(_PREFIX)] or found
    return main if any(labels for coco in main for _, labels in coco.images) else []


def read_coco(path: Path) -> CocoFile | None:
    """Return what a file says, None where it is no COCO export."""
    try:
        content = read_json(path)
    except InvalidInputError:
        return None
    images = _entries(content, "images")
    if not images or not all(_is_image(image) for image in images):
        return None
    if not isinstance(content.get(_ANNOTATIONS, content.get("categories")), list):
        return None
    names = {_key(entry, "id"): str(entry.get("name")) for entry in _entries(content, "categories")}
    labels: dict[Any, set[str]] = {_key(image, "id"): set() for image in images}
    unknown = set()
    for entry in _entries(content, _ANNOTATIONS):
        image, category = _key(entry, "image_id"), _key(entry, "category_id")
        if image not in labels:
            unknown.add(str(image))
        elif category is not None:
            labels[image].add(names.get(category, str(category)))
    return CocoFile(
        path=path,
        images=[(image["file_name"], frozenset(labels[_key(image, "id")])) for image in images],
        skipped=[(f"{path.name} image {name}", "annotated but not listed") for name in sorted(unknown)],
    )


def read_one_category(found: Sequence[CocoFile], path: Path, root: Path | None, columns: Columns) -> RawData:
    """Read COCO exports: the category of an image is its class, the file's or its folder's name its split.

    Args:
        found: the exports.
        path: the folder that they are in, or the one file.
        root: folder that images must not leave; None for no bounds.
        columns: may say which file is which split.

    Raises:
        DatasetError: when an image has several categories, or it is not clear which file is which split.
    """
    folder = path if path.is_dir() else path.parent
    several = [(name, labels) for coco in found for name, labels in coco.images if len(labels) > 1]
    if several:
        name, labels = several[0]
        items = sum(len(coco.images) for coco in found)
        raise DatasetError(
            f"{path} is a COCO export in which {len(several):,} of {items:,} images have several categories "
            f"(as {name[:80]!r}: {listed(sorted(labels), 3)}); object detection is not supported, and for "
            "classification each image needs one"
        )
    parts = [
        Part(split, coco.path.relative_to(folder).as_posix(), partial(_table, coco, folder, root))
        for coco, split in _splits(found, path, columns)
    ]
    raw = read_tables(parts, path, columns)
    guessed = ("splits",) if any(part.split for part in parts) else ()
    return replace(raw, reading=replace(raw.reading, guessed=guessed))


def _candidates(folder: Path, root: Path | None, *, levels: int) -> Iterator[Path]:
    files = [path for path in files_in(folder, root=root) if path.suffix.lower() == ".json"]
    yield from files if len(files) <= _MOST else ()
    if levels and len(children := folders_in(folder)) <= _MOST:
        for child in children:
            yield from _candidates(child, root, levels=levels - 1)


def _entries(content: object, key: str) -> list[Mapping[str, Any]]:
    entries = content.get(key) if isinstance(content, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _is_image(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("file_name"), str) and _key(entry, "id") is not None


def _key(entry: Mapping[str, Any], name: str) -> int | str | None:
    value = entry.get(name)
    return value if isinstance(value, int | str) else None


def _splits(found: Sequence[CocoFile], path: Path, columns: Columns) -> list[tuple[CocoFile, str | None]]:
    chosen = chosen_splits(columns.splits)
    if chosen is None:
        named = [(coco, _split_of(coco.path, path)) for coco in found]
    else:
        named = [
            (coco, next((chosen[name] for name in _names(coco.path, path) if name in chosen), None))
            for coco in found
        ]
        named = [(coco, split) for coco, split in named if split or not chosen]
    splits = [split for _, split in named]
    unclear = len(set(splits)) < len(splits) or (len(splits) > 1 and None in splits)
    if not named or (unclear and chosen != {}):
        names = [_names(coco.path, path)[0] for coco in found]
        raise DatasetError(
            f"{path} holds several COCO exports ({listed(names, 4)}), and it is not clear which split each "
            f"is: {which_is_which(names)}"
        )
    return sorted(named, key=lambda pair: SPLITS.index(pair[1] or SPLITS[0]))


def _names(file: Path, path: Path) -> list[str]:
    """Return what a user may call a file: as seen from the top, by its name, by its folder."""
    top = file.relative_to(path).as_posix() if file != path else file.name
    return [top, file.name, file.stem, *([file.parent.name] if file.parent != path else [])]


def _split_of(file: Path, path: Path) -> str | None:
    """Return the split that the name of a file speaks of, or else the name of its folder."""
    names = [file.stem] if path in (file, file.parent) else [file.stem, file.parent.name]
    return next((split for name in names if (split := split_role(name))), None)


def _table(coco: CocoFile, folder: Path, root: Path | None) -> DataTable:
    part = coco.path.stem.removeprefix(_PREFIX)
    places = [
        *(coco.path.parent, coco.path.parent / "images"),
        *(folder / part, folder / "images" / part, folder / "images", folder),
    ]
    if coco.path.parent.name.lower() == _ANNOTATIONS:
        places += [coco.path.parents[1] / name for name in (part, f"images/{part}", "images", ".")]
    files = [_first(name, places) for name, _ in coco.images]
    classes = sorted(set().union(*(labels for _, labels in coco.images)))
    number = {name: i for i, name in enumerate(classes)}
    labels = [next((number[label] for label in labels), None) for _, labels in coco.images]
    columns = {
        "file_name": Column(load=lambda: files),
        "category": Column(load=lambda: labels, declared=CLASSES, names=tuple(classes)),
    }
    path = folder / coco.path.name
    return DataTable(path=path, root=root, columns=columns, skipped=coco.skipped)


def _first(name: str, places: Sequence[Path]) -> str:
    """Return the path of an image in the first folder that has it; else its name, which is looked for."""
    if ".." in Path(name).parts:
        return name
    try:
        return next((str(place / name) for place in places if (place / name).is_file()), name)
    except (OSError, ValueError):
        return name
