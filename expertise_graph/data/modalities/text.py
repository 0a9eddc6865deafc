"""Texts: strings or UTF-8 files, described without a model by hashed n-grams."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import DatasetError, FloatArray
from expertise_graph.data.dataset import Item
from expertise_graph.data.files import decode_utf8, read_regular
from expertise_graph.data.modalities.base import Modality
from expertise_graph.data.modalities.text_inspection import TextInspection

# Raw features: fewer columns and more n-grams share one; more cost memory at 20,000 texts (160 MB).
HASHED_DIM = 2048
# The same for a model of them alone. Linear models on 2,048, 8,192 and 32,768: three tasks .45, .49, .50;
# .40, .42, .43; .56, .59, .59, in 1, 4 and 15 times the time.
COUNTED_DIM = 8192
# Lengths of character n-grams: below 3 they are in every word, above 5 hardly one is in two words.
GRAM_LENGTHS = (3, 4, 5)
# The beginning tells the subject of a long text, at bounded cost.
MAX_HASHED_CHARACTERS = 4096
# More words than the longest context of any text encoder.
OVERLONG = "word " * 10_000
# What a text costs an expert grows with its tokens, of which two frame it and most experts take 512 at most:
# bytes that those two are worth, the mean of the shipped probe set and the largest that counts.
# all-MiniLM-L6-v2 on texts of 34, 44, 115 and 121 characters: 9, 7, 20, 24 ms.
_FRAME_BYTES, _USUAL_BYTES, _MOST_BYTES = 25, 115, 2200
_WORD = re.compile(r"\w+")
# Bytes of a character in UTF-8, one of which may be cut off; control characters that texts hold.
_LONGEST, _BLANKS = 4, "\n\r\t\f"


def decode(item: Item) -> str:
    """Return the text of an item.

    Raises:
        DatasetError: when it is blank or not UTF-8.
    """
    text = item if isinstance(item, str) else _decode_bytes(item)
    if not text.strip():
        raise DatasetError("the text is empty")
    return text


def to_bytes(item: Item) -> bytes:
    """Return the text as UTF-8 without byte order mark."""
    try:
        return decode(item).encode("utf-8")
    except UnicodeEncodeError as error:
        raise DatasetError(f"the text contains an unpaired surrogate at character {error.start}") from error


def work(item: Item) -> float:
    """Return how many times the work of a usual text a text is, by its bytes."""
    try:
        size = item.stat().st_size if isinstance(item, Path) else len(item)
    except OSError:
        return 1.0
    if isinstance(item, str) and not item.isascii():
        size = len(item.encode("utf-8", "replace"))
    return (_FRAME_BYTES + min(size, _MOST_BYTES)) / (_FRAME_BYTES + _USUAL_BYTES)


def raw_features(texts: Sequence[str], dim: int = HASHED_DIM) -> FloatArray:
    """Hash words and character 3- to 5-grams within words; only the first 4,096 characters count.

    Returns:
        (n, dim) float32, rows of length one (zero for a text without any word).

    References:
        Weinberger et al., arXiv:0902.2206, the signed hashing trick.
    """
    features = np.zeros((len(texts), dim), dtype=np.float64)
    for row, text in zip(features, texts, strict=True):
        for token, count in Counter(_tokens(text[:MAX_HASHED_CHARACTERS].lower())).items():
            # crc32 is the same in every process and on every machine, unlike hash().
            code = zlib.crc32(token.encode("utf-8", "replace"))
            row[code % dim] += (1.0 if code >> 31 else -1.0) * (1.0 + np.log(count))
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def compact(text: str) -> str:
    """Return the text as it is."""
    return text


def unlike() -> list[Item]:
    """Return a word, a text longer than any model takes, and one of characters that few vocabularies hold."""
    return ["word", OVERLONG, "\u6f22\u5b57 \U0001f642 e\u0301 \u00df <unk> 1e-5 \u2028 \u0541"]


def sniffs(start: bytes) -> bool:
    """Tell whether a file that begins with these bytes is a text: UTF-8 without control characters."""
    text = start.decode("utf-8", "ignore")
    lost = len(start) - len(text.encode("utf-8"))
    return bool(text.strip()) and lost < _LONGEST and not any(c < " " and c not in _BLANKS for c in text)


def _decode_bytes(item: Path | bytes) -> str:
    if isinstance(item, bytes):
        return decode_utf8(item, "the text")
    return decode_utf8(read_regular(item), str(item))


def _tokens(text: str) -> Iterator[str]:
    for word in _WORD.findall(text):
        yield f"word {word}"
        padded = f" {word} "
        for length in GRAM_LENGTHS:
            for start in range(len(padded) - length + 1):
                yield padded[start : start + length]


def from_array(x: NDArray[Any]) -> list[Item] | None:
    """Return n texts from strings (n,), None for other arrays."""
    if x.ndim != 1 or x.dtype.kind not in "US":
        return None
    return [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in x.tolist()]


TEXT = Modality(
    name="text",
    plural="texts",
    suffixes=(".txt",),
    decode=decode,
    to_bytes=to_bytes,
    raw_features=raw_features,
    counts=partial(raw_features, dim=COUNTED_DIM),
    compact=compact,
    column_names=("text", "sentence", "content", "document", "review", "tweet", "comment", "message", "body"),
    written_out=True,
    sniffs=sniffs,
    from_array=from_array,
    array_forms="texts (n,)",
    work=work,
    overlong=OVERLONG,
    unlike=unlike,
    inspection=TextInspection,
)
