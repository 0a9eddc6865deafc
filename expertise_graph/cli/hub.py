"""The command that asks the Hub what became of models: sync."""

from __future__ import annotations

import sys
from collections import Counter

import click

from expertise_graph import views
from expertise_graph.cli.app import CommandContext, app, in_options, pass_context
from expertise_graph.cli.output import Bars, emit, listing_options
from expertise_graph.core import count, listed, printable


@app.command()
@click.argument("experts", nargs=-1, metavar="[EXPERT]...")
@listing_options
@pass_context
def sync(context: CommandContext, experts: tuple[str, ...], style: str | None) -> None:
    """Ask the Hub what changed about experts and known models.

    Tells which moved to another commit (and whether its weights are others), were deleted or gated, or have
    another licence. Experts stay at the commit they were registered at; the description of known models is
    replaced. A model that could not be downloaded or run before is tried again by the next query that asks
    for it when it has changed, after 30 days, or when it is named here. Without EXPERT, asks about all.

    \b
    Example:
      expertise-graph sync
    """
    with Bars() as bars, context.workspace(bars) as workspace:
        rows = [views.synced_json(one) for one in workspace.sync(experts)]
    if style is None:
        _report(rows)
    else:
        emit(rows, style, columns=())
    if any(row["status"] == "not asked" for row in rows):
        sys.exit(1)


def _report(rows: list[views.Json]) -> None:
    """Print what changed, and how many did not."""
    if not rows:
        click.echo("no expert or known model of this registry is from the Hub", err=True)
        return
    changed = [{**row, "changes": [in_options(text) for text in row["changes"]]} for row in rows]
    changed = [row for row in changed if row["changes"]]
    if changed:
        emit(changed, None, columns=("expert", "status", "changes"))
    found = Counter(row["status"] for row in rows)
    parts = [f"{n} {status}" for status, n in sorted(found.items(), key=lambda one: (-one[1], one[0]))]
    click.echo(printable(f"{count(len(rows), 'model')} asked about: {listed(parts)}"), err=True)
