"""Looking after the process that experts from outside are run in: its start, memory, time and end."""

from __future__ import annotations

import contextlib
import io
import math
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Self

from expertise_graph.core import FailedError, SourceError, TemporaryError, byte_size, duration, setting
from expertise_graph.features.worker import receive

# Of the memory that is free when the process starts: the rest is for this one, and for what others start.
_SHARE = 0.8
# Less would not hold torch, transformers, and a small network with its batch.
_LEAST_MEMORY = 1_000_000_000

# Importing torch takes seconds, and minutes from a network file system.
_STARTING_SECONDS = 600.0

_PROC = Path("/proc")

# Memory is looked at this often: a processor fills some 2 GB a second, so a limit is exceeded by .1 GB.
_EVERY = 0.05 if _PROC.exists() else 0.5  # without /proc another program is asked
# A process that was stopped, or a machine that slept, did not compute for longer than this between two looks.
_LONGEST_STEP = 1.0

# Lines of /proc/PID/status: memory that the machine cannot take back. That of files it reads again.
_NOT_FROM_FILES = ("RssAnon", "RssShmem", "VmSwap")

# Control groups by the name of their hierarchy, of the second and the first version: the files of their limit
# and use, and what of that are files that would make room.
_GROUPS = {
    "": ("memory.max", "memory.current", ("active_file", "inactive_file")),
    "memory": (
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        ("total_active_file", "total_inactive_file"),
    ),
}

# Answers other than features: descriptions hold configurations, which are bounded by 8 MiB each.
_MOST_HEADER = 32 << 20


