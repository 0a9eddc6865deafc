"""How results reach the user: tables and progress bars for people, JSON, CSV and bare ids for programs."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from expertise_graph import views
from expertise_graph.core import byte_size, compact_number, count, duration, printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from expertise_graph import LabelledData, RawData, Withdrawn
    from expertise_graph.views import Form

F = TypeVar("F", bound=Callable[..., Any])

# Characters that make a spreadsheet take a cell for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

# Nodes that a removal names.
_NAMED = 5

_UNITS: dict[str, Callable[[float], str]] = {
    "params": compact_number,
    "bytes": byte_size,
    "memory": byte_size,
    "time": duration,
}


def listing_options(command: F) -> F:
    """Add --json, --csv and -q to a command, as its argument `style`."""
    for flags, value, text in (
        (("-q", "--quiet"), "quiet", "Print one id per line."),
        (("--csv",), "csv", "Print CSV; cells that a spreadsheet would run as a formula are escaped."),
        (("--json",), "json", "Print JSON."),
    ):
        command = click.option(*flags, "style", flag_value=value, help=text)(command)
    return command


def removal_options(command: F) -> F:
    """Add --dry-run and --json to a command that takes something back."""
    command = click.option("--json", "as_json", is_flag=True, help="Print what was removed as JSON.")(command)
    return click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")(
        command
    )


def show_withdrawn(found: Withdrawn, as_json: bool) -> None:
    """Print what was taken back."""
    if as_json:
        emit_json(views.withdrawn_json(found))
        return
    parts = [
        count(len(found.runs), "run"),
        count(len(found.results), "result"),
        *(f"expert {expert.short}" for expert in found.experts[:_NAMED]),
        *(f"task {task}" for task in found.tasks[:_NAMED]),
    ]
    more = sum(max(0, len(nodes) - _NAMED) for nodes in (found.experts, found.tasks))
    parts = [part for part in parts if not part.startswith("0 ")] + ([f"{more:,} more"] if more else [])
    done = "would be removed" if found.dry_run else "removed"
    click.echo(printable(f"{done}: {', '.join(parts)}" if parts else "it was removed before"))


def emit(
    rows: Sequence[Mapping[str, Any]], style: str | None, *, columns: Sequence[str], title: str = ""
) -> None:
    """Print rows as a table of `columns`, or everything as JSON or CSV, or their ids."""
    if style == "json":
        emit_json(list(rows))
    elif style == "csv":
        click.echo(to_csv(rows), nl=False)
    elif style == "quiet":
        emit_ids(row["id"] for row in rows)
    else:
        table(rows, columns, title)


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
        return "'" + printable(value)
    return printable(value) if isinstance(value, str) else value


def emit_ids(ids: Iterable[Any]) -> None:
    """Print one id per line."""
    click.echo("".join(f"{printable(str(one))}\n" for one in ids), nl=False)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str = "") -> None:
    """Print a table of the named columns for people."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for name in columns:
        right = bool(rows) and isinstance(rows[0].get(name), int | float)
        drawn.add_column(name.replace("_", " "), justify="right" if right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(printable(shown(name, row.get(name)))) for name in columns))
    console = Console()
    if not console.is_terminal:
        console.width = int(os.environ.get("COLUMNS") or 160)
    console.print(drawn)


def shown(name: str, value: Any) -> str:
    """Return a value as a table shows it; numbers with the unit of what they are called."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in _UNITS:
        return _UNITS[name](value)
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, dict):
        value = [f"{key}: {one}" for key, one in value.items()]
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def report_data(data: LabelledData | RawData, form: Form, verbose: bool) -> None:
    """Print on stderr what was understood of a dataset, and if that was asked for what was skipped."""
    line, *notes = views.data_lines(data, form)
    for text in (line + (" (-v lists them)" if data.skipped and not verbose else ""), *notes):
        click.echo(printable(text), err=True)
    for what, why in data.skipped if verbose else ():
        click.echo(printable(f"  {what}: {why}"), err=True)


class Bars:
    """Progress bars on stderr, one for each label; none when stderr is not a terminal."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        """Start drawing, if there is a terminal to draw on."""
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            text = TextColumn("{task.description}", markup=False)
            columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        if self._progress:
            self._progress.stop()

    def update(self, label: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of the work called `label` are done."""
        if self._progress is None:
            return
        if label not in self._bars:
            self._bars[label] = self._progress.add_task(printable(label), total=total)
        self._progress.update(self._bars[label], completed=done, total=total)
