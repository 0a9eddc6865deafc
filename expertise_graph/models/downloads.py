"""Downloads of several models from the Hub, a few at a time, while those that are there are run."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import replace
from types import TracebackType
from typing import Self

from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from expertise_graph.core import ExpertiseError, Progress, TemporaryError, byte_size, setting, silent
from expertise_graph.models.base import OnHub, SourceOptions, sources
from expertise_graph.models.hub_client import cache_room, fetch_model

# One connection seldom fills a line, and the Hub slows accounts with many.
AT_A_TIME = 4
# Seconds between two looks at how far the others are.
_LOOK = 0.2

Wanted = tuple[str, SourceOptions]


class Downloads:
    """Several downloads in the background, in the order asked for; as a context manager it ends them.

    Which are refused, where not all may be downloaded, is decided in that order, whatever the network does.
    Those under way when the block is left end with the process; whole files stay in the cache.

    Args:
        wanted: references and their options; those of sources that are not on the Hub are passed over.
        most_bytes: of all of them together that may be downloaded; None for any.
        progress: called with how many are there.
    """

    def __init__(
        self, wanted: Sequence[Wanted], *, most_bytes: int | None = None, progress: Progress = silent
    ) -> None:
        self._wanted, self._left, self._progress = list(wanted), most_bytes, progress
        self._most, self._had_bars = most_bytes, False
        self._commits: list[Future[str | None]] = [Future() for _ in self._wanted]
        self._places = [_place(*one) for one in self._wanted]
        self._next, self._turn, self._reserved, self._ended = 0, 0, 0, False
        self._decided: set[int] = set()
        self._state = threading.Condition()
        self._total = sum(place is not None for place in self._places)

    def __enter__(self) -> Self:
        """Begin."""
        self.begin()
        return self

    def begin(self) -> None:
        """Begin, where the end of a block is not to be waited for."""
        if self._total > 1 and not are_progress_bars_disabled():
            self._had_bars = True
            disable_progress_bars()  # several at a time would write over each other
        for number in range(min(AT_A_TIME, self._total)):
            # Daemons: a download cannot be stopped, and Ctrl-C is not to wait for it.
            threading.Thread(target=self._work, name=f"download-{number}", daemon=True).start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Begin no other."""
        with self._state:
            self._ended = True
            self._state.notify_all()
        self._restore_bars()

    def _restore_bars(self) -> None:
        if self._had_bars:
            self._had_bars = False
            enable_progress_bars()

    def wait_for(self, index: int) -> SourceOptions:
        """Wait for a download, and return the options with its commit, so that nobody asks the Hub again.

        Raises:
            ExpertiseError: why there is none.
        """
        options = self._wanted[index][1]
        if self._places[index] is None:
            return options
        while True:
            try:
                commit = self._commits[index].result(timeout=_LOOK)
            except NotYet:
                self._tell()
                continue
            finally:
                self._tell()
            return options if commit is None else replace(options, revision=commit)

    def _tell(self) -> None:
        if self._total > 1:
            places = zip(self._commits, self._places, strict=True)
            done = sum(commit.done() for commit, place in places if place is not None)
            self._progress("downloading", done, self._total)

    def _work(self) -> None:
        while (index := self._take()) is not None:
            try:
                self._commits[index].set_result(self._download(index))
            except BaseException as error:  # it is raised where the download is waited for
                self._commits[index].set_exception(error)
            finally:
                self._pass_turn(index)
        if all(commit.done() for commit in self._commits):
            self._restore_bars()

    def _take(self) -> int | None:
        with self._state:
            index, self._next = self._next, self._next + 1
            return index if index < len(self._wanted) and not self._ended else None

    def _download(self, index: int) -> str | None:
        place = self._places[index]
        if place is None:
            return None
        reserved = 0

        def decide(size: int) -> None:
            nonlocal reserved
            self._decide(index, size)
            reserved = size

        try:
            return fetch_model(*place, before=decide)[0]
        finally:
            with self._state:
                self._reserved -= reserved

    def _decide(self, index: int, size: int) -> None:
        """Wait for those asked for before, and refuse what there is no room for any more."""
        with self._state:
            self._state.wait_for(lambda: self._turn >= index or self._ended)
            if self._ended:
                raise TemporaryError("the command was ended before its download began")
            if self._left is not None and size > self._left:
                of = byte_size(self._most or 0)
                raise TemporaryError(
                    f"its download takes {byte_size(size)}, and {byte_size(self._left)} of {of} are left: "
                    f"{setting('max_download')} allows more"
                )
            room = cache_room() - self._reserved
            if size > room:
                raise TemporaryError(
                    f"its download takes {byte_size(size)}, and {byte_size(max(0, room))} are free where "
                    "downloads are kept (HF_HOME)"
                )
            self._reserved += size
            self._left = None if self._left is None else self._left - size
        self._pass_turn(index)

    def _pass_turn(self, index: int) -> None:
        """Let the next one decide; one that failed before its turn is passed over when it comes."""
        with self._state:
            self._decided.add(index)
            while self._turn in self._decided:
                self._turn += 1
            self._state.notify_all()


def _place(reference: str, options: SourceOptions) -> tuple[str, str | None] | None:
    """Return repository and revision of a reference; None where it is not on the Hub."""
    scheme, _, locator = reference.partition(":")
    if not locator or scheme not in [*sources]:
        return None
    source = sources[scheme]
    try:
        return source.repository(locator, options) if isinstance(source, OnHub) else None
    except ExpertiseError:
        return None  # its own resolving says why
