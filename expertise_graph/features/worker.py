"""The process that experts from outside are run in, and the messages it takes; `isolation` starts it.

A message is the length of a header, the header in JSON, and bytes whose lengths the header tells: items on
the way there, features on the way back. Nothing that could hold code is read on either side.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import struct
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from expertise_graph import features, models
from expertise_graph.core import Expert, ExpertiseError, FailedError, Progress, expert_errors, reason_of
from expertise_graph.data import Item
from expertise_graph.features.executors import Here

try:
    import resource
except ImportError:  # Windows, where experts are not isolated
    resource = None  # type: ignore[assignment]

_LENGTH = struct.Struct(">Q")

# A worker ends by itself this long after it should have been ended: its parent may have been killed while a
# network kept the worker from noticing.
_GRACE_SECONDS = 30.0

Answer = tuple[Mapping[str, Any], Iterable[memoryview]]


def send(stream: IO[bytes], header: Mapping[str, Any], parts: Iterable[bytes | memoryview] = ()) -> None:
    """Write a message."""
    data = json.dumps(header).encode()
    stream.write(_LENGTH.pack(len(data)) + data)
    for part in parts:
        stream.write(part)
    stream.flush()


def receive(stream: IO[bytes], most: int = sys.maxsize) -> dict[str, Any]:
    """Read the header of a message; what follows it is to be read by what it tells.

    Raises:
        EOFError: when the other side is gone.
        ValueError, RecursionError: for more than `most` bytes, or anything but an object in JSON.
    """
    (size,) = _LENGTH.unpack(exactly(stream, _LENGTH.size))
    if size > most:
        raise ValueError(f"a header of {size} bytes")
    header = json.loads(exactly(stream, size))
    if not isinstance(header, dict):
        raise ValueError(f"a header that is a {type(header).__name__}")
    return header


def exactly(stream: IO[bytes], size: int) -> bytes:
    """Read so many bytes.

    Raises:
        EOFError: when the other side is gone before.
    """
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def in_bytes(items: Sequence[Item]) -> Iterator[tuple[str, bytes]]:
    """Yield each item as its kind (string, bytes, path) and its bytes."""
    for item in items:
        if isinstance(item, str):
            yield "s", item.encode("utf-8", "surrogatepass")
        else:
            yield ("b", item) if isinstance(item, bytes) else ("p", os.fsencode(item))


def _item(kind: str, data: bytes) -> Item:
    if kind == "s":
        return data.decode("utf-8", "surrogatepass")
    return data if kind == "b" else Path(os.fsdecode(data))


def _resolve(asked: Mapping[str, Any], items: Sequence[Item], alive: Progress) -> Answer:
    given = _with_tuples(asked["options"])
    declared = given["input"] and models.InputSpec(**_with_tuples(given["input"]))
    found = Here().resolve(asked["name"], models.SourceOptions(**{**given, "input": declared}))
    return {"experts": [dataclasses.asdict(expert) for expert in found]}, ()


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a dataclass, whose tuples JSON made lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _features(asked: Mapping[str, Any], items: Sequence[Item], alive: Progress) -> Answer:
    expert = Expert.from_dict(asked["expert"])
    done = Here().features(expert, items, trust_code=asked["trust_code"], new=asked["new"], progress=alive)
    answer = {"shape": done.features.shape, "seconds": done.seconds, "note": done.note}
    return answer, [done.features.astype("<f4", copy=False).data.cast("B")]


def _latency(asked: Mapping[str, Any], items: Sequence[Item], alive: Progress) -> Answer:
    expert, (item,) = Expert.from_dict(asked["expert"]), items
    trust_code, repeats = asked["trust_code"], asked["repeats"]
    return {"milliseconds": Here().latency(expert, item, trust_code=trust_code, repeats=repeats)}, ()


_WORK = {"resolve": _resolve, "features": _features, "latency": _latency}


def _answer(asked: Mapping[str, Any], items: Sequence[Item], outbox: IO[bytes]) -> Answer:
    """Do what is asked; what goes wrong is an answer, too, whatever it is."""

    def alive(label: str, done: int, total: int) -> None:
        _end_after(asked["seconds"])
        send(outbox, {"done": done})

    _end_after(asked["seconds"])
    try:
        # Code of the user is imported from the current folder, and paths may be relative to it.
        if "folder" in asked:
            os.chdir(asked["folder"])
        features.configure(asked["setup"])
        with expert_errors(asked["name"]):
            return _WORK[asked["work"]](asked, items, alive)
    except ExpertiseError as error:
        return {"error": type(error).__name__, "message": str(error)}, ()
    except OSError as error:
        told = {"errno": error.errno, "message": error.strerror or str(error), "file": error.filename}
        return {"error": "OSError", **{k: v if isinstance(v, int) else str(v) for k, v in told.items()}}, ()
    except BaseException as error:  # SystemExit and KeyboardInterrupt, raised by the expert
        return {
            "error": FailedError.__name__,
            "message": f"{asked['name']} failed: {reason_of(error)}",
        }, ()
    finally:
        _end_after(None)


def _end_after(seconds: float | None) -> None:
    """Have the system end this process after so many seconds, even while no Python code can run."""
    signal.setitimer(signal.ITIMER_REAL, 0 if seconds is None else seconds + _GRACE_SECONDS)


def _end_with(inbox: IO[bytes]) -> None:
    """End this process as soon as the one that writes to `inbox` is gone."""
    gone = select.poll()
    gone.register(inbox, 0)
    gone.poll()
    os._exit(1)


def work(inbox: IO[bytes], outbox: IO[bytes]) -> None:
    """Answer one message after another until nobody asks any more."""
    threading.Thread(target=_end_with, args=[inbox], daemon=True).start()
    # A crash is told in one line; the memory of the process is not to be left on the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # not Linux
        # Where the machine runs out of memory, this process is ended rather than any other one.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    features.configure({})
    send(outbox, {"ready": True})
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            asked = receive(inbox)
            items = [_item(kind, exactly(inbox, size)) for kind, size in asked["items"]]
            header, parts = _answer(asked, items, outbox)
            send(outbox, header, parts)


if __name__ == "__main__":
    streams = [int(number) for number in sys.argv[1:]]
    for handle in streams:
        os.set_inheritable(handle, False)
    with os.fdopen(streams[0], "rb") as first, os.fdopen(streams[1], "wb") as second:
        work(first, second)
