"""Running experts from outside in a process of their own, with limits of memory and time.

It keeps the work going where an expert needs more memory than there is, never ends, or crashes. It is no
sandbox: the process has the rights of the user.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expertise_graph import core, features, models
from expertise_graph.core import (
    Expert,
    ExpertiseError,
    FailedError,
    Progress,
    SourceError,
    silent,
)
from expertise_graph.data import Item
from expertise_graph.features.executors import LIBRARY_SECONDS, Computed
from expertise_graph.features.watch import Watch, Worker
from expertise_graph.features.worker import in_bytes, send
from expertise_graph.models import SourceOptions

# Between two signs of life (loaded and one batch done; another batch done). A model of 440 MB takes a second
# to be read and less for a batch of texts; allowed for are disks and processors a hundred times as slow.
_SECONDS = 120.0
_SECONDS_PER_BYTE = 2e-7
_BYTES_PER_PARAMETER = 4

# Of what an expert raised, as much is told.
_MOST_TEXT = 2000


class Isolation:
    """An executor whose experts run in another process, started when it is first needed and after it ended.

    Args:
        memory: bytes that it may take; by default 0.8 of what is free.
        seconds: between two signs of life; by default 120, and 0.2 for each megabyte of weights.
    """

    def __init__(self, *, memory: float | None = None, seconds: float | None = None) -> None:
        self._memory, self._seconds = memory, seconds
        self._worker: Worker | None = None

    def resolve(self, reference: str, options: SourceOptions) -> list[Expert]:
        """Return the experts that a reference names, as `models.resolve_all`; downloads have no limit."""
        self._start()
        size = models.fetch(reference, options)
        asked = {"work": "resolve", "options": dataclasses.asdict(options)}
        with self._answer(reference, asked, size) as answer:
            return [Expert.from_dict(values) for values in answer["experts"]]

    def features(
        self, expert: Expert, items: Sequence[Item], *, trust_code: bool, new: bool, progress: Progress
    ) -> Computed:
        """Return features of undecoded items; a `new` expert is tried on unlike inputs before."""
        self._start()
        _fetch(expert)
        asked = {
            "work": "features",
            "expert": dataclasses.asdict(expert),
            "trust_code": trust_code,
            "new": new,
        }
        given = np.empty((len(items), expert.dim), dtype="<f4")
        with self._answer(expert.name, asked, _size(expert), items, progress) as answer:
            if tuple(answer["shape"]) != given.shape:
                raise ValueError(f"features of shape {answer['shape']}")
            self._read(given)
            return Computed(features=given, seconds=float(answer["seconds"]), note=str(answer["note"]))

    def latency(self, expert: Expert, item: Item, *, trust_code: bool, repeats: int) -> float:
        """Return the median milliseconds that an item takes."""
        asked = {"expert": dataclasses.asdict(expert), "trust_code": trust_code, "repeats": repeats}
        with self._answer(expert.name, {"work": "latency", **asked}, _size(expert), [item]) as answer:
            return float(answer["milliseconds"])

    def starting_seconds(self) -> float:
        """Return the seconds of work that come before the first expert, the process included."""
        there = self._worker is not None and self._worker.started
        return 0.0 if there else sum(LIBRARY_SECONDS.values())

    def close(self) -> None:
        """End the process; it is started again when an expert is to be run."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    def _read(self, array: NDArray[np.float32]) -> None:
        """Fill an array with the bytes that follow an answer."""
        if array.size and self._start().outbox.readinto(array.data.cast("B")) < array.nbytes:
            raise EOFError

    def _start(self) -> Worker:
        if self._worker is None or self._worker.process.poll() is not None:
            self.close()
            self._worker = Worker(self._memory)
        return self._worker

    @contextmanager
    def _answer(
        self,
        name: str,
        asked: Mapping[str, Any],
        size: int | None,
        items: Sequence[Item] = (),
        progress: Progress = silent,
    ) -> Iterator[dict[str, Any]]:
        """Give the answer to what is asked, to be understood in the block; whatever is wrong with it is told.

        Args:
            name: of the expert.
            asked: what is to be done.
            size: bytes of its weights; None for no limit of time.
            items: what it is to be done with.
            progress: called after every batch.
        """
        worker = self._start()
        seconds = None if size is None else self._seconds or _SECONDS + _SECONDS_PER_BYTE * size
        kinds, parts = [], []
        for kind, data in in_bytes(items):
            kinds.append((kind, len(data)))
            parts.append(data)
        header = {**asked, "name": name, "seconds": seconds, "items": kinds, **_surroundings()}
        watch = Watch(worker, seconds)
        try:
            with watch:
                watch.wait_for_start()
                send(worker.inbox, header, parts)
                answer = watch.last_answer(lambda done: progress(name, done, len(items)), len(items))
                if "error" not in answer:
                    yield answer
                    return
        except (EOFError, BrokenPipeError):
            reason = watch.reason(name)
            self.close()
            raise reason from None
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            self.close()
            raise FailedError(f"{name} failed: its process did not answer as it should ({error})") from error
        except BaseException:
            self.close()  # of whatever it is doing, nobody wants the result any more
            raise
        raise _raised(answer)


def _raised(answer: Mapping[str, Any]) -> Exception:
    """Return the error that was raised in the other process."""
    kind, text = str(answer["error"]), str(answer.get("message", ""))[:_MOST_TEXT]
    if kind == OSError.__name__:
        number, file = answer.get("errno"), answer.get("file")
        return OSError(
            number if isinstance(number, int) else errno.EIO, text, None if file is None else str(file)
        )
    known = getattr(core, kind, None)
    if isinstance(known, type) and issubclass(known, ExpertiseError):
        return known(text)
    return SourceError(text)


def _surroundings() -> dict[str, Any]:
    """Return what else of this process matters to the work."""
    found: dict[str, Any] = {"setup": features.setup()}
    with contextlib.suppress(FileNotFoundError):  # it was removed
        found["folder"] = os.getcwd()
    return found


def _size(expert: Expert) -> int:
    """Return the bytes of the weights; of an adapter, with those of the model that it changes."""
    return max(expert.bytes, _BYTES_PER_PARAMETER * expert.params)


def _fetch(expert: Expert) -> None:
    """Download an expert that is not on this machine any more; why that cannot be, its loading tells."""
    if expert.revision is not None:
        with contextlib.suppress(ExpertiseError):
            models.fetch(f"{expert.source}:{expert.locator}", SourceOptions(revision=expert.revision))
