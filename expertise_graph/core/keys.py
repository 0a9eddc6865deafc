"""The beginning of an item's hash: enough to tell that a model has learnt from it, and 8 bytes to keep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

KEY_DIGITS = 16
"""Hexadecimal digits that are kept of the hash of an item that a model has learnt from: 64 bits."""


def item_keys(digests: Sequence[str]) -> NDArray[np.uint64]:
    """Return the first 64 bits of n hashes, (n,) uint64.

    Example:
        >>> item_keys(["0100000000000000" + 48 * "f"]).tolist()
        [1]
    """
    return np.frombuffer(bytes.fromhex("".join(digest[:KEY_DIGITS] for digest in digests)), dtype="<u8")
