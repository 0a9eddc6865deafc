"""Which process something on the disk belongs to, whether that is gone, and how fast this one gets on."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from functools import cache
from pathlib import Path

# Seconds of work from which on its pace says something.
_LEAST_WORK = 0.3


class Stopwatch:
    """Seconds that passed, and seconds that this process worked, since it was made."""

    def __init__(self) -> None:
        self._passed, self._worked = time.perf_counter(), time.process_time()

    @property
    def slowdown(self) -> float | None:
        """How many times as long work takes as on an idle machine; None where too little tells."""
        worked = time.process_time() - self._worked
        if worked <= _LEAST_WORK:
            return None
        return max(1.0, (time.perf_counter() - self._passed) / worked)


def process_name() -> str:
    """Return what this process is called on the disk: the machine, and its number there.

    Example:
        >>> import re
        >>> bool(re.fullmatch("[0-9a-f]{8}-[0-9]+", process_name()))
        True
    """
    return f"{_machine()}-{os.getpid()}"


def process_started() -> float:
    """Return when this process was started, by `time.perf_counter`; where that is not told, now."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        age = 0.0
    return time.perf_counter() - age


def is_gone(name: str) -> bool | None:
    """Tell whether the process of a name has ended; None where that cannot be known: on another machine."""
    machine, _, number = name.partition("-")
    if machine != _machine() or not number.isdigit():
        return None
    return not _is_running(int(number))


@cache
def _machine() -> str:
    """Return what process numbers are unique in: the host and, on Linux, its namespace of processes."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{platform.node()}\n{namespace}".encode()).hexdigest()[:8]


def _is_running(process: int) -> bool:
    if os.name == "nt":  # no harmless signal there: taken for running
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True
