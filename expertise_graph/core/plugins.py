"""One small registry for everything that can be extended: sources, modalities, estimators.

A third-party package adds to a registry through the entry-point group ``expertise_graph.<kind>``;
entry points are looked at only when a name is not built in.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from expertise_graph.core.errors import InvalidInputError, NotFoundError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to objects of one kind, filled by decorator, by call or by entry point.

    Example:
        >>> colours = Registry[int]("colour")
        >>> colours.register("red", 1)
        1
        >>> colours["red"]
        1
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._paths: dict[str, str] = {}

    def register(self, name: str, entry: T) -> T:
        """Add `entry` under `name`; a second entry of the same name is refused."""
        self._check_free(name)
        self._entries[name] = entry
        return entry

    def point(self, name: str, path: str) -> None:
        """Add what ``module:attribute`` names, imported when it is first looked up."""
        self._check_free(name)
        self._paths[name] = path

    def decorator(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers what it decorates under `name`."""
        return lambda entry: self.register(name, entry)

    def __getitem__(self, name: str) -> T:
        """Return the entry called `name`.

        Raises:
            NotFoundError: naming the entries there are, and the nearest one.
        """
        if name not in self._entries:
            self._entries[name] = self._load(name)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        """Tell whether `name` can be looked up."""
        return name in set(self)

    def __iter__(self) -> Iterator[str]:
        """Iterate over all names, built in and from entry points, sorted."""
        return iter(sorted({*self._entries, *self._paths, *(e.name for e in self._entry_points)}))

    def is_lasting(self, name: str) -> bool:
        """Tell whether another process knows `name` too: it was not added by a call in this one."""
        return name in self._paths or any(entry.name == name for entry in self._entry_points)

    @cached_property
    def _entry_points(self) -> tuple[EntryPoint, ...]:
        return tuple(entry_points(group=f"expertise_graph.{self.kind}"))

    def _check_free(self, name: str) -> None:
        if name in self._entries or name in self._paths:
            raise InvalidInputError(f"{self.kind} {name!r} is registered already")

    def _load(self, name: str) -> T:
        if name in self._paths:
            module, _, attribute = self._paths[name].partition(":")
            built_in: T = getattr(importlib.import_module(module), attribute)
            return built_in
        for entry in self._entry_points:
            if entry.name == name:
                added: T = entry.load()
                return added
        names = list(self)
        raise NotFoundError(
            f"no {self.kind} called {name!r}; there are: {', '.join(names)}.{did_you_mean(name, names)}"
        )
