"""Folders that other tools export for other tasks than classification: boxes and masks in images."""

from __future__ import annotations

import re
from pathlib import Path

from expertise_graph.core import DatasetError
from expertise_graph.data.files import files_in, folders_in, read_start
from expertise_graph.data.modalities.base import SNIFFED

# Of pictures, and of what is drawn into them: sub-folders of these names belong together and are no classes.
_PICTURES = frozenset({"images", "imgs", "img", "jpegimages"})
_BOXES = frozenset({"labels", "annotations", "annotation", "bboxes", "labelme", "xmls"})
_MASKS = frozenset({"masks", "mask", "segmentationclass", "ground_truth", "groundtruth"})
# A line of a YOLO label: the number of a class, and a box or an outline in shares of the image.
_YOLO = re.compile(rb"\d+( +[01]?\.?\d+(e-\d+)?){4,}\s*(\n|$)")
# Levels of folders below the one given that are looked at: split/images.
_LEVELS = 2
# Folders of a level that are looked at: of an export there are few.
_MOST = 12
_INSTEAD = "for classification give a folder per class, or a table with a column of files and one of labels"


def refuse_detection(folder: Path) -> None:
    """Refuse exports for object detection and segmentation, whose folders would be taken for classes.

    Raises:
        DatasetError: naming what was found.
    """
    found = _found(folder, levels=_LEVELS)
    if found:
        kind, what, where = found
        shown = where.relative_to(folder).as_posix()
        raise DatasetError(
            f"{folder} is {kind} ({what}: {shown}), which is not supported, as an image has no class of its "
            f"own; {_INSTEAD}"
        )


def _found(folder: Path, *, levels: int) -> tuple[str, str, Path] | None:
    """Return the kind of export, what shows it, and where."""
    children, files = folders_in(folder), files_in(folder)
    for file in files:
        name = file.name.lower()
        if name.endswith((".coco.json", "_annotations.json")) or name.startswith("instances_"):
            return "a COCO export for object detection", "boxes", file
        if name.endswith((".yaml", ".yml")) and {c.name.lower() for c in children} & _BOXES:
            return "a YOLO export for object detection", "boxes", file
    stems = {file.stem for file in files if file.suffix.lower() != ".txt"}
    beside = [file for file in files if file.suffix.lower() == ".txt" and file.stem in stems]
    if beside and _is_yolo(beside[0]):
        return "a YOLO export for object detection", "boxes", beside[0]
    pair = _pair(children)
    if pair:
        return pair
    if levels:
        for child in children[:_MOST]:
            if found := _found(child, levels=levels - 1):
                return found
    return None


def _is_yolo(path: Path) -> bool:
    try:
        return _YOLO.match(read_start(path, SNIFFED)) is not None
    except DatasetError:
        return False


def _pair(children: list[Path]) -> tuple[str, str, Path] | None:
    """Return what lies in a folder beside a folder of pictures."""
    if len(children) < 2 or not any(child.name.lower() in _PICTURES for child in children):
        return None
    for child in children:
        if child.name.lower() in _BOXES:
            return "a data set for object detection, as of COCO, YOLO or Pascal VOC", "annotations", child
        if child.name.lower() in _MASKS:
            return "a data set for segmentation", "masks", child
    return None
