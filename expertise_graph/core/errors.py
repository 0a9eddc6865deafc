"""Exceptions of the package.

Every error a caller may want to catch derives from `ExpertiseError`; its text is one line that
says what was given, what is possible and what to do::

    ExpertiseError
    ├── NotFoundError           an expert, task, probe set, plug-in or path that is not there
    ├── InvalidInputError       data or arguments that cannot be used as given
    │   └── DatasetError        a dataset that cannot be read or is too small to learn from
    ├── UntrustedError          code or a pickle-bearing format met without the explicit opt-in
    ├── SourceError             an expert that cannot be resolved or loaded
    │   └── OfflineError        needs the network, and there is none
    ├── MissingExtraError       an optional dependency is not installed
    └── StoreError              registry.db cannot be opened, read or written
        └── NewerSchemaError    registry.db was written by a newer version
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class ExpertiseError(Exception):
    """Base of all errors raised on purpose by this package."""


class NotFoundError(ExpertiseError):
    """Something named by the caller does not exist."""


class InvalidInputError(ExpertiseError):
    """Arguments or arrays cannot be used as given."""


class DatasetError(InvalidInputError):
    """A dataset cannot be read, or is too small to learn from."""


class UntrustedError(ExpertiseError):
    """Code or a pickle-bearing format was met without the explicit opt-in."""


class SourceError(ExpertiseError):
    """An expert cannot be resolved or loaded."""


class OfflineError(SourceError):
    """The network is needed and cannot be reached."""


class MissingExtraError(ExpertiseError):
    """An optional dependency is not installed."""


class StoreError(ExpertiseError):
    """The registry cannot be opened, read or written."""


class NewerSchemaError(StoreError):
    """The registry was written by a newer version of this package."""


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn what libraries raise when a file cannot be written, for example on a full disk, into OSError.

    Example:
        >>> with disk_errors():
        ...     raise RuntimeError("I/O error: No space left on device (os error 28)")
        Traceback (most recent call last):
        OSError: [Errno 28] No space left on device
    """
    try:
        yield
    except Exception as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None or isinstance(error, OSError):
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its kind where it has none.

    Example:
        >>> first_line(ValueError("no such layer" + chr(10) + "details"))
        'no such layer'
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def did_you_mean(given: str, possible: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest of `possible`, or an empty string.

    Example:
        >>> did_you_mean("lattin", ["latin", "greek"])
        " Did you mean 'latin'?"
    """
    near = difflib.get_close_matches(given, list(possible), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
