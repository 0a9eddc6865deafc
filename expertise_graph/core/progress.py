"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called as ``progress(label, done, total)``: what is being done, and how many of its items are done."""


def silent(label: str, done: int, total: int) -> None:
    """Show nothing."""
