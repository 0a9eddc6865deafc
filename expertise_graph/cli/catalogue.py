"""Commands about published models that are known without being registered: catalogue ls, show, update."""

from __future__ import annotations

from typing import Any

import click

from expertise_graph import views
from expertise_graph.cli.app import CommandContext, app, pass_context
from expertise_graph.cli.output import Bars, emit, emit_json, listing_options, shown
from expertise_graph.cli.parameters import COUNT
from expertise_graph.core import count, printable

_COLUMNS = (
    *("model", "modality", "params", "bytes", "license", "languages", "released", "results", "where"),
)
_SORTS = ("model", "params", "bytes", "released", "results")


@app.group()
def catalogue() -> None:
    """Published models that are known from the start, with public results on them."""


@catalogue.command("ls")
@click.option("--modality", help="Only models of this modality, e.g. image, text.")
@click.option("--license", "license_", metavar="SPDX", help="Only models with this licence, e.g. apache-2.0.")
@click.option("--language", metavar="CODE", help="Only models for this language, e.g. de or deu.")
@click.option("--max-params", type=COUNT, help="Only models with at most this many parameters, e.g. 150M.")
@click.option("--task", metavar="NAME", help="Only models with a result on this task, e.g. mteb/EuroSAT.")
@click.option(
    "--sort",
    type=click.Choice(_SORTS),
    default="model",
    show_default=True,
    help="Column to sort by: names and parameters ascending, dates and results descending.",
)
@listing_options
@pass_context
def catalogue_ls(context: CommandContext, /, style: str | None, sort: str, **given: Any) -> None:
    """List the known models.

    RESULTS counts the public results on a model.

    \b
    Example:
      expertise-graph catalogue ls --modality image --license apache-2.0 --sort params
    """
    with context.workspace() as workspace:
        found = workspace.known_models(
            modality=given["modality"],
            license=given["license_"],
            language=given["language"],
            max_params=given["max_params"],
            task=given["task"],
        )
    rows = [views.known_model_json(model) for model in found]
    rows.sort(key=lambda row: _order(row, sort))
    rows = [{**row, "id": row["model"]} for row in rows]
    if style is None:
        rows = [{**row, "languages": _languages(row["languages"])} for row in rows]
    emit(rows, style, columns=_COLUMNS)


def _order(row: dict[str, Any], sort: str) -> tuple[Any, ...]:
    value = row[sort]
    if sort == "released":
        # The newest first; text cannot be negated.
        return (value is None, tuple(-ord(letter) for letter in value or ""), row["model"])
    return (value is None, -value if sort == "results" else value, row["model"])


def _languages(codes: list[str]) -> str:
    return ", ".join(codes) if len(codes) <= 3 else count(len(codes), "language")


@catalogue.command("show")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def catalogue_show(context: CommandContext, model: str, as_json: bool) -> None:
    """Show a known model with the public results on it.

    \b
    Example:
      expertise-graph catalogue show hf:facebook/dinov2-small
    """
    with context.workspace() as workspace:
        found = [views.known_model_details_json(m) for m in workspace.known_model(model)]
    if as_json:
        emit_json(found)
        return
    for content in found:
        results = content.pop("measured")
        rows = [{"field": k, "value": shown(k, v)} for k, v in content.items()]
        emit(rows, None, columns=("field", "value"))
        if results:
            emit(
                results,
                None,
                columns=("task", "kind", "metric", "value", "source"),
                title="results elsewhere",
            )


@catalogue.command("update")
@click.argument("source", required=False)
@click.option(
    "--from",
    "origin",
    type=click.Choice(["hub", "mteb"]),
    help="Bring the catalogue in use up to date: hub for sizes, licences and access of its models, mteb for "
    "results on them.",
)
@click.option("--revision", help="Commit, tag or branch of the results of MTEB.  [default: main]")
@pass_context
def catalogue_update(
    context: CommandContext, source: str | None, origin: str | None, revision: str | None
) -> None:
    """Bring the catalogue up to date, or use another one.

    SOURCE is a folder, or hf:ORG/DATASET[@REVISION], with a catalogue.json and its tables. It is verified and
    copied to catalogue/ of the workspace; remove that folder to go back to the catalogue of the package.
    --from asks the public origins instead, and notes the commit with each number.

    \b
    Example:
      expertise-graph catalogue update ./our-catalogue
    """
    if (source is None) == (origin is None):
        raise click.UsageError("give either SOURCE or --from hub|mteb")
    if revision is not None and origin != "mteb":
        raise click.UsageError("--revision needs --from mteb; of a dataset write hf:ORG/DATASET@REVISION")
    with Bars() as bars, context.workspace(bars) as workspace:
        done = workspace.update_catalogue(source, origin=origin, revision=revision)
    old, after = "none" if done.before is None else done.before.version, done.after
    line = (
        f"catalogue {after.version} instead of {old}: {count(len(after.models), 'model')}, "
        f"{count(len(after.results), 'result')}"
    )
    if done.changes:
        what = [f"{n:,} {change}" for change, n in sorted(done.changes.items()) if n]
        line += f"; from {done.origin}: {', '.join(what)}"
    click.echo(printable(line), err=True)
