"""Datasets of the Hugging Face Hub: ``hf:org/name[@revision]``, fetched by the caller's client."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from expertise_graph.core import DatasetError

Download = Callable[[str, str | None], Path]
"""Fetches the files of a dataset repository, given its id and revision, and returns their folder."""

_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_LOCATOR = re.compile(rf"hf:(?P<repo>{_NAME}(/{_NAME})?)(@(?P<revision>[A-Za-z0-9_][\w./-]*))?")


def fetch(locator: str, download: Download | None) -> Path:
    """Return the local folder of a Hub dataset.

    Raises:
        DatasetError: when the locator is malformed or no client was passed in.
    """
    match = _LOCATOR.fullmatch(locator)
    if match is None or ".." in locator:
        raise DatasetError(f"{locator[:80]!r} is no Hub dataset; write hf:org/name or hf:org/name@revision")
    if download is None:
        raise DatasetError(f"{locator} is on the Hub and no download was given; give a local folder instead")
    return Path(download(match["repo"], match["revision"]))


def repository_name(locator: str) -> str:
    """Return the last part of the repository's id."""
    return locator.partition("@")[0].removeprefix("hf:").rpartition("/")[2]
