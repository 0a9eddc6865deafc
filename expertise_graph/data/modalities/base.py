"""Kinds of input. A further one is one file that registers a `Modality`, by call or by entry point."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from expertise_graph.core import DatasetError, FloatArray, Registry
from expertise_graph.data.dataset import Item
from expertise_graph.data.files import decode_utf8, read_start
from expertise_graph.data.modalities import MODALITIES

if TYPE_CHECKING:
    from PIL.Image import Image

# What a cell is taken for that no modality recognises and no schema declares. Binary columns without a
# declared type are nearly always images; a wrong guess shows at once, as no item can be decoded.
_BYTES_ARE, _STRINGS_ARE = "image", "text"

# Bytes that tell what a file is: those of an image, or a line of a text.
SNIFFED = 256
# What follows the last dot of a name and is no suffix: nothing, or a number.
_NO_SUFFIX = re.compile(r"|\.\d+")

# Key of the probe set manifest for items that are written out in it. It is part of the file format.
WRITTEN_OUT = "text"

# Pairs of near-duplicates that are looked at: more are a template or a burst, of which the first tell enough.
MOST_PAIRS = 100_000


@dataclass(frozen=True, kw_only=True)
class UnusualItems:
    """Items that look unlike an input somebody meant to give; `items` are indices."""

    kind: str
    items: tuple[int, ...]


@dataclass
class Inspection:
    """What can be told of the items of a dataset without a model; a modality adds its own by a subclass.

    Attributes:
        compared_by: what near-duplicates are found by, for the reader of a report.
        certain: similarity from which a pair of near-duplicates needs no features of an expert as a
            second witness; None where none does.
        seen: indices of the items that were added.
        unreadable: indices of items that can no longer be opened.
    """

    compared_by: ClassVar[str] = "content"
    certain: ClassVar[float | None] = None
    seen: list[int] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)

    def look(self, index: int, item: Item, *, modality: Modality) -> None:
        """Open an item and add it; one that cannot be opened any more is noted as unreadable."""
        try:
            data, decoded = modality.opened(item)
        except DatasetError:
            self.unreadable.append(index)
        else:
            self.seen.append(index)
            self.add(index, data, decoded)

    def add(self, index: int, data: bytes, decoded: Any) -> None:
        """Keep what the later questions need of an item, given its canonical bytes and decoded."""

    def traits(self) -> tuple[str, ...]:
        """Return lines about sizes, lengths and formats."""
        return ()

    def unusual_by_kind(self) -> dict[str, list[int]]:
        """Return the indices of items that nobody can have meant, by what is unusual about them."""
        return {}

    def near_duplicates(self) -> list[tuple[int, int, float]]:
        """Return pairs of items that are nearly the same, with their similarity, `MOST_PAIRS` at most."""
        return []

    def unusual(self) -> tuple[UnusualItems, ...]:
        """Return the unusual items, the unreadable ones last."""
        found = {**self.unusual_by_kind(), "no longer readable": self.unreadable}
        return tuple(UnusualItems(kind=kind, items=tuple(items)) for kind, items in found.items() if items)


def _recognise_nothing(value: str | bytes) -> bool:
    return False


def _embed_nothing(value: str) -> bytes | None:
    return None


@dataclass(frozen=True, kw_only=True)
class Modality:
    """What the package has to know about one kind of input.

    Attributes:
        name: the name it is registered under.
        plural: its inputs in messages: "images".
        suffixes: file name endings in lower case, the one of stored probes first.
        decode: opens an item; raises DatasetError when that is impossible.
        to_bytes: canonical bytes of an item, the same wherever it was read from.
        raw_features: n decoded items to (n, d) float32 without any pretrained model.
        counts: the same in more detail, as counts of many rare parts, for a model of them alone; None where
            inputs have no such parts.
        compact: a decoded item as it is stored in a probe set: bytes of a small file, or a text.
        column_names: of tables, in lower case, that name inputs of it; the first wins.
        written_out: whether an item is a string, in a cell, on a line or as an argument, and not a file.
        named_by: of tables, in lower case, that say by themselves that a column names files of it, whatever
            its cells look like: ids, names without suffix.
        recognises: whether a string or the bytes of a cell are an input of it, judged by themselves.
        sniffs: whether a file whose name says nothing, given its first bytes, is an input of it.
        embedded: the bytes of an input that a string of a cell holds, None where it names a file.
        datasets_type: of its columns in files written by the `datasets` library: "Image".
        from_array: n inputs from an array (n, ...), or None when the array holds something else.
        array_forms: the arrays that `from_array` takes, for messages.
        augmented: whether training may change inputs at random, as `training.augmentation` can images.
        work: how many times the work of a usual input, one of the shipped probe sets, an undecoded item is
            for an expert; None where all inputs are about alike.
        overlong: a decoded item longer than any model takes; None where all inputs have one shape.
        unlike: makes valid inputs that are as unlike as data may hold; an expert is tried on them before
            it is registered.
        inspection: makes what `check` asks about the items.
        picture: a decoded item as an image for reports; None where its name says enough.
    """

    name: str
    plural: str
    suffixes: tuple[str, ...]
    decode: Callable[[Item], Any]
    to_bytes: Callable[[Item], bytes]
    raw_features: Callable[[Sequence[Any]], FloatArray]
    compact: Callable[[Any], bytes | str]
    column_names: tuple[str, ...] = ()
    written_out: bool = False
    named_by: tuple[str, ...] = ()
    recognises: Callable[[str | bytes], bool] = _recognise_nothing
    sniffs: Callable[[bytes], bool] = _recognise_nothing
    embedded: Callable[[str], bytes | None] = _embed_nothing
    datasets_type: str = ""
    from_array: Callable[[NDArray[Any]], list[Item] | None] | None = None
    array_forms: str = ""
    augmented: bool = False
    counts: Callable[[Sequence[Any]], FloatArray] | None = None
    work: Callable[[Item], float] | None = None
    overlong: Any = None
    unlike: Callable[[], Sequence[Item]] = tuple
    inspection: Callable[[], Inspection] = Inspection
    picture: Callable[[Any], Image] | None = None

    def item(self, value: object, inside: Callable[[str], Path]) -> Item:
        """Return the item that a cell of a table holds.

        Args:
            value: a string, bytes, or what the `datasets` library stores: {"bytes": ..., "path": ...}.
            inside: a name to a path that does not leave the dataset's folder; raises DatasetError.

        Raises:
            DatasetError: when the cell is empty or holds something else.
        """
        if self.written_out:
            if isinstance(value, str):
                return value
            if isinstance(value, bytes) and value:
                return decode_utf8(value, f"the {self.name}")
        else:
            if isinstance(value, list) and len(value) == 1:
                value = value[0]
            if isinstance(value, dict):
                value = value.get("bytes") or value.get("path") or _only_bytes(value)
            if isinstance(value, bytes) and value:
                return value
            if isinstance(value, int) and not isinstance(value, bool):
                value = str(value)
            if isinstance(value, str) and value:
                held = self.embedded(value)
                return inside(value) if held is None else held
        if value is None or not (value or self.written_out):
            raise DatasetError(f"no {self.name}")
        raise DatasetError(f"{type(value).__name__} where {self.plural} are expected")

    def usual_inputs(self, items: Sequence[Item]) -> float:
        """Return how many usual inputs the items are as much work as."""
        return float(len(items)) if self.work is None else sum(map(self.work, items))

    def opened(self, item: Item) -> tuple[bytes, Any]:
        """Return the canonical bytes of an item and the item decoded; a file is read only once.

        Raises:
            DatasetError: when it cannot be opened.
        """
        data = self.to_bytes(item)
        return data, self.decode(data if isinstance(item, Path) else item)


known_modalities: Registry[Modality] = Registry("modality")
for _name, _path in MODALITIES.items():
    known_modalities.point(_name, _path)


def plural_of(modality: str) -> str:
    """Return the plural noun for inputs of a modality, also of one that nothing here is known of.

    Example:
        >>> plural_of("image"), plural_of("smell")
        ('images', 'smell inputs')
    """
    return known_modalities[modality].plural if modality in known_modalities else f"{modality} inputs"


def modality_of_cell(value: object) -> str | None:
    """Return the name of the modality of a cell whose column nothing else is known of; None for neither."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0] if isinstance(value[0], dict) else value
    if isinstance(value, dict) and ("bytes" in value or _only_bytes(value)):
        value = value.get("bytes") or value.get("path") or _only_bytes(value) or b""
    if not isinstance(value, str | bytes):
        return None
    if isinstance(value, bytes):
        return modality_of_bytes(value)
    return next((name for name in known_modalities if known_modalities[name].recognises(value)), _STRINGS_ARE)


