"""Options that several commands share, and the units that they take."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Count(click.ParamType[int]):
    """A whole number, with k, M or G if wanted: 500k, 25M."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]?)", str(value))
        if not found:
            self.fail(f"{value!r} is not a number like 500k, 25M or 1000", param, ctx)
        return int(float(found[1]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[found[2]])


class Seconds(click.ParamType[float]):
    """A duration: 90, 90s, 10m, 2h."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(value))
        if not found:
            self.fail(f"{value!r} is not a duration like 90s, 10m or 2h", param, ctx)
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def column_options(command: F) -> F:
    """Add the options that say which columns of a table hold what."""
    for name in ("split", "label", "image", "text"):
        command = click.option(
            f"--{name}-column", metavar="NAME", help=f"Column of a table with the {name}s."
        )(command)
    return command


trust_option = click.option(
    "--trust-code",
    is_flag=True,
    help="Run code that comes with an expert (factory: experts), for this command.",
)
