"""Commands about data: data show."""

from __future__ import annotations

from typing import Any

import click

from expertise_graph import views
from expertise_graph.cli.app import FORM, CommandContext, app, pass_context
from expertise_graph.cli.output import emit, emit_json, report_data, shown
from expertise_graph.cli.parameters import column_options, columns_from
from expertise_graph.core import printable

_FIELDS = (
    *("name", "locator", "modality", "items", "target", "classes", "labels_read_as", "columns"),
    *("splits", "origins", "change_with"),
)
# Classes that are listed; `--json` has all.
_LISTED = 30


@app.group()
def data() -> None:
    """Data sets: how they are read."""


@data.command("show")
@click.argument("data")
@column_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def data_show(context: CommandContext, /, data: str, as_json: bool, **given: Any) -> None:
    """Show how DATA are read, with examples.

    Lists items, classes, splits and columns, and what is skipped and why. DATA is as for `query`; nothing is
    stored.

    \b
    Example:
      expertise-graph data show ./my-images
    """
    with context.workspace(must_exist=False) as workspace:
        labelled = workspace.read(data, columns=columns_from(given), strict=False)
    content = views.data_details_json(labelled, FORM)
    if as_json:
        report_data(labelled, FORM, context.verbose)
        emit_json(content)
        return
    for line in views.data_lines(labelled, FORM):
        click.echo(printable(line))
    emit(
        [{"field": k, "value": shown(k, content[k])} for k in _FIELDS if content[k]],
        None,
        columns=("field", "value"),
    )
    counts = [{"class": name, "items": n} for name, n in content["items_by_class"].items()]
    if counts:
        emit(counts[:_LISTED], None, columns=("class", "items"))
    if len(counts) > _LISTED:
        click.echo(f"and {len(counts) - _LISTED:,} more classes")
    emit(content["examples"], None, columns=("item", "label", "split"), title="examples")
    for reason, example in content["skipped_examples"].items():
        first = example.removesuffix(f": {reason}")
        click.echo(printable(f"{content['skipped'][reason]:,} skipped: {reason} (first: {first})"))