def is_recognised(value: str) -> bool:
    """Tell whether a string is an input of some modality by itself, as the name of an image is."""
    return any(known_modalities[name].recognises(value) for name in known_modalities)


def modality_of_bytes(value: bytes) -> str:
    """Return the name of the modality of bytes: one that recognises their beginning, else UTF-8 is a text."""
    files = [name for name in known_modalities if not known_modalities[name].written_out]
    sniffing = [name for name in files if known_modalities[name].sniffs(value[:SNIFFED])]
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return sniffing[0] if sniffing else _BYTES_ARE
    return sniffing[0] if sniffing else _STRINGS_ARE


def modality_of_file(path: Path) -> str | None:
    """Return the name of the modality of a file by its suffix, else by its content; None for neither."""
    suffix = path.suffix.lower()
    for name in known_modalities:
        if suffix in known_modalities[name].suffixes:
            return name
    start = _start_of(path)
    files = (name for name in known_modalities if not known_modalities[name].written_out)
    return next((name for name in files if known_modalities[name].sniffs(start)), None)


def written_in(path: Path) -> str | None:
    """Return the name of the modality that a file without a suffix is written in; None where it is not."""
    start = _start_of(path) if _NO_SUFFIX.fullmatch(path.suffix) else b""
    written = (name for name in known_modalities if known_modalities[name].written_out)
    return next((name for name in written if known_modalities[name].sniffs(start)), None)


def _start_of(path: Path) -> bytes:
    try:
        return read_start(path, SNIFFED)
    except DatasetError:
        return b""


def _only_bytes(value: dict[str, object]) -> bytes | None:
    """Return the one value of a record that is bytes."""
    found = [one for one in value.values() if isinstance(one, bytes) and one]
    return found[0] if len(found) == 1 else None


def modality_of_type(datasets_type: object) -> str | None:
    """Return the name of the modality that a column type of the `datasets` library stands for."""
    return next((n for n in known_modalities if known_modalities[n].datasets_type == datasets_type), None)


def binary_modality() -> str:
    """Return the name of the modality that columns of bytes are taken for."""
    return _BYTES_ARE
