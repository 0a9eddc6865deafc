"""Options that several commands share, and the units that they take."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import click

from expertise_graph.data import BUILT_IN

F = TypeVar("F", bound=Callable[..., Any])

_ANY = "item"
_ITEM_COLUMNS = (*BUILT_IN, _ANY)


class Count(click.ParamType[int]):
    """A whole number, with k, M or G if wanted: 500k, 25M."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]?)", str(value))
        if not found:
            self.fail(f"{value!r} is not a number like 500k, 25M or 1000", param, ctx)
        return int(float(found[1]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[found[2]])


SEED = click.IntRange(0, 2**32 - 1)


class Seconds(click.ParamType[float]):
    """A duration: 90, 90s, 10m, 2h."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(value))
        if not found:
            self.fail(f"{value!r} is not a duration like 90s, 10m or 2h", param, ctx)
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


class Spend(NamedTuple):
    """What may be spent on a query: a number of experts, or a time in seconds."""

    experts: int | None
    seconds: float | None


class Budget(click.ParamType[Spend]):
    """A number of experts, or with a unit a time: 8, 60s, 5m, 1h."""

    name = "experts|time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Spend:
        """Return what may be spent."""
        if isinstance(value, Spend):
            return value
        if re.fullmatch(r"[0-9]{1,9}", str(value)):
            return Spend(int(value), None)
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?[smh]", str(value)):
            self.fail(
                f"{value!r} is neither a number of experts like 8 nor a time like 60s, 5m or 1h", param, ctx
            )
        return Spend(None, Seconds().convert(value, param, ctx))


class Positive(click.ParamType[float]):
    """A number above zero: 4, 2.5."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            self.fail(f"{value!r} is not a number above zero like 2.5", param, ctx)
        return number


def column_options(command: F) -> F:
    """Add the options that say which columns of a table hold what, and what the labels are."""
    command = click.option(
        "--separator", metavar="TEXT", help="What stands between several labels in one cell: ; by default."
    )(command)
    command = click.option(
        "--target",
        type=click.Choice(["class", "labels", "value"]),
        help="What the labels are: one class an item, several labels, or a measured value.",
    )(command)
    for name in ("split", "label"):
        command = click.option(
            f"--{name}-column", metavar="NAME", help=f"Column of a table with the {name}s."
        )(command)
    return item_column_options(command)


def item_column_options(command: F) -> F:
    """Add options that say which column of a table holds the inputs, and their modality with it."""
    for name in reversed(_ITEM_COLUMNS):
        what = "inputs, whatever they are" if name == _ANY else f"{name}s"
        option = click.option(f"--{name}-column", metavar="NAME", help=f"Column of a table with the {what}.")
        command = option(command)
    return command


def item_column(given: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return the modality, if it is said, and the name of the column of the inputs.

    Raises:
        UsageError: when two columns are named.
    """
    named = {name: given[f"{name}_column"] for name in _ITEM_COLUMNS if given[f"{name}_column"]}
    if len(named) > 1:
        flags = " or ".join(f"--{name}-column" for name in named)
        raise click.UsageError(f"name one column to learn from: {flags}, not both")
    modality, column = next(iter(named.items()), (_ANY, None))
    return None if modality == _ANY else modality, column


# As in retrieval.constraints, which --help does not load.
KINDS = ("original", "fine-tune", "adapter", "merge", "quantised")

_CONSTRAINTS = (
    click.option("--max-params", type=Count(), help="Only experts with at most so many parameters: 25M."),
    click.option(
        "--max-mb", type=Positive(), help="Only experts whose weights take at most so many megabytes."
    ),
    click.option(
        "--max-latency",
        type=Positive(),
        metavar="MS",
        help="Only experts that take at most so many milliseconds for one input here; measured once each.",
    ),
    click.option("--min-dim", type=click.IntRange(1), help="Only experts with features at least so wide."),
    click.option("--max-dim", type=click.IntRange(1), help="Only experts with features at most so wide."),
    click.option(
        "--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only this kind; may be repeated."
    ),
    click.option(
        "--license", "licenses", multiple=True, metavar="SPDX", help="Only these licences; may be repeated."
    ),
    click.option(
        "--exclude-license",
        "excluded",
        multiple=True,
        metavar="SPDX",
        help="Not these licences; unknown is one.",
    ),
    click.option("--tag", "tags", multiple=True, help="Only experts with this tag; may be repeated."),
)


def constraint_options(command: F) -> F:
    """Add the options that say what an expert must be like to be an answer."""
    for option in reversed(_CONSTRAINTS):
        command = option(command)
    return command


trust_option = click.option(
    "--trust-code",
    is_flag=True,
    help="Run code that comes with an expert (factory: experts), for this command.",
)
