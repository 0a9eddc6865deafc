"""``hf:org/name[@revision]``: a model on the Hugging Face Hub, pinned to the resolved commit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from expertise_graph.core import Expert
from expertise_graph.models.adapters import describe_adapter, is_adapter, load_adapter
from expertise_graph.models.base import Backbone, Pin, SourceOptions
from expertise_graph.models.checkpoint import describe_checkpoint, load_checkpoint
from expertise_graph.models.gguf import is_gguf
from expertise_graph.models.gguf import source as gguf
from expertise_graph.models.hub_client import cached_commit, fetch, fetch_commit, hub_errors
from expertise_graph.models.layout import read_layout
from expertise_graph.models.weights import weight_paths


class HubSource:
    """Transformers and sentence-transformers repositories with safetensors weights."""

    def resolve(self, locator: str, options: SourceOptions) -> Expert:
        """Pin the repository to a commit, fetch what is allowed, and describe it.

        Raises:
            NotFoundError: no such repository or revision.
            OfflineError: no network and nothing cached.
            UntrustedError: the repository has no safetensors weights.
        """
        if is_gguf(locator):
            return gguf.resolve(f"hf:{locator}", options)
        repo, revision = split_revision(locator, options.revision)
        root = fetch(repo, revision)
        named = options if options.name else dataclasses.replace(options, name=repo.rsplit("/", 1)[-1])
        pin = Pin(source="hf", locator=repo, revision=root.name, id=f"hf:{repo}@{root.name}")
        describe = describe_adapter if is_adapter(root) else describe_checkpoint
        return describe(root, named, pin)

    def repository(self, locator: str, options: SourceOptions) -> tuple[str, str | None] | None:
        """Return the repository and the revision; None for a single file of it."""
        return None if is_gguf(locator) else split_revision(locator, options.revision)

    def fetch(self, locator: str, options: SourceOptions) -> Path | None:
        """Download the repository; what an adapter changes may have to be downloaded later."""
        if is_gguf(locator):
            return gguf.fetch(f"hf:{locator}", options)
        repo, revision = split_revision(locator, options.revision)
        root = fetch(repo, revision)
        return None if is_adapter(root) else root

    def load(self, expert: Expert, *, trust_code: bool = False) -> Backbone:
        """Load the pinned commit, from the cache where it is there."""
        with hub_errors(f"hf:{expert.locator}"):
            root = fetch_commit(expert.locator, str(expert.revision))
        if is_adapter(root):
            return load_adapter(root, expert, trust_code=trust_code)
        return load_checkpoint(root, expert)

    def weight_files(self, expert: Expert) -> Sequence[Path]:
        """Return the files of the pinned commit, if it is in the cache."""
        root = cached_commit(expert.locator, str(expert.revision))
        return () if root is None or is_adapter(root) else weight_paths(read_layout(root).model)


def split_revision(locator: str, revision: str | None) -> tuple[str, str | None]:
    """Return the repository and the revision of ``org/name@revision``."""
    repo, _, named = locator.partition("@")
    return repo, named or revision


source = HubSource()
