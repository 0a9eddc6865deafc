"""Commands about what experts are compared on: probe ls, show, create, use."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from expertise_graph.cli.app import Context, app, pass_context
from expertise_graph.cli.output import clean, emit, emit_json, listing_options
from expertise_graph.cli.parameters import SEED
from expertise_graph.cli.progress import Bars


@app.group()
def probe() -> None:
    """Probe sets: the inputs that all experts of a modality respond to."""


@probe.command("ls")
@listing_options
@pass_context
def probe_ls(context: Context, style: str | None) -> None:
    """List the probe sets; the current one of a modality is what experts are embedded on.

    \b
    Example:
      expertise-graph probe ls
    """
    from expertise_graph.features import probe_sets as probes

    with context.store() as store:
        rows = [
            {
                "id": p.id,
                "name": p.name,
                "version": p.version,
                "modality": p.modality,
                "n": p.n,
                "current": probes.current(store, p.modality).id == p.id,
                "experts": len(store.vectors(p.id)[1]),
                "license": p.license,
            }
            for p in store.probe_sets()
        ]
    emit(rows, style, columns=("name", "version", "modality", "n", "current", "experts", "license"))


@probe.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def probe_show(context: Context, name: str, as_json: bool) -> None:
    """Show what a probe set is made of, with the licences of its inputs.

    \b
    Example:
      expertise-graph probe show image
    """
    from expertise_graph.features import probe_sets as probes

    with context.store() as store:
        found = probes.find(store, name)
        items = probes.read(store, found).manifest["items"]
    licenses = Counter(item["license"] for item in items)
    content: dict[str, Any] = {
        "id": found.id,
        "name": found.name,
        "version": found.version,
        "modality": found.modality,
        "n": found.n,
        "licenses": dict(licenses.most_common()),
    }
    if as_json:
        emit_json({**content, "items": [{k: i[k] for k in ("origin", "license", "sha256")} for i in items]})
        return
    emit([{"field": k, "value": v} for k, v in content.items()], None, columns=("field", "value"))


@probe.command("create")
@click.argument("data")
@click.option("--name", required=True, help="What to call it.")
@click.option("-n", "count", default=384, show_default=True, type=click.IntRange(4), help="How many inputs.")
@click.option("--seed", default=0, show_default=True, type=SEED, help="Of the draw.")
@click.option("--license", "license_", default="unknown", show_default=True, help="Licence of the inputs.")
@pass_context
def probe_create(context: Context, data: str, name: str, count: int, seed: int, license_: str) -> None:
    """Draw a probe set from DATA, make it current, and embed the experts of its modality on it.

    \b
    Example:
      expertise-graph probe create ./my-images --name mine
    """
    with Bars() as bars, context.workspace(bars) as workspace:
        made, failed = workspace.create_probe_set(data, name=name, n=count, seed=seed, license=license_)
    click.echo(clean(f"{made.name}: {made.n} {made.modality} inputs, now current"), err=True)
    for line in failed:
        click.echo(clean(f"not embedded: {line}"), err=True)


@probe.command("use")
@click.argument("name")
@pass_context
def probe_use(context: Context, name: str) -> None:
    """Make a probe set the current one of its modality, and embed the experts that lack it.

    \b
    Example:
      expertise-graph probe use image
    """
    with Bars() as bars, context.workspace(bars) as workspace:
        chosen, failed = workspace.use_probe_set(name)
    click.echo(clean(f"{chosen.name} is current for {chosen.modality}"), err=True)
    for line in failed:
        click.echo(clean(f"not embedded: {line}"), err=True)
