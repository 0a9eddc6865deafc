"""Commands about the inputs that experts are compared on: probe ls, show, create, use."""

from __future__ import annotations

from typing import Any

import click

from expertise_graph import views
from expertise_graph.cli.app import FORM, CommandContext, ListingGroup, app, in_options, pass_context
from expertise_graph.cli.experts import registered_rows, report_registered
from expertise_graph.cli.output import Bars, emit, emit_json, listing_options, report_data, shown
from expertise_graph.cli.parameters import SEED, isolation_options, max_download_option
from expertise_graph.core import printable


@app.group(cls=ListingGroup)
@click.option(
    "--missing",
    is_flag=True,
    help="Download, run and register the known models of the registry (see register --metadata-only).",
)
@click.option("--limit", type=click.IntRange(1), help="With --missing: most models, those found first first.")
@max_download_option
@isolation_options
@listing_options
@click.pass_context
def probe(ctx: click.Context, /, missing: bool, style: str | None, **given: Any) -> None:
    """Probe sets: unlabelled inputs that all experts are run on.

    Without a command the probe sets are listed. --missing runs what is known by its description only.

    \b
    Example:
      expertise-graph probe --missing --limit 20
    """
    if ctx.invoked_subcommand is not None:
        return
    if not missing:
        if any(value is not None for value in given.values()):
            raise click.UsageError("--limit and --max-download need --missing")
        _list_probe_sets(ctx.obj, style)
        return
    with Bars() as bars, ctx.obj.workspace(bars) as workspace:
        rows = registered_rows(workspace, workspace.register_known(**given))
    if not rows and style is None:
        click.echo("no known model of this registry can be downloaded and is not registered", err=True)
    else:
        report_registered(rows, style)


@probe.command("ls")
@listing_options
@pass_context
def probe_ls(context: CommandContext, style: str | None) -> None:
    """List the probe sets.

    Experts are embedded on the current one of their modality.

    \b
    Example:
      expertise-graph probe ls
    """
    _list_probe_sets(context, style)


def _list_probe_sets(context: CommandContext, style: str | None) -> None:
    with context.workspace() as workspace:
        rows = [views.probe_set_json(p) for p in workspace.probe_sets()]
    emit(rows, style, columns=("name", "version", "modality", "n", "current", "experts", "license"))


@probe.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the origin of each input.")
@pass_context
def probe_show(context: CommandContext, name: str, as_json: bool) -> None:
    """Show the size of a probe set and the licences of its inputs.

    \b
    Example:
      expertise-graph probe show image
    """
    with context.workspace() as workspace:
        content = views.probe_set_content_json(workspace.probe_set(name))
    if as_json:
        emit_json(content)
        return
    rows = [{"field": k, "value": shown(k, v)} for k, v in content.items() if k != "items"]
    emit(rows, None, columns=("field", "value"))


@probe.command("create")
@click.argument("data")
@click.option("--name", required=True, help="Name of the probe set.")
@click.option("-n", "n", default=384, show_default=True, type=click.IntRange(4), help="Number of inputs.")
@click.option("--seed", default=0, show_default=True, type=SEED, help="Random seed of the sample.")
@click.option("--license", default="unknown", show_default=True, help="Licence of the inputs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@isolation_options
@pass_context
def probe_create(context: CommandContext, /, data: str, as_json: bool, **given: Any) -> None:
    """Sample a probe set from DATA and make it current.

    All experts of its modality are embedded on it.

    \b
    Example:
      expertise-graph probe create ./my-images --name mine
    """
    with Bars() as bars, context.workspace(bars) as workspace:
        source = workspace.read_unlabelled(data)
        report_data(source, FORM, context.verbose)
        made, failed = workspace.create_probe_set(source, **given)
        details = next(p for p in workspace.probe_sets() if p.probe_set.id == made.id)
    click.echo(printable(f"{made.name}: {made.n} {made.modality} inputs, now current"), err=True)
    _report(failed)
    if as_json:
        read = {"data": views.data_json(source, FORM)}
        emit_json({**views.probe_set_json(details), "failed": [in_options(line) for line in failed], **read})


@probe.command("use")
@click.argument("name")
@isolation_options
@pass_context
def probe_use(context: CommandContext, name: str) -> None:
    """Make a probe set the current one of its modality.

    Experts that were not embedded on it yet are embedded now.

    \b
    Example:
      expertise-graph probe use image
    """
    with Bars() as bars, context.workspace(bars) as workspace:
        chosen, failed = workspace.use_probe_set(name)
    click.echo(printable(f"{chosen.name} is current for {chosen.modality}"), err=True)
    _report(failed)


def _report(failed: list[str]) -> None:
    for line in failed:
        click.echo(printable(f"not embedded: {in_options(line)}"), err=True)
