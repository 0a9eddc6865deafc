"""Kinds of input; a further one is one file that registers a `Modality`, or an entry point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from expertise_graph.core import FloatArray, Registry
from expertise_graph.data.dataset import Item


@dataclass(frozen=True, kw_only=True)
class Modality:
    """What the package has to know about one kind of input.

    Attributes:
        name: the name it is registered under.
        suffixes: file name endings in lower case, the one of stored probes first.
        decode: opens an item; raises DatasetError when that is impossible.
        to_bytes: canonical bytes of an item, the same wherever it was read from.
        raw_features: n decoded items to (n, d) float32 without any pretrained model.
        compact: a decoded item as it is stored in a probe set: bytes of a small file, or a text.
    """

    name: str
    suffixes: tuple[str, ...]
    decode: Callable[[Item], Any]
    to_bytes: Callable[[Item], bytes]
    raw_features: Callable[[Sequence[Any]], FloatArray]
    compact: Callable[[Any], bytes | str]


known_modalities: Registry[Modality] = Registry("modality")
known_modalities.point("image", "expertise_graph.data.modalities.image:IMAGE")
known_modalities.point("text", "expertise_graph.data.modalities.text:TEXT")
