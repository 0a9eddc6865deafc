"""The Hugging Face Hub client: fetching what is allowed, pinned, with errors of one line."""

from __future__ import annotations

import contextlib
import fnmatch
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import (
    HfApi,
    ModelInfo,
    get_token,
    scan_cache_dir,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import (
    CacheNotFound,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name

from expertise_graph.core import (
    ExpertiseError,
    GatedError,
    NotFoundError,
    OfflineError,
    SourceError,
    TemporaryError,
    UntrustedError,
    byte_size,
    first_line,
    nearest,
)
from expertise_graph.data import known_modalities
from expertise_graph.models.card_results import RESULTS_FOLDER
from expertise_graph.models.hub_blobs import check_blobs
from expertise_graph.models.layout import ALLOWED

# The Hub client's own errors and those of the HTTP library beneath it share this base.
TransportError: type[Exception] = HfHubHTTPError.__bases__[0]
# What is downloaded of a model; what its author claims is no part of it, and may be missing in the cache.
_WANTED = (*ALLOWED, f"{RESULTS_FOLDER}/*.yaml")
# What the Hub answers to a commit on top of one that is not the newest any more.
_MOVED = (409, 412)
_UNAUTHORIZED, _FORBIDDEN = 401, 403
_LOG_IN = "log in with: hf auth login, or set HF_TOKEN"
# Of data sets besides the files of inputs, whose suffixes their modalities know.
_TABLES = ("*.parquet", "*.csv", "*.tsv", "*.jsonl", "*.json", "*.arrow", "*.npz")
# A download writes all the time; one that did not for an hour was killed.
_ABANDONED_SECONDS = 3600


def fetch_model(
    repo: str, revision: str | None, *, before: Callable[[int], None] | None = None
) -> tuple[str, Path]:
    """Return the commit that `revision` names now, and a local folder with its allowed files.

    Args:
        repo: name of the repository.
        revision: branch, tag or commit; None for main.
        before: called with the bytes that are to be downloaded; what it raises keeps them from that.

    Raises:
        NotFoundError, OfflineError, SourceError, UntrustedError: see `HubSource.resolve`.
    """
    with hub_errors(f"hf:{repo}"):
        info = _ask_for_files(repo, revision)
        files = None if info is None else [s.rfilename for s in info.siblings or []]
        _require_safetensors(repo, files)
        (before or _check_room)(0 if info is None else _missing_bytes(repo, info))
        _remove_leftovers(repo)
        # Asked for by the name of a branch, the cache remembers where that was, for offline use.
        root = Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=list(ALLOWED if files is None else _WANTED),
                local_files_only=files is None,
            )
        )
        check_blobs(root, repo)
        return root.name, root


def fetch(repo: str, revision: str | None) -> Path:
    """Return a local folder with the allowed files of a revision; a commit that is cached needs no network.

    Raises:
        NotFoundError, OfflineError, SourceError, UntrustedError: see `HubSource.resolve`.
    """
    if revision is None or not re.fullmatch("[0-9a-f]{40}", revision):
        return fetch_model(repo, revision)[1]
    with hub_errors(f"hf:{repo}"):
        return fetch_commit(repo, revision)


def fetch_file(repo: str, revision: str | None, name: str) -> tuple[str, Path]:
    """Return the commit that `revision` names now, and one file of it, beside which the card is.

    Raises:
        NotFoundError: when there is no such repository, revision or file.
        OfflineError, GatedError, TemporaryError: as for models.
    """
    pinned = re.fullmatch("[0-9a-f]{40}", revision or "") is not None
    with hub_errors(f"hf:{repo}"):
        if pinned and isinstance(cached := try_to_load_from_cache(repo, name, revision=revision), str):
            return str(revision), Path(cached)
        info = _ask_for_files(repo, revision)
        sizes = None if info is None else {s.rfilename: s.size or 0 for s in info.siblings or []}
        if sizes is not None and name not in sizes:
            others = [other for other in sizes if other.endswith(Path(name).suffix)]
            raise NotFoundError(f"hf:{repo} has no {name}; {nearest(name, others)}")
        _check_room(0 if sizes is None else sizes[name])
        exact = [re.sub(r"([*?\[])", r"[\1]", name), "README.md"]
        root = Path(
            snapshot_download(repo, revision=revision, allow_patterns=exact, local_files_only=sizes is None)
        )
    if not (root / name).is_file():
        raise OfflineError(f"hf:{repo}:{name} needs the network and is not cached")
    check_blobs(root, repo)
    return root.name, root / name


