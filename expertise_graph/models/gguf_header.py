"""The header of a GGUF file, read with bounds before any library does.

References:
    https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from expertise_graph.core import SourceError

_MAGIC, _VERSIONS = b"GGUF", (2, 3)
# Files of the largest models have a few thousand tensors and a few hundred entries.
_MOST_ENTRIES, _MOST_TENSORS, _MOST_DIMS = 10_000, 100_000, 4
_MOST_NAME = 1 << 16
# The smallest quantised weights take 1.56 bits: a file cannot hold more weights than this for each byte.
_MOST_WEIGHTS_A_BYTE = 8
# Bytes of a number by its type; strings and arrays say how long they are.
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class GgufHeader:
    """What the header of a GGUF file says.

    Attributes:
        architecture: name of the network, e.g. llama.
        params: numbers in all tensors.
        parts: files that the model is split into.
    """

    architecture: str
    params: int
    parts: int


class _Reader:
    """Reads little-endian values, none beyond the end of the file."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self._size = stream, size

    def take(self, n: int) -> bytes:
        if n > self._size - self._stream.tell():
            raise ValueError("it ends within its header")
        return self._stream.read(n)

    def skip(self, n: int) -> None:
        if n > self._size - self._stream.tell():
            raise ValueError("it ends within its header")
        self._stream.seek(n, 1)

    def number(self, form: str) -> int:
        (value,) = struct.unpack(f"<{form}", self.take(struct.calcsize(form)))
        return int(value)

    def text(self, most: int = _MOST_NAME) -> str:
        length = self.number("Q")
        if length > most:
            raise ValueError(f"a name of {length:,} bytes")
        return self.take(length).decode("utf-8", "replace")

    def value(self, kind: int) -> str | int | None:
        """Read a value that may matter, or pass over one that does not."""
        if kind == _STRING:
            return self.text(self._size)
        if kind == _ARRAY:
            self._skip_array()
            return None
        if kind not in _SIZES:
            raise ValueError(f"a value of the unknown type {kind}")
        return int.from_bytes(self.take(_SIZES[kind]), "little")

    def _skip_array(self) -> None:
        kind, count = self.number("I"), self.number("Q")
        if kind in _SIZES:
            self.skip(_SIZES[kind] * count)
        elif kind == _STRING and count <= self._size // 8:
            for _ in range(count):
                self.skip(self.number("Q"))
        else:
            raise ValueError(f"an array of {count:,} values of type {kind}")


def read_gguf_header(path: Path) -> GgufHeader:
    """Return what the header of a GGUF file says; its weights are not read.

    Raises:
        SourceError: when it is no such file, is damaged, or claims more than it can hold.
    """
    try:
        with path.open("rb") as stream:
            return _read(_Reader(stream, path.stat().st_size), path.stat().st_size)
    except (ValueError, struct.error) as error:
        raise SourceError(f"{path} is no GGUF file that can be read: {error}") from error


def _read(reader: _Reader, size: int) -> GgufHeader:
    if reader.take(4) != _MAGIC:
        raise ValueError("it does not begin as one")
    version = reader.number("I")
    if version not in _VERSIONS:
        raise ValueError(f"version {version}, where 2 and 3 are read")
    tensors, entries = reader.number("Q"), reader.number("Q")
    if tensors > _MOST_TENSORS or entries > _MOST_ENTRIES:
        raise ValueError(f"it claims {tensors:,} tensors and {entries:,} entries")
    found = {reader.text(): reader.value(reader.number("I")) for _ in range(entries)}
    params = sum(_elements(reader) for _ in range(tensors))
    if params > size * _MOST_WEIGHTS_A_BYTE:
        raise ValueError(f"it claims {params:,} weights in {size:,} bytes")
    parts = found.get("split.count", 1)
    architecture = str(found.get("general.architecture", ""))
    return GgufHeader(architecture, params, parts if isinstance(parts, int) else 1)


def _elements(reader: _Reader) -> int:
    """Return how many numbers a tensor has."""
    reader.text()
    dims = reader.number("I")
    if dims > _MOST_DIMS:
        raise ValueError(f"a tensor of {dims} dimensions")
    shape = [reader.number("Q") for _ in range(dims)]
    reader.skip(4 + 8)  # its type, and where it begins
    return math.prod(shape)