class Worker:
    """The other process, and the two pipes to it.

    Args:
        memory: bytes that it may take; by default a share of what is free now.
    """

    def __init__(self, memory: float | None = None) -> None:
        asks, self_asks = os.pipe()
        self_answers, answers = os.pipe()
        folders = (os.path.abspath(folder) for folder in sys.path)
        # Results of the command alone go to its stdout. Without a stderr, another file may have its number.
        printed = subprocess.DEVNULL if sys.__stderr__ is None else 2
        try:
            self.process = subprocess.Popen(
                # Without -P, a file in the current folder would be taken for a module that torch imports.
                [sys.executable, "-P", "-m", "expertise_graph.features.worker", str(asks), str(answers)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
                pass_fds=(asks, answers),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                start_new_session=True,  # Ctrl-C is for this process, which ends the other one
            )
        finally:
            os.close(asks)
            os.close(answers)
        self.memory = memory or max(_LEAST_MEMORY, _SHARE * free_memory())
        self.started = False
        self.inbox: IO[bytes] = os.fdopen(self_asks, "wb")
        self.outbox: io.BufferedReader = os.fdopen(self_answers, "rb")
        self.end = weakref.finalize(self, _end, self.process, self.inbox, self.outbox)


def _end(process: subprocess.Popen[bytes], *pipes: IO[bytes]) -> None:
    _kill(process)
    process.wait()
    for pipe in pipes:
        with contextlib.suppress(OSError):
            pipe.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and those that it started."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


class Watch(threading.Thread):
    """Looks after the process while it works, and ends it at a limit.

    Attributes:
        broken: what was beyond its limit, for the message.
    """

    def __init__(self, worker: Worker, seconds: float | None) -> None:
        super().__init__(daemon=True)
        self.worker, self.seconds = worker, seconds
        self.left, self.broken, self._over = math.inf, "", threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """Look at time and memory until it is over."""
        before = time.monotonic()
        while not self._over.wait(_EVERY):
            now = time.monotonic()
            self.left -= min(now - before, _LONGEST_STEP)
            before = now
            if self.left < 0:
                self.broken = "time"
            elif _taken_by(self.worker.process.pid) > self.worker.memory:
                self.broken = "memory"
            elif self.worker.process.poll() is None:
                continue
            # Of a process that ended by itself, others that it started may still hold the pipe.
            _kill(self.worker.process)
            return

    def alive(self, seconds: float | None) -> None:
        """Count the time from now on again."""
        self.left = math.inf if seconds is None else seconds

    def wait_for_start(self) -> None:
        """Wait until the process has imported what it needs."""
        if not self.worker.started:
            self.alive(_STARTING_SECONDS)
            receive(self.worker.outbox, _MOST_HEADER)
            self.worker.started = True
        self.alive(self.seconds)

    def last_answer(self, progress: Callable[[int], None], most: int) -> dict[str, Any]:
        """Return the answer that follows those on progress, each of which is a sign of life."""
        done = 0
        while True:
            answer = receive(self.worker.outbox, _MOST_HEADER)
            if "done" not in answer:
                return answer
            if not done < answer["done"] <= most:
                raise ValueError(f"{answer['done']} of {most} items done")
            done = answer["done"]
            self.alive(self.seconds)
            progress(done)

    def reason(self, name: str) -> SourceError:
        """Return why the process is no more."""
        if self.broken == "memory":
            most = byte_size(self.worker.memory)
            other = f"{setting('memory_limit')} sets another limit"
            return TemporaryError(f"{name} failed: needed more than {most} of memory; {other}")
        code = _code(self.worker.process)
        if not self.worker.started:
            return TemporaryError(
                f"the process that experts from outside are run in did not start (it ended with {code}): "
                f"{setting('isolate', False)} runs them without one"
            )
        if self.broken == "time" and self.seconds is not None:
            other = f"{setting('time_limit')} sets another limit"
            return FailedError(f"{name} failed: took longer than {duration(self.seconds)}; {other}")
        if code == _signal(signal.SIGKILL):
            return TemporaryError(f"{name} failed: its process was killed, as systems short of memory do")
        return FailedError(f"{name} failed: its process ended with {code}")


def _code(process: subprocess.Popen[bytes]) -> str:
    """Return what a process ended with; one that only left its pipe has a moment for that."""
    try:
        code = process.wait(timeout=_LONGEST_STEP)
    except subprocess.TimeoutExpired:
        return "no answer"
    return f"code {code}" if code >= 0 else _signal(-code)


def _signal(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def _taken_by(process: int) -> int:
    """Return the bytes that a process holds and that could not be read again from a file.

    The address space says little: torch and CUDA reserve many times what they use. Where a kernel does not
    tell the parts, all that is in main memory is taken.
    """
    if not _PROC.exists():
        return _resident(process)
    taken = 0
    with contextlib.suppress(OSError):  # it ended meanwhile
        for line in (_PROC / f"{process}/status").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            taken += 1024 * int(value.split()[0]) if name in _NOT_FROM_FILES else 0
    return taken


def _resident(process: int) -> int:
    """Return the bytes of a process in main memory, on systems without /proc; 0 where it ended."""
    try:
        asked = ["ps", "-o", "rss=", "-p", str(process)]
        return 1024 * int(subprocess.run(asked, capture_output=True, text=True, check=False).stdout)
    except (OSError, ValueError):
        return 0


def free_memory() -> int:
    """Return the bytes of main memory that are free or can be made so; half of all where that is not told."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(line.split() for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return min([1024 * int(available[1]), *_free_in_groups()])


def _free_in_groups() -> Iterator[int]:
    """Yield what is left to each control group of this process, as containers and clusters make them."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, kind, path = line.split(":", 2)
        if kind not in _GROUPS:
            continue
        top, (most, used, stat) = Path("/sys/fs/cgroup", kind), _GROUPS[kind]
        here = top / path.lstrip("/")
        for folder in (here, *(parent for parent in here.parents if parent.is_relative_to(top))):
            with contextlib.suppress(OSError, ValueError):  # "max" is no limit
                numbers = dict(row.split() for row in (folder / "memory.stat").read_text().splitlines())
                files = sum(int(numbers.get(name, 0)) for name in stat)
                yield int((folder / most).read_text()) - int((folder / used).read_text()) + files
