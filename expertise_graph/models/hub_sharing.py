"""The Hugging Face Hub as a place to share at: what is in a repository, commits to it, files from it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from expertise_graph.core import NotFoundError, OfflineError, SourceError
from expertise_graph.models.hub_client import TransportError

# What the Hub answers to a commit on top of one that is not the newest any more.
_MOVED = (409, 412)
_UNAUTHORIZED, _FORBIDDEN = 401, 403
_LOG_IN = "log in with: hf auth login, or set HF_TOKEN"


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
            with _errors(self.name):
                api = HfApi()
                ask = api.dataset_info if self.kind == "dataset" else api.model_info
                info = ask(self.name, revision=revision, files_metadata=True)
        except _MissingError:
            return None
        files = {s.rfilename: s.size for s in info.siblings or []}
        return RemoteState(commit=str(info.sha), files=files)

    def create(self, *, public: bool) -> None:
        """Make the repository, unless it is there.

        Raises:
            OfflineError, SourceError: when the Hub does not answer, or does not let this account write.
        """
        with _errors(self.name, writing=True):
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
            with _errors(self.name, writing=True), warnings.catch_warnings():
                # The Hub's remarks on a card are not about anything that a user could change here.
                warnings.simplefilter("ignore")
                done = HfApi().create_commit(
                    self.name,
                    changes,
                    repo_type=self.kind,
                    commit_message=message,
                    parent_commit=parent,
                )
        except _MovedError:
            return None
        return str(done.oid)

    def fetch(self, folder: Path, *, files: Iterable[str], revision: str) -> None:
        """Download files of a commit into a folder, past the cache: a cache may be damaged.

        Raises:
            OfflineError, SourceError: as `state`.
        """
        with _errors(self.name):
            for name in files:
                hf_hub_download(self.name, name, repo_type=self.kind, revision=revision, local_dir=folder)


@dataclass(frozen=True, kw_only=True)
class RemoteState:
    """What a revision of a repository holds: its commit, and sizes of its files by path, where known."""

    commit: str
    files: Mapping[str, int | None]


class _MissingError(NotFoundError):
    """There is no such repository, or it is hidden."""


class _MovedError(SourceError):
    """Somebody else has committed since."""


def hub_token() -> str | None:
    """Return the token of this account, where there is one."""
    return get_token()


@contextmanager
def _errors(name: str, *, writing: bool = False) -> Iterator[None]:
    """Turn what the client raises into one line of this package."""
    try:
        try:
            yield
        except RuntimeError as error:
            # An upload that failed in one of its threads.
            raise error.__cause__ or error from error
    except GatedRepoError as error:
        raise SourceError(f"{name} is gated: ask for access on its page, and {_LOG_IN}") from error
    except RepositoryNotFoundError as error:
        raise _MissingError(missing(name)) from error
    except RevisionNotFoundError as error:
        raise NotFoundError(f"{name} has no such revision; leave it out for the newest") from error
    except HFValidationError as error:
        raise NotFoundError(f"{name!r} is not the name of a repository; the form is ORG/NAME") from error
    except OfflineModeIsEnabled as error:
        raise OfflineError(
            f"{name} is on the Hub, and HF_HUB_OFFLINE is set: unset it, or share by a folder"
        ) from error
    except HfHubHTTPError as error:
        raise _refused(name, error, writing) from error
    except (TransportError, ConnectionError, TimeoutError) as error:
        raise OfflineError(
            f"the Hub cannot be reached for {name} ({type(error).__name__}): nothing was changed there; try "
            "again, or share by a folder"
        ) from error
    except (ValueError, OSError) as error:
        raise SourceError(
            f"the Hub's answer for {name} cannot be used: {str(error).splitlines()[0]}"
        ) from error


def missing(name: str) -> str:
    """Return the line that says that a repository is not there."""
    return f"no repository {name} on the Hub, or it is private: check the name, or {_LOG_IN}"


def _refused(name: str, error: HfHubHTTPError, writing: bool) -> SourceError:
    status = error.response.status_code if error.response is not None else 0
    if status in _MOVED and writing:
        return _MovedError(f"{name} has changed since")
    if status == _UNAUTHORIZED:
        known = "does not know the token of this account" if get_token() else "wants to know who you are"
        return SourceError(f"the Hub {known}, for {name}: {_LOG_IN}")
    if status == _FORBIDDEN:
        what = "write to" if writing else "read"
        return SourceError(f"the Hub does not let this account {what} {name}: use a token that may")
    return SourceError(f"the Hub answered with an error for {name}: {str(error).splitlines()[0]}")
