"""What a shared registry consists of.

::

    manifest.json                     version of the format, and of each file its sha256, bytes and rows
    data/TABLE-HASH.parquet           one for each table below
    data/vectors-HASH.safetensors     embeddings and responses, which the tables refer to by number
    README.md, graph.png              for people; not read

Files are named by their content: a new state takes the place of an old one when the manifest does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import InvalidInputError, read_json_object
from expertise_graph.data import TableColumn

FORMAT = "expertise-graph registry"
VERSION = 1
"""Of the format. It grows when an older program could not read what a newer one writes."""

MANIFEST, CARD, PICTURE, DATA = "manifest.json", "README.md", "graph.png", "data"
VECTORS = "vectors"

# A registry of 10,000 experts and 500 tasks, each expert scored on 20 of them by three estimators, has
# 600,000 scores. More than this is no registry that this program could answer queries from.
MOST_ROWS = 2_000_000
# Of all files together: 100,000 embeddings of 4 kB and their tables are half of it.
MOST_BYTES = 1 << 30
# Of the manifest: it names ten files.
MOST_MANIFEST_BYTES = 1 << 16
# Responses are a cache of 4 kB each: beyond this they are left out, and worked out again where needed.
MOST_RESPONSES = 16_384

_NODE = (TableColumn("created_at"), TableColumn("origin"))

TABLES: Mapping[str, tuple[TableColumn, ...]] = {
    "probe_sets": (
        *map(TableColumn, ("id", "name", "version", "modality", "license")),
        TableColumn("n", "whole"),
        *_NODE,
    ),
    "experts": (
        *map(TableColumn, ("id", "name", "source", "locator", "modality", "architecture", "license")),
        *map(TableColumn, ("weights_sha", "preprocessing_sha", "weights_format", "meta")),
        *(TableColumn(name, "whole") for name in ("params", "bytes", "dim")),
        *(TableColumn(name, optional=True) for name in ("revision", "base_model")),
        *(TableColumn(name, "strings") for name in ("datasets", "tags")),
        TableColumn("trusted_code", "flag"),
        *_NODE,
    ),
    "tasks": (
        *map(TableColumn, ("id", "name", "modality", "locator")),
        TableColumn("classes", "strings"),
        TableColumn("n", "whole"),
        *_NODE,
    ),
    "embeddings": (
        *map(TableColumn, ("owner", "kind", "probe_set", "method", "version", "tensor")),
        *(TableColumn(name, "whole") for name in ("row", "seed", "n")),
        *_NODE,
    ),
    "edges": (
        *map(TableColumn, ("kind", "source", "target", "method", "version", "meta")),
        TableColumn("weight", "number"),
        *(TableColumn(name, optional=True) for name in ("metric", "probe_set", "run")),
        *(TableColumn(name, "whole", optional=True) for name in ("seed", "n")),
        TableColumn("seconds", "number", optional=True),
        *_NODE,
    ),
    "scores": (
        *map(TableColumn, ("expert", "task", "estimator", "version")),
        *(TableColumn(name, "number") for name in ("value", "seconds")),
        *(TableColumn(name, "whole") for name in ("n", "seed")),
        *_NODE,
    ),
    "covariates": (*map(TableColumn, ("expert", "name", "value")), *_NODE),
    "distances": (*map(TableColumn, ("task", "other", "method")), TableColumn("value", "number"), *_NODE),
    "responses": (TableColumn("key"), TableColumn("row", "whole")),
}
"""Columns of the tables. `origin` says where the numbers of a row are from: see `docs/sharing.md`."""

KEYS: Mapping[str, tuple[str, ...]] = {
    "probe_sets": ("id",),
    "experts": ("id",),
    "tasks": ("id",),
    "embeddings": ("owner", "probe_set", "method", "version"),
    "scores": ("expert", "task", "estimator", "version", "n", "seed"),
    "covariates": ("expert", "name"),
    "distances": ("task", "other", "method"),
    "responses": ("key",),
}
"""What a row of a table is known by; edges are compared as results are, see `merge`."""

_FILE = re.compile(rf"{DATA}/({'|'.join([*TABLES, VECTORS])})-[0-9a-f]{{12}}\.(parquet|safetensors)")

KINDS_OF_EDGES = ("similarity", "lineage", "transfer")
"""Relations that are shared."""

MEASURED, IMPORTED, SELF_REPORTED = "measured", "imported", "self-reported"
"""Origins: measured where it was pushed from; of a file that its owner imported; stated by a model card."""


@dataclass(frozen=True)
class Snapshot:
    """The rows of a registry at one moment, by table, and the responses of tasks to experts by key.

    Rows of embeddings have their `vector` (m,) float32; lists and `meta` are values of Python.
    """

    tables: Mapping[str, list[dict[str, Any]]]
    responses: Mapping[str, NDArray[np.float32]]

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of rows of each table."""
        return {name: len(rows) for name, rows in self.tables.items()}


