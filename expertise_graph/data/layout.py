"""How a folder of classes is laid out: which of its sub-folders are splits and which are classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from expertise_graph.core import DatasetError, listed, setting
from expertise_graph.data.dataset import Columns
from expertise_graph.data.files import below, files_in, folders_in
from expertise_graph.data.flat_folders import how_to_lay_out
from expertise_graph.data.splits import chosen_splits, split_name, split_role, which_is_which

# Share of the class names of the smaller of two folders that the other must repeat for both to be splits.
_REPEATED = 0.5
# More folders than this are classes, whatever is in them.
_MOST_SPLITS = 24
# Names of folders whose items have no label, in the forms that published data sets use.
UNLABELLED = frozenset({"unsup", "unsupervised", "unlabeled", "unlabelled", "nolabel", "no_label"})


@dataclass(frozen=True, kw_only=True)
class SplitFolder:
    """A folder that holds a folder per class, the split it is, and its name as seen from the top."""

    split: str | None
    folder: Path
    name: str


@dataclass(frozen=True, kw_only=True)
class FolderLayout:
    """What the sub-folders of a folder are.

    Attributes:
        parts: the splits; one without a split where the folder itself holds the classes.
        classes_first: whether the classes are above the splits: `cat/train`, `cat/test`.
        beside: folders that belong to no split.
    """

    parts: tuple[SplitFolder, ...]
    classes_first: bool = False
    beside: tuple[Path, ...] = ()

    @property
    def has_splits(self) -> bool:
        """Whether any part is a split."""
        return any(part.split for part in self.parts)


def layout_of(path: Path, columns: Columns) -> FolderLayout:
    """Find out what the sub-folders of `path` are, from the names of the folders in them.

    Sub-folders that repeat the same class names are splits, whatever they are called; which split each is
    must show in its name, or be said by `columns.splits`.

    Raises:
        DatasetError: when they may be splits and it is not clear which is which.
    """
    chosen = chosen_splits(columns.splits)
    if chosen is not None:
        return _chosen(path, chosen) if chosen else _plain(path)
    children = folders_in(path)
    inner = {child: [f.name for f in folders_in(class_level(child))] for child in children}
    if _classes_first(inner):
        return FolderLayout(parts=(SplitFolder(split=None, folder=path, name=""),), classes_first=True)
    roles = _roles(inner)
    if not roles:
        _refuse_unclear(path, inner)
        return _plain(path)
    # train/train/1.png is one split in another, and holds no class.
    if all(split_role(name) for child in roles for name in inner[child]):
        names = ", ".join(split_name(child.name) or child.name for child in roles)
        files = [file for child in roles for file in files_in(class_level(child))]
        how = how_to_lay_out(files) if files else ""
        raise DatasetError(f"{path} holds the folders {names} but no folder per class in them{how}")
    return _with_splits(path, roles, others=[child for child in children if child not in roles])


def class_level(folder: Path) -> Path:
    """Return the folder of the classes of a split: `train/train`, `train/images`, or `train` itself."""
    level = folder
    while len(inside := folders_in(level)) == 1 and not files_in(level):
        if len(folders_in(inside[0])) < 2 and inside[0].name.lower() != level.name.lower():
            break
        if not folders_in(inside[0]):
            break
        level = inside[0]
    return level


def copies_of_classes(folder: Path) -> dict[Path, list[str]]:
    """Return the folders in `folder` that hold the class folders beside them once more, and which those are.

    Archives are often packed so: `yes/ no/ brain/yes/ brain/no/`.
    """
    children = folders_in(folder)
    inner = {child: [f.name for f in folders_in(class_level(child))] for child in children}
    holding = {child: names for child, names in inner.items() if len(names) > 1}
    # Where most folders hold folders, none is the copy of the others.
    if not holding or len(holding) * 2 > len(children) - len(holding):
        return {}
    classes = [child.name for child in children if child not in holding]
    return {child: names for child, names in holding.items() if _repeats(names, classes)}


def _plain(path: Path) -> FolderLayout:
    return FolderLayout(parts=(SplitFolder(split=None, folder=path, name=""),))


def _roles(inner: Mapping[Path, Sequence[str]]) -> dict[Path, str]:
    """Return the split that each folder is, by its name and by the class names that it repeats."""
    usual = {child: split for child in inner if (split := split_name(child.name))}
    alone = len(inner) == 1
    repeating = _repeating(inner)
    longer = {
        child: split
        for child in inner
        if (child in repeating or alone) and inner[child] and (split := split_role(child.name, loose=True))
    }
    if alone:
        return {child: split for child, split in {**longer, **usual}.items() if split == "train"}
    if "train" in usual.values() and len(usual) > 1:
        return {**longer, **usual}
    # A class may be called "train"; folders that repeat its sub-folders make it a split.
    found = {**longer, **{child: split for child, split in usual.items() if child in repeating}}
    if len(found) > 1:
        return {**found, **usual}
    others = {child.name.lower() for child in inner if child not in usual}
    return usual if "train" in usual.values() and others <= UNLABELLED else {}


def _repeating(inner: Mapping[Path, Sequence[str]]) -> list[Path]:
    """Return the folders whose sub-folders another one repeats."""
    filled = [child for child, names in inner.items() if names]
    if len(filled) > _MOST_SPLITS:
        return []
    return [c for c in filled if any(_repeats(inner[c], inner[other]) for other in filled if other != c)]


def _repeats(names: Sequence[str], others: Sequence[str]) -> bool:
    """Tell whether two folders hold folders of largely the same names."""
    one, two = ({name.strip().casefold() for name in some} for some in (names, others))
    return bool(one and two) and len(one & two) >= _REPEATED * min(len(one), len(two))


def _classes_first(inner: Mapping[Path, Sequence[str]]) -> bool:
    """Tell whether every folder holds nothing but splits, and holds the one to train on."""
    filled = [names for names in inner.values() if names]
    if len(filled) < 2 or len(filled) < len(inner) or all(split_name(child.name) for child in inner):
        return False
    roles = [[split_role(name) for name in names] for names in filled]
    return all(None not in found and len(set(found)) == len(found) for found in roles) and any(
        "train" in found and len(found) > 1 for found in roles
    )


def _refuse_unclear(path: Path, inner: Mapping[Path, Sequence[str]]) -> None:
    """Refuse folders that repeat the same names, and one called train beside folders of another kind."""
    repeating = _repeating({child: names for child, names in inner.items() if len(names) > 1})
    if repeating:
        names = [child.name for child in repeating]
        raise DatasetError(
            f"{path}: the folders {listed(names)} repeat the same sub-folders "
            f"({listed(inner[repeating[0]], 3)}), so they look like splits, and their names do not tell "
            f"which is which: {which_is_which(names)} to read each as a class"
        )
    train = next((c for c in inner if split_name(c.name) == "train" and len(inner[c]) > 1), None)
    if train and len(inner) > 1 and not any(inner[child] for child in inner if child != train):
        others = [child.name for child in inner if child != train]
        raise DatasetError(
            f"{path}: {train.name!r} may be a split or a class, as {listed(others, 3)} beside it holds no "
            f"folder per class: set {setting('splits', f'train={train.name}')} to read it alone, or "
            f"{setting('splits', 'none')} to read each as a class"
        )


def _with_splits(path: Path, roles: Mapping[Path, str], *, others: Sequence[Path]) -> FolderLayout:
    for split, times in Counter(roles.values()).items():
        if times > 1:
            names = [child.name for child, role in roles.items() if role == split]
            raise DatasetError(
                f"{path} holds several folders for the {split} split ({listed(names)}); keep one, or "
                f"{which_is_which(names)} to read each as a class"
            )
    parts = [
        SplitFolder(split=split, folder=level, name=level.relative_to(path).as_posix())
        for child, split in roles.items()
        for level in [class_level(child)]
    ]
    return FolderLayout(parts=tuple(parts), beside=tuple(others))


def _chosen(path: Path, chosen: Mapping[str, str]) -> FolderLayout:
    parts = []
    for name, split in chosen.items():
        folder = below(name, path, root=None)
        if not folder.is_dir():
            there = listed([child.name for child in folders_in(path)]) or "none"
            raise DatasetError(f"{path} holds no folder {name!r} for {setting('splits')}; there are {there}")
        parts.append(SplitFolder(split=split, folder=class_level(folder), name=name))
    used = {(path / name).parts[len(path.parts)] for name in chosen}
    return FolderLayout(parts=tuple(parts), beside=tuple(c for c in folders_in(path) if c.name not in used))
