"""``gguf:PATH`` and ``hf:ORG/NAME:FILE.gguf``: text models whose quantised weights are expanded to float32.

They are expanded once, into a folder of safetensors in the cache of this package that is named after the
hash of the file; from there on they are read like any other checkpoint.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from expertise_graph.core import (
    UNKNOWN,
    Expert,
    InvalidInputError,
    MissingExtraError,
    NotFoundError,
    SourceError,
    TemporaryError,
    byte_size,
    first_line,
    new_folder,
)
from expertise_graph.models.base import Backbone, Pin, SourceOptions
from expertise_graph.models.card import CardData, read_card
from expertise_graph.models.checkpoint import describe_checkpoint, load_checkpoint
from expertise_graph.models.gguf_header import GgufHeader, read_gguf_header
from expertise_graph.models.hub_client import fetch_file
from expertise_graph.models.transformers_backend import expand_gguf
from expertise_graph.models.weights import find_weights, sha256_of
from expertise_graph.models.zoo import cache_folder

SUFFIX = ".gguf"
FORMAT = "gguf, expanded"
_BYTES = 4
"""Of a number in float32."""


class GgufSource:
    """GGUF files, in a folder of this machine or in a repository of the Hub."""

    def resolve(self, locator: str, options: SourceOptions) -> Expert:
        """Expand the weights, unless that was done before, and describe the model.

        Args:
            locator: path, or ``hf:ORG/NAME[@REVISION]:FILE.gguf``.
            options: what the user declared.

        Raises:
            NotFoundError: when there is no such file.
            SourceError: when it is damaged, or of a kind that is not read.
            MissingExtraError: when gguf is not installed.
        """
        place, revision, file = _find(locator, options.revision)
        header, sha = _check(file), sha256_of([file])
        folder = _expanded(file, sha, header)
        named = options if options.name else dataclasses.replace(options, name=file.stem)
        pin = Pin(source="gguf", locator=place, revision=revision, id=f"gguf:{sha}")
        found = describe_checkpoint(folder, named, pin)
        card = CardData() if revision is None else read_card(file.parent / "README.md")
        return dataclasses.replace(
            found,
            bytes=file.stat().st_size,
            weights_sha=sha,
            weights_format=FORMAT,
            license=(options.license or card.license or UNKNOWN).lower(),
            base_model=card.base_model,
            datasets=card.datasets,
            tags=tuple(dict.fromkeys((*options.tags, *card.tags))),
            meta={**{k: v for k, v in found.meta.items() if not k.startswith("former_")}, **card.meta},
        )

    def fetch(self, locator: str, options: SourceOptions) -> Path | None:
        """Download the file, where it is on the Hub."""
        return _find(locator, options.revision)[2]

    def load(self, expert: Expert, *, trust_code: bool = False) -> Backbone:
        """Load the expanded weights; they are expanded again where the cache was emptied.

        Raises:
            SourceError: when the file is another one now.
        """
        folder = cache_folder("gguf") / expert.weights_sha
        if not folder.is_dir():
            file = _find(expert.locator, expert.revision)[2]
            if sha256_of([file]) != expert.weights_sha:
                raise SourceError(f"{file} is not what was registered; register it again")
            folder = _expanded(file, expert.weights_sha, _check(file))
        weights = find_weights(folder).sha256
        return load_checkpoint(folder, dataclasses.replace(expert, weights_sha=weights))


def is_gguf(locator: str) -> bool:
    """Tell whether what stands behind another scheme names a GGUF file."""
    return locator.casefold().endswith(SUFFIX)


def _find(locator: str, revision: str | None) -> tuple[str, str | None, Path]:
    """Return place and commit of a file, without a commit for one on this machine, and where it is."""
    if not locator.startswith("hf:"):
        file = Path(locator).expanduser().absolute()
        if not file.is_file():
            raise NotFoundError(f"no file at {file}")
        return str(file), None, file.resolve()
    repo, _, name = locator.removeprefix("hf:").partition(":")
    repo, _, named = repo.partition("@")
    if not name:
        raise InvalidInputError(f"{locator!r} names no file: write hf:ORG/NAME:FILE{SUFFIX}")
    commit, file = fetch_file(repo, named or revision, name)
    return f"hf:{repo}:{name}", commit, file


def _check(file: Path) -> GgufHeader:
    """Return the header of a file that can be read.

    Raises:
        SourceError: saying what is wrong with it.
    """
    header = read_gguf_header(file)
    if header.parts > 1:
        raise SourceError(
            f"{file} is one of {header.parts} parts of a model; merge them with llama-gguf-split"
        )
    return header


def _expanded(file: Path, sha: str, header: GgufHeader) -> Path:
    """Return the folder with the weights of a file in float32."""
    folder = cache_folder("gguf") / sha
    if folder.is_dir():
        return folder
    if importlib.util.find_spec("gguf") is None:
        raise MissingExtraError("gguf is needed for GGUF files; run: pip install 'expertise-graph[gguf]'")
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed, room = header.params * _BYTES, shutil.disk_usage(folder.parent).free
    if needed > room:
        raise TemporaryError(
            f"{file} expands to {byte_size(needed)}, and {byte_size(room)} are free in {folder.parent}"
        )
    with tempfile.TemporaryDirectory() as alone:
        # Nothing that lies beside the file is read.
        link = Path(alone) / f"model{SUFFIX}"
        os.symlink(file.resolve(), link)
        try:
            with new_folder(folder) as made:
                try:
                    expand_gguf(link, made)
                except (ValueError, KeyError, TypeError, NotImplementedError, RuntimeError) as error:
                    what = f"{header.architecture or 'a'} model"
                    raise SourceError(f"{file} is a {what} that is not read: {first_line(error)}") from error
        except InvalidInputError:
            if not folder.is_dir():  # another process may have expanded it meanwhile
                raise
    return folder


source = GgufSource()
