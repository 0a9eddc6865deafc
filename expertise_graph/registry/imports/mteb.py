"""Results of MTEB, MIEB and MAEB from their repository: a JSON file for each model, commit and task."""

from __future__ import annotations

import json
import math
import os
import re
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from expertise_graph.core import DatasetError, NotFoundError, OfflineError, Progress, silent

MTEB_VARIABLE = "EXPERTISE_GRAPH_MTEB"
"""Environment variable with the address of an archive of the repository, without the revision at its end."""

REPOSITORY = "embeddings-benchmark/results"
_ADDRESS = f"https://codeload.github.com/{REPOSITORY}/tar.gz"
_PLACE = re.compile(r"[^/]+/results/(?P<model>[^/]+)/(?P<revision>[^/]+)/(?P<task>[^/]+)\.json")
_COMMIT, _REVISION = re.compile("[0-9a-f]{40}"), re.compile(r"[\w][\w./-]{0,99}")
# A file has some kB for each language and repetition; a larger one is something else.
_MOST_BYTES = 4 << 20
_SECONDS = 60
# Of several splits the first of these counts: models are not to be trained on it.
_SPLITS = ("test", "validation", "dev", "train")
_ENGLISH = ["eng-Latn"]
_REPORT_EVERY = 500
_NOT_FOUND = 404


@dataclass(frozen=True, kw_only=True)
class MtebResult:
    """A file of the repository.

    Attributes:
        model: name on the Hub, ``org/name``.
        revision: commit of the model that was measured.
        task: as MTEB calls it.
        scores: by split, what was measured on each subset of the data.
    """

    model: str
    revision: str
    task: str
    scores: Mapping[str, Any]

    def value(self, metric: str) -> float | None:
        """Return a metric as a fraction: the mean of the subsets in English, of all where there are none.

        The test split counts where there is one. None where the file does not have it.
        """
        split = next((s for s in _SPLITS if s in self.scores), next(iter(self.scores), None))
        subsets = self.scores.get(split) if split is not None else None
        rows = [row for row in subsets if isinstance(row, dict)] if isinstance(subsets, list) else []
        chosen = [row for row in rows if row.get("languages") == _ENGLISH] or rows
        values = [row.get(metric) for row in chosen]
        numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        if not numbers or len(numbers) < len(values):
            return None
        mean = sum(numbers) / len(numbers)
        return mean if math.isfinite(mean) and 0.0 <= mean <= 1.0 else None


def read_mteb(
    wanted: Callable[[str, str], bool], *, revision: str = "main", progress: Progress = silent
) -> tuple[str, list[MtebResult]]:
    """Return the commit that a revision of the repository is at, and the results that are wanted.

    The archive is read as it comes; nothing of it is kept on disk.

    Args:
        wanted: tells by model and task what is read.
        revision: branch, tag or commit.
        progress: called with how many files were read.

    Raises:
        NotFoundError: for no such revision.
        OfflineError: when it cannot be had.
        DatasetError: when it is no archive of git.
    """
    if not _REVISION.fullmatch(revision):
        raise NotFoundError(f"{revision[:60]!r} is no branch, tag or commit of {REPOSITORY}")
    address = f"{os.environ.get(MTEB_VARIABLE) or _ADDRESS}/{revision}"
    with _errors(address), urllib.request.urlopen(address, timeout=_SECONDS) as stream:
        commit, found = _read(stream, wanted, progress)
    if _COMMIT.fullmatch(revision) and commit not in (None, revision):
        raise DatasetError(f"{address} is an archive of commit {commit}, not of {revision}")
    if commit is None:
        raise DatasetError(f"{address} is no archive of git: it does not name its commit")
    return commit, found


def _read(
    stream: IO[bytes], wanted: Callable[[str, str], bool], progress: Progress
) -> tuple[str | None, list[MtebResult]]:
    found: list[MtebResult] = []
    with tarfile.open(fileobj=stream, mode="r|gz") as archive:
        for number, member in enumerate(archive, 1):
            place = _PLACE.fullmatch(member.name)
            if place and member.isreg() and member.size <= _MOST_BYTES:
                # Of the name of a repository the Hub's slash is written so.
                model = place["model"].replace("__", "/", 1)
                if wanted(model, place["task"]) and (file := archive.extractfile(member)) is not None:
                    scores = _scores(file.read())
                    one = MtebResult(
                        model=model, revision=place["revision"], task=place["task"], scores=scores
                    )
                    found.append(one)
            if number % _REPORT_EVERY == 0:
                progress("files of results read", number, number)
        # git writes it into the archives that it makes.
        commit = archive.pax_headers.get("comment")
    return commit if commit and _COMMIT.fullmatch(commit) else None, found


def _scores(content: bytes) -> Mapping[str, Any]:
    """Return the scores of a file; none of what is no JSON, or has another form."""
    try:
        read = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    scores = read.get("scores") if isinstance(read, dict) else None
    return scores if isinstance(scores, dict) else {}


def best_revision(revisions: Collection[str], measured: str | None) -> str:
    """Return which commit of a model counts: the one that is known, else the last by name."""
    return measured if measured is not None and measured in revisions else max(revisions)


@contextmanager
def _errors(address: str) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        if error.code == _NOT_FOUND:
            raise NotFoundError(f"there is no {address}: check the revision") from error
        raise OfflineError(f"{address} answered {error.code}: try again later") from error
    except (tarfile.TarError, EOFError) as error:
        raise DatasetError(f"{address} is damaged, or no archive: {error}; try again") from error
    except OSError as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise OfflineError(f"{address} cannot be reached ({reason}): nothing was changed") from error
