"""How results reach the user: tables for people, JSON, CSV and bare ids for programs."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from expertise_graph.core import Command

F = TypeVar("F", bound=Callable[..., Any])

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def listing_options(command: F) -> F:
    """Add --json, --csv and -q to a command, as its argument `style`."""
    for flags, value, text in (
        (("-q", "--quiet"), "quiet", "Print one id a line."),
        (("--csv",), "csv", "Print CSV; cells that a spreadsheet would run are quoted."),
        (("--json",), "json", "Print JSON."),
    ):
        command = click.option(*flags, "style", flag_value=value, help=text)(command)
    return command


def emit(
    rows: Sequence[Mapping[str, Any]], style: str | None, *, columns: Sequence[str], title: str = ""
) -> None:
    """Print rows as a table of `columns`, or everything as JSON or CSV, or their ids."""
    if style == "json":
        emit_json(list(rows))
    elif style == "csv":
        click.echo(to_csv(rows), nl=False)
    elif style == "quiet":
        for row in rows:
            click.echo(clean(str(row["id"])))
    else:
        table(rows, columns, title)


def command_line(command: Command) -> str:
    """Return a command as it is typed in a shell.

    Example:
        >>> from expertise_graph.core import Command
        >>> command_line(Command("warm_start", ("my pets",), {"strategy": "lp-ft", "trust_code": True}))
        "expertise-graph warm-start 'my pets' --strategy lp-ft --trust-code"
    """
    words = ["expertise-graph", command.verb.replace("_", "-"), *command.arguments]
    for name, value in command.settings.items():
        if value is not None and value is not False:
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)


def emit_json(content: Any) -> None:
    """Print strict JSON."""
    click.echo(json.dumps(content, allow_nan=False, indent=2, ensure_ascii=True))


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return CSV with a header; text that a spreadsheet would take for a formula is quoted."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _csv_cell(value) for name, value in row.items()})
    return out.getvalue()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, list | tuple):
        value = ";".join(str(v) for v in value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + clean(value)
    return clean(value) if isinstance(value, str) else value


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str = "") -> None:
    """Print a table of the named columns for people."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        right = bool(rows) and isinstance(rows[0].get(name), int | float)
        drawn.add_column(name.replace("_", " "), justify="right" if right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(clean(_cell(name, row.get(name)))) for name in columns))
    console = Console()
    if not console.is_terminal:
        console.width = int(os.environ.get("COLUMNS") or 160)
    console.print(drawn)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in ("params", "bytes"):
        return human(value)
    if isinstance(value, float):
        return f"{value:.3f}"
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def human(number: float) -> str:
    """Return a number with a decimal prefix.

    Example:
        >>> human(497_120)
        '497.1k'
    """
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{suffix}"
    return str(int(number))


def clean(text: str) -> str:
    """Return `text` without characters that control a terminal or the direction of writing."""
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text)
