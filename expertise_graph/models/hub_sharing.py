"""The Hugging Face Hub as a place to share at: what is in a repository, commits to it, files from it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token, hf_hub_download

from expertise_graph.models.hub_client import MissingRepositoryError, MovedError, hub_errors


@dataclass(frozen=True)
class HubRepository:
    """A repository on the Hub.

    Attributes:
        name: ``ORG/NAME``.
        kind: ``model`` or ``dataset``.
    """

    name: str
    kind: str

    def state(self, revision: str | None = None) -> RemoteState | None:
        """Return what a revision, by default the newest, holds; None where there is no repository.

        Raises:
            NotFoundError: when there is no such revision.
            OfflineError, SourceError: when the Hub does not answer, or refuses to.
        """
        try:
            with hub_errors(self.name):
                api = HfApi()
                ask = api.dataset_info if self.kind == "dataset" else api.model_info
                info = ask(self.name, revision=revision, files_metadata=True)
        except MissingRepositoryError:
            return None
        files = {s.rfilename: s.size for s in info.siblings or []}
        return RemoteState(commit=str(info.sha), files=files)

    def create(self, *, public: bool) -> None:
        """Make the repository, unless it is there.

        Raises:
            OfflineError, SourceError: when the Hub does not answer, or does not let this account write.
        """
        with hub_errors(self.name, writing=True):
            HfApi().create_repo(self.name, repo_type=self.kind, private=not public, exist_ok=True)

    def commit(
        self, folder: Path, *, files: Iterable[str], delete: Iterable[str], parent: str, message: str
    ) -> str | None:
        """Add files to the repository in one commit, and delete others.

        Args:
            folder: where the files are.
            files: their paths, the same here and there.
            delete: paths there.
            parent: commit that must still be the newest.
            message: of the commit.

        Returns:
            The new commit; None where somebody else has committed since.

        Raises:
            OfflineError, SourceError: as `create`; nothing is committed then.
        """
        changes: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in files
        ]
        changes += [CommitOperationDelete(path_in_repo=name) for name in delete]
        try:
            with hub_errors(self.name, writing=True), warnings.catch_warnings():
                # The Hub's remarks on a card are not about anything that a user could change here.
                warnings.simplefilter("ignore")
                done = HfApi().create_commit(
                    self.name,
                    changes,
                    repo_type=self.kind,
                    commit_message=message,
                    parent_commit=parent,
                )
        except MovedError:
            return None
        return str(done.oid)

    def fetch(self, folder: Path, *, files: Iterable[str], revision: str) -> None:
        """Download files of a commit into a folder, past the cache: a cache may be damaged.

        Raises:
            OfflineError, SourceError: as `state`.
        """
        with hub_errors(self.name):
            for name in files:
                hf_hub_download(self.name, name, repo_type=self.kind, revision=revision, local_dir=folder)


@dataclass(frozen=True, kw_only=True)
class RemoteState:
    """What a revision of a repository holds: its commit, and sizes of its files by path, where known."""

    commit: str
    files: Mapping[str, int | None]


def hub_token() -> str | None:
    """Return the token of this account, where there is one."""
    return get_token()
