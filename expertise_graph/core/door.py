"""The door of a room: its public names, each imported when it is first used.

A room lists what it offers as ordinary imports under ``if TYPE_CHECKING:`` in its ``__init__.py``, where
type checkers and readers find them. `door` reads that list, so that entering a room costs nothing until
a name is taken from it. A module is offered as a whole by importing it from the room itself.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from typing import Any


def offered(source: str) -> dict[str, str]:
    """Return the module of every name that a door's source imports under ``if TYPE_CHECKING:``."""
    guarded = [
        node
        for block in ast.parse(source).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
    ]
    return {
        alias.asname or alias.name: str(node.module)
        for node in guarded
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def door(room: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of the package called `room`."""
    names = offered(sys.modules[room].__spec__.loader.get_source(room))  # type: ignore[union-attr]

    def load(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        whole = names[name] == room
        value = (
            importlib.import_module(f"{room}.{name}")
            if whole
            else getattr(importlib.import_module(names[name]), name)
        )
        setattr(sys.modules[room], name, value)
        return value

    return load, lambda: sorted(names), sorted(names)