@dataclass(frozen=True, kw_only=True)
class SharedFile:
    """What a manifest says of a file."""

    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What manifest.json says.

    Attributes:
        anonymous: whether names of tasks and classes were replaced by hashes.
        files: by their path in the folder.
    """

    anonymous: bool
    files: Mapping[str, SharedFile]

    @property
    def rows(self) -> dict[str, int]:
        """The number of rows by table."""
        return {table_of(name): file.rows for name, file in self.files.items() if table_of(name) != VECTORS}

    def file_of(self, table: str) -> str:
        """Return the path of a table."""
        return next(name for name in self.files if table_of(name) == table)

    def as_dict(self) -> dict[str, Any]:
        """Return it as values for JSON."""
        files = {n: {"sha256": f.sha256, "bytes": f.bytes, "rows": f.rows} for n, f in self.files.items()}
        return {"format": FORMAT, "version": VERSION, "anonymous": self.anonymous, "files": files}

    @classmethod
    def from_file(cls, path: Path, place: str) -> Manifest:
        """Read a manifest.

        Args:
            path: of the file.
            place: what it is of, for messages.

        Raises:
            InvalidInputError: when it is none, of a newer version, or names more than could be read.
        """
        if not path.is_file() or path.stat().st_size > MOST_MANIFEST_BYTES:
            raise not_a_registry(place)
        try:
            content = read_json_object(path)
        except InvalidInputError as error:
            raise InvalidInputError(f"{place} is not a whole registry: its {MANIFEST} is damaged") from error
        version = content.get("version")
        if content.get("format") != FORMAT or not isinstance(version, int) or isinstance(version, bool):
            raise not_a_registry(place)
        if version > VERSION:
            raise InvalidInputError(
                f"{place} has version {version} of the format, this program knows up to {VERSION}; upgrade "
                "with: pip install -U expertise-graph"
            )
        files, anonymous = content.get("files"), content.get("anonymous")
        if not isinstance(files, dict) or not isinstance(anonymous, bool):
            raise InvalidInputError(f"{place} is not a whole registry: its {MANIFEST} lists no files")
        found = cls(anonymous=anonymous, files={str(n): _file(n, f, place) for n, f in files.items()})
        found._check(place)
        return found

    def _check(self, place: str) -> None:
        tables = sorted(map(table_of, self.files))
        if tables != sorted([*TABLES, VECTORS]):
            raise InvalidInputError(f"{place} is not a whole registry: its {MANIFEST} lists other files")
        size, rows = sum(f.bytes for f in self.files.values()), sum(f.rows for f in self.files.values())
        if size > MOST_BYTES or rows > MOST_ROWS:
            raise InvalidInputError(
                f"{place} has {rows:,} rows in {size:,} bytes; up to {MOST_ROWS:,} rows in {MOST_BYTES:,} "
                "bytes are read"
            )


def table_of(name: str) -> str:
    """Return the table that a path in a shared registry is of."""
    return name.removeprefix(f"{DATA}/").rsplit("-", 1)[0]


def _file(name: object, content: object, place: str) -> SharedFile:
    fields = content if isinstance(content, dict) else {}
    numbers = [fields.get("bytes"), fields.get("rows")]
    sha256 = fields.get("sha256")
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)
    if not (_FILE.fullmatch(str(name)) and whole and re.fullmatch("[0-9a-f]{64}", str(sha256))):
        raise InvalidInputError(f"{place} is not a whole registry: its {MANIFEST} is damaged")
    return SharedFile(sha256=str(sha256), bytes=fields["bytes"], rows=fields["rows"])


def not_a_registry(place: str) -> InvalidInputError:
    """Return the error for a place that holds something else."""
    return InvalidInputError(
        f"{place} is not a shared registry: it has no {MANIFEST} of one; make one with: expertise-graph push "
        f"{place}"
    )


def pull_first(place: str) -> InvalidInputError:
    """Return the error for a place that somebody else has pushed to."""
    return InvalidInputError(
        f"{place} holds what this workspace has not seen: pull first, then push again, with: "
        f"expertise-graph pull {place}"
    )