def fetch_config(repo: str, revision: str | None) -> Path:
    """Return a local folder with the configuration of a model, without its weights.

    Raises:
        NotFoundError, OfflineError, SourceError: as for models.
    """
    with hub_errors(f"hf:{repo}"):
        folder = snapshot_download(repo, revision=revision, allow_patterns=["config.json"])
    if not (Path(folder) / "config.json").is_file():
        raise SourceError(f"hf:{repo} has no config.json, so its architecture is not known")
    return Path(folder)


def download_dataset(repo: str, revision: str | None) -> Path:
    """Return a local folder with the data files of a dataset repository, without any code.

    Raises:
        NotFoundError, OfflineError, SourceError: as for models.
    """
    with hub_errors(f"hf:{repo}"):
        return Path(
            snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=_data_patterns())
        )


def _data_patterns() -> list[str]:
    """Return patterns of the files that data are read from; patterns tell upper from lower case."""
    suffixes = [suffix for name in known_modalities for suffix in known_modalities[name].suffixes]
    return [*_TABLES, *(f"*{suffix}" for suffix in suffixes), *(f"*{suffix.upper()}" for suffix in suffixes)]


def _ask_for_files(repo: str, revision: str | None) -> ModelInfo | None:
    """Return the files of a revision with their sizes; None offline, where only the cache can tell."""
    try:
        return HfApi().model_info(repo, revision=revision, files_metadata=True)
    except HfHubHTTPError:  # the Hub did answer
        raise
    except (OfflineModeIsEnabled, TransportError):
        return None


def _missing_bytes(repo: str, info: ModelInfo) -> int:
    """Return the bytes of the allowed files of a revision that are not in the cache."""
    sizes = {s.rfilename: s.size or 0 for s in info.siblings or [] if _is_allowed(s.rfilename)}
    return sum(
        size
        for name, size in sizes.items()
        if not isinstance(try_to_load_from_cache(repo, name, revision=info.sha), str)
    )


def _is_allowed(name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in ALLOWED)


def _check_room(size: int) -> None:
    room = cache_room() if size else 0
    if size > room:
        raise TemporaryError(
            f"its download takes {byte_size(size)}, and {byte_size(room)} are free where downloads are kept "
            "(HF_HOME)"
        )


def _remove_leftovers(repo: str) -> None:
    """Remove what downloads of a repository that were killed left: the client never takes them up again."""
    blobs = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model") / "blobs"
    for path in blobs.glob("*.incomplete"):
        with contextlib.suppress(OSError):  # another process may remove it, or end its download
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()


def _require_safetensors(repo: str, files: list[str] | None) -> None:
    if files is None or any(name.endswith(".safetensors") for name in files):
        return
    if ggufs := sorted(name for name in files if name.endswith(".gguf")):
        raise UntrustedError(f"hf:{repo} has no safetensors weights, but GGUF: write hf:{repo}:{ggufs[0]}")
    raise UntrustedError(
        f"hf:{repo} has no safetensors weights (it has: {', '.join(sorted(files)[:6])}); convert a "
        "local copy you trust with save_pretrained(...), and register it as dir:PATH"
    )


def fetch_commit(repo: str, sha: str) -> Path:
    """Return the folder of a commit; the network is not asked for what is cached whole."""
    cached = cached_commit(repo, sha)
    if cached is not None and _is_model(cached):
        check_blobs(cached, repo)
        return cached
    return fetch_model(repo, sha)[1]


def _is_model(folder: Path) -> bool:
    described = any((folder / name).exists() for name in ("config.json", "adapter_config.json"))
    return described and any(folder.rglob("*.safetensors"))


def cache_room() -> int:
    """Return the bytes that are free where downloads are kept."""
    folder = Path(HF_HUB_CACHE)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def is_cached(repo: str, sha: str | None) -> bool:
    """Tell whether a commit of a model, by default that of main, is in the cache, at least in part."""
    return isinstance(try_to_load_from_cache(repo, "config.json", revision=sha), str)


def evict(repo: str, sha: str) -> int:
    """Delete a commit of a model from the cache, and return the bytes that this freed."""
    try:
        found = scan_cache_dir()
    except CacheNotFound:
        return 0
    if not any(r.commit_hash == sha for of in found.repos if of.repo_id == repo for r in of.revisions):
        return 0
    plan = found.delete_revisions(sha)
    plan.execute()
    return int(plan.expected_freed_size)


