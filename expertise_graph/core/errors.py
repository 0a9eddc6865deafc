"""Exceptions of the package.

Every error a caller may want to catch derives from `ExpertiseError`; its text is one line that
says what was given, what is possible and what to do::

    ExpertiseError
    ├── NotFoundError           an expert, task, probe set, plug-in or path that is not there
    ├── InvalidInputError       data or arguments that cannot be used as given
    │   └── DatasetError        a dataset that cannot be read or is too small to learn from
    ├── UntrustedError          code or a pickle-bearing format met without the explicit opt-in
    ├── SourceError             an expert that cannot be resolved or loaded
    │   ├── TemporaryError      may go well another time: memory, room on the disk, an error of the Hub
    │   │   └── OfflineError    needs the network, and there is none
    │   ├── GatedError          a repository that wants its users to ask for access
    │   └── FailedError         an expert that raised something when it was run or trained
    ├── MissingExtraError       an optional dependency is not installed
    └── StoreError              registry.db cannot be opened, read or written
        └── NewerSchemaError    registry.db was written by a newer version
"""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from expertise_graph.core.text import printable

# Of this machine or of whoever started the work, not of the expert that was run.
_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE)


# Characters of an error that quotes a long text; what to do stands at its end.
_BEGINNING, _END = 1200, 600


class ExpertiseError(Exception):
    """Base of all errors raised on purpose by this package; one line of bounded length whatever it quotes."""

    def __init__(self, message: str = "") -> None:
        said = printable(message)
        if len(said) > _BEGINNING + _END:
            said = f"{said[:_BEGINNING]} ... {said[-_END:]}"
        super().__init__(said)


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


class TemporaryError(SourceError):
    """An expert could not be had or run now, for a reason that may be gone another time."""


class GatedError(SourceError):
    """A repository wants its users to ask for access, and this account has none."""


class OfflineError(TemporaryError):
    """The network is needed and cannot be reached."""


class FailedError(SourceError):
    """An expert raised something when it was run or trained; its text is "NAME failed: reason"."""


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


def reason_of(error: BaseException) -> str:
    """Return in one line what went wrong: class and message, of the package's own errors the message alone.

    Example:
        >>> reason_of(KeyError("index out of range" + chr(10) + "details")), reason_of(MemoryError())
        ('KeyError: index out of range', 'MemoryError')
    """
    if isinstance(error, ExpertiseError) or not str(error).strip():
        return first_line(error)
    # The text of a KeyError is the repr of its message, line ends included.
    told = error.args[0] if isinstance(error, KeyError) and error.args else error
    return f"{type(error).__name__}: {str(told).strip().splitlines()[0]}"


@contextmanager
def expert_errors(name: str) -> Iterator[None]:
    """Turn whatever an expert raises into one line, "NAME failed: class: message".

    Networks and tokenizers of strangers raise anything; a panic of a library written in Rust is not even an
    `Exception`. What ends the process, errors of this package, of the registry and of the disk pass through.

    Raises:
        TemporaryError: when its memory does not suffice.
        FailedError: for all else.
    """
    try:
        yield
    except (ExpertiseError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        of_the_disk = isinstance(error, OSError) and error.errno in _OF_THE_MACHINE
        if of_the_disk or type(error).__module__ == "sqlite3":
            raise
        kind = TemporaryError if is_out_of_memory(error) else FailedError
        raise kind(f"{name} failed: {reason_of(error)}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that memory is exhausted, on a GPU or in main memory."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in text
        or "can't allocate memory" in text
        or "DefaultCPUAllocator" in text
    )


def did_you_mean(given: str, possible: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest of `possible`, or an empty string.

    Example:
        >>> did_you_mean("lattin", ["latin", "greek"])
        " Did you mean 'latin'?"
    """
    near = difflib.get_close_matches(given, list(possible), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def nearest(pattern: str, possible: Iterable[str]) -> str:
    """Return which names are nearest to a pattern that none of them matches.

    Example:
        >>> nearest("resnt18*", ["resnet18.a1", "resnet18.a2", "vit"])
        'the nearest are resnet18.a1, resnet18.a2'
        >>> nearest("x*", [])
        'there are none'
    """
    names = sorted(possible)
    if not names:
        return "there are none"
    plain = re.sub(r"[*?\[\]]", "", pattern)
    # A pattern is mostly the beginning of a name.
    close = difflib.get_close_matches(plain, {n[: len(plain)] for n in names}, n=1, cutoff=0.5)
    near = [n for n in names if close and n.startswith(close[0])][:3] or names[:3]
    return f"{'the nearest are' if close else 'there are'} {', '.join(near)}"
