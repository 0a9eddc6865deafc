"""Which columns of a table hold the items, the labels and the splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from expertise_graph.core import DatasetError
from expertise_graph.data.records import Columns, split_name
from expertise_graph.data.table import Roles, Table, present, require_column

# The first of each wins over the others.
_TEXT = ("text", "sentence", "content", "document", "review", "tweet", "comment", "message", "body")
_IMAGE = ("image", "img", "image_path", "file_name", "filename", "file", "path", "picture", "photo")
_LABEL = ("label", "class", "target", "labels", "category", "class_name", "class_label", "y")
_SPLIT = ("split", "partition", "subset")
_ROW_NAMES = ("", "id", "idx", "index", "unnamed: 0")


def choose_roles(table: Table, columns: Columns) -> Roles:
    """Choose the columns to read: those named, else the ones that alone fit.

    Raises:
        DatasetError: when a named column is not there, or the choice is not clear.
    """
    named = [columns.text, columns.image, columns.label, columns.split]
    for name in named:
        require_column(table, name)
    if columns.text and columns.image:
        raise DatasetError("name a text column or an image column, not both")
    split = columns.split or _split(table)
    taken = {name for name in (*named, split) if name}
    label = columns.label or _label(table, taken)
    modality, item = _item(table, columns, taken=taken | {label or ""})
    if item in (columns.label, columns.split):
        raise DatasetError(f"{table.path}: column {item!r} cannot be the {modality} and something else too")
    label = label or _only_one(_left(table, taken | {item}))
    if label is None:
        raise DatasetError(f"{table.path}: no column is clearly the label; name one; {present(table)}")
    return Roles(modality=modality, item=item, label=label, split=split)


def choose_item(table: Table, columns: Columns, modality: str) -> str:
    """Choose the column that holds the inputs of a modality, in a table that needs no labels.

    Raises:
        DatasetError: as `choose_roles`.
    """
    named = columns.image if modality == "image" else columns.text
    require_column(table, named)
    taken = {name for name in table.columns if name.lower() in (*_LABEL, *_SPLIT)}
    found = named or (_image(table, taken) if modality == "image" else _text(table, taken))
    if found is None:
        raise DatasetError(f"{table.path}: no column is clearly the {modality}; name one; {present(table)}")
    return found


def _split(table: Table) -> str | None:
    name = _only_one([name for name in table.columns if name.lower() in _SPLIT])
    if name is None:
        return None
    values = table.columns[name].values()
    return name if values and all(split_name(str(value)) for value in values) else None


def _label(table: Table, taken: set[str]) -> str | None:
    typed = [name for name, column in table.columns.items() if column.kind == "class" and name not in taken]
    return _only_one(typed) or _by_name(table, taken, names=_LABEL, what="label")


def _item(table: Table, columns: Columns, *, taken: set[str]) -> tuple[Literal["image", "text"], str]:
    if columns.image:
        return "image", columns.image
    if columns.text:
        return "text", columns.text
    image = _image(table, taken)
    text = _named_text(table, taken)
    if image and text:
        raise DatasetError(
            f"{table.path} has both images ({image!r}) and texts ({text!r}); name the column to learn from"
        )
    if image:
        return "image", image
    text = text or _only_text(table, taken)
    if text is None:
        raise DatasetError(
            f"{table.path}: no column is clearly the text or the image; name one; {present(table)}"
        )
    return "text", text


def _text(table: Table, taken: set[str]) -> str | None:
    return _named_text(table, taken) or _only_text(table, taken)


def _named_text(table: Table, taken: set[str]) -> str | None:
    return _by_name(table, taken, names=_TEXT, what="text")


def _only_text(table: Table, taken: set[str]) -> str | None:
    return _only_one([n for n in _left(table, taken) if table.columns[n].kind == "string"])


def _image(table: Table, taken: set[str]) -> str | None:
    images = [name for name, column in table.columns.items() if column.kind == "image" and name not in taken]
    if len(images) < 2:
        return _only_one(images)
    others = set(table.columns) - set(images)
    return _by_name(table, others, names=_IMAGE, what="image") or _refuse(table, images, what="image")


def _by_name(table: Table, taken: set[str], *, names: Sequence[str], what: str) -> str | None:
    found = [name for name in table.columns if name.lower() in names and name not in taken]
    first = [name for name in found if name.lower() == names[0]]
    if len(found) < 2 or len(first) == 1:
        return _only_one(first) or _only_one(found)
    return _refuse(table, found, what=what)


def _refuse(table: Table, found: Sequence[str], *, what: str) -> str:
    names = " or ".join(map(repr, found))
    raise DatasetError(f"{table.path}: the {what} may be {names}; name the {what} column")


def _left(table: Table, taken: set[str]) -> list[str]:
    return [name for name in table.columns if name not in taken and name.lower() not in _ROW_NAMES]


def _only_one(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None