def cached_commit(repo: str, sha: str) -> Path | None:
    """Return the folder of a commit in the cache, or None; the network is not asked."""
    try:
        return Path(
            snapshot_download(repo, revision=sha, allow_patterns=list(ALLOWED), local_files_only=True)
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None


class MissingRepositoryError(NotFoundError):
    """There is no such repository, or it is hidden."""


class MovedError(SourceError):
    """Somebody else has committed since."""


_MISSING = f"no repository {{name}} on the Hub, or it is private: check the name, or {_LOG_IN}"

# What the client raises, the special before the general, and what this package says instead.
_LINES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], type[ExpertiseError], str], ...] = (
    (GatedRepoError, GatedError, f"{{name}} is gated: ask for access on its page, and {_LOG_IN}"),
    (RepositoryNotFoundError, MissingRepositoryError, _MISSING),
    (RevisionNotFoundError, NotFoundError, "{name} has no such revision; leave it out for the newest"),
    (HFValidationError, NotFoundError, "{name!r} is not a repository name; the form is ORG/NAME"),
    (
        OfflineModeIsEnabled,
        OfflineError,
        "{name} needs the network, and HF_HUB_OFFLINE is set ({cached}): unset it, or use a folder",
    ),
    (
        LocalEntryNotFoundError,
        OfflineError,
        "{name} needs the network and is not cached whole ({cached}): go online once, or use a folder",
    ),
    (EntryNotFoundError, SourceError, "{name} lacks a file: {reason}"),
    (
        (TransportError, ConnectionError, TimeoutError),
        OfflineError,
        "the Hub cannot be reached for {name} ({kind}; {cached}): {unchanged}go online and try again, or use "
        "a folder",
    ),
    (ValueError, TemporaryError, "the Hub's answer for {name} cannot be used: {reason}"),
    (OSError, TemporaryError, "the Hub's answer for {name} cannot be used: {reason}"),
)


@contextmanager
def hub_errors(name: str, *, writing: bool = False) -> Iterator[None]:
    """Turn what the Hub client raises into one-line errors of this package.

    Errors of this machine, such as a full disk, pass through.

    Args:
        name: what the user calls the repository, for messages.
        writing: whether the Hub is asked to change something.
    """
    try:
        yield
    except Exception as error:
        # An upload that failed in one of its threads is the cause of a RuntimeError.
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        told = _told(name, cause, writing)
        if told is None and cause is error:
            raise
        raise told or cause from error


def _told(name: str, error: BaseException, writing: bool) -> ExpertiseError | None:
    """Return what this package says of an error; None for one that is not of the Hub."""
    lines = [line for line in _LINES if isinstance(error, line[0])]
    if isinstance(error, HfHubHTTPError) and (not lines or lines[0][2].startswith("the Hub")):
        return _refused(name, error, writing)
    of_the_machine = isinstance(error, OSError) and error.errno is not None
    if not lines or (of_the_machine and lines[0][0] is OSError):
        return None
    _, kind, text = lines[0]
    return kind(
        text.format(
            name=name,
            reason=first_line(error),
            kind=type(error).__name__,
            cached=_cached() if "{cached}" in text else "",
            unchanged="nothing was changed there; " if writing else "",
        )
    )


def missing(name: str) -> str:
    """Return the line that says that a repository is not there."""
    return _MISSING.format(name=name)


def _refused(name: str, error: HfHubHTTPError, writing: bool) -> SourceError:
    status = error.response.status_code if error.response is not None else 0
    if status in _MOVED and writing:
        return MovedError(f"{name} has changed since")
    kind = SourceError if writing else GatedError
    if status == _UNAUTHORIZED:
        known = "does not know the token of this account" if get_token() else "wants to know who you are"
        return kind(f"the Hub {known}, for {name}: {_LOG_IN}")
    if status == _FORBIDDEN:
        what = "write to" if writing else "read"
        return kind(f"the Hub does not let this account {what} {name}: use a token that may")
    return TemporaryError(f"the Hub answered with an error for {name}: {first_line(error)}")


def _cached() -> str:
    """Return which repositories are on this machine, for people without a network."""
    try:
        names = sorted(repo.repo_id for repo in scan_cache_dir().repos)
    except CacheNotFound:
        names = []
    return f"cached: {', '.join(names[:5])}" if names else "nothing is cached"
