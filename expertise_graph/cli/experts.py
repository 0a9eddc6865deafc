"""Commands about experts: init, register, ls, show, similar, rm, export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from expertise_graph.cli.app import Context, app, pass_context
from expertise_graph.cli.output import clean, emit, emit_json, listing_options
from expertise_graph.cli.parameters import trust_option
from expertise_graph.cli.progress import Bars
from expertise_graph.core import ExpertiseError

if TYPE_CHECKING:
    from expertise_graph.core import Expert
    from expertise_graph.models import InputSpec, SourceOptions
    from expertise_graph.store import Store
    from expertise_graph.workspace import Workspace


@app.command()
@click.argument("path", default=".")
@pass_context
def init(context: Context, path: str) -> None:
    """Make PATH a workspace: registry.db, and embeddings/ with the shipped probe sets.

    \b
    Example:
      expertise-graph init
    """
    from expertise_graph.workspace import Workspace

    with Workspace.init(context.workspace_path or path) as workspace:
        click.echo(f"workspace at {workspace.folder}: {len(workspace.experts())} experts", err=True)


@app.command()
@click.argument("references", nargs=-1, metavar="[SOURCE]...")
@click.option("--from-file", type=click.File(), help="File with one source a line; - for stdin.")
@click.option("--name", help="Name of the expert; by default that of its source.")
@click.option("--tag", "tags", multiple=True, help="Tag to find it by; may be repeated.")
@click.option("--license", "license_", metavar="SPDX", help="Licence, where the model card states none.")
@click.option("--modality", help="image or text, where the source leaves it open.")
@click.option("--revision", help="Branch, tag or commit on the Hub.")
@click.option("--weights", metavar="FILE", help="Weights of a factory: expert.")
@click.option("--input-size", type=int, help="Side in pixels of a factory: expert's input.")
@click.option(
    "--channels", type=int, default=3, show_default=True, help="Channels of a factory: expert's input."
)
@click.option("--mean", help="Means that are subtracted, e.g. 0.485,0.456,0.406.")
@click.option("--std", help="Deviations that are divided by, e.g. 0.229,0.224,0.225.")
@click.option(
    "--transform", metavar="MODULE:NAME", help="Callable from an image to a tensor, instead of these."
)
@trust_option
@listing_options
@pass_context
def register(
    context: Context, /, references: tuple[str, ...], from_file: Any, style: str | None, **given: Any
) -> None:
    """Register experts: dir:PATH, hf:ORG/NAME, timm:ARCH.TAG, factory:MODULE:CALLABLE, zoo:NAME.

    Each is run on the probe set of its modality and takes its place in the graph. An error with
    one of several does not keep the others out; the exit code is then 1.

    \b
    Example:
      expertise-graph register zoo:latin-letters zoo:emoji --tag vision
    """
    wanted = [*references, *_lines(from_file)]
    if not wanted:
        raise click.UsageError(
            "name at least one source, e.g. dir:./my-checkpoint or hf:org/name, or --from-file"
        )
    options = _options(given)
    with Bars() as bars, context.workspace(bars) as workspace:
        rows = [_register_one(workspace, reference, options) for reference in wanted]
    emit(rows, style, columns=("source", "expert", "modality", "params", "license", "error"))
    if any(row["error"] for row in rows):
        raise SystemExit(1)


def _lines(file: Any) -> list[str]:
    lines = [line.strip() for line in file or ()]
    return [line for line in lines if line and not line.startswith("#")]


def _register_one(workspace: Workspace, reference: str, options: SourceOptions) -> dict[str, Any]:
    try:
        row = expert_row(workspace.register(reference, options=options))
        return {**row, "source": reference, "expert": row["short"], "error": None}
    except ExpertiseError as error:
        click.echo(clean(f"{reference}: {error}"), err=True)
        return {"source": reference, "expert": None, "id": "", "error": str(error)}


def _options(given: dict[str, Any]) -> SourceOptions:
    from expertise_graph.models import SourceOptions

    return SourceOptions(
        trust_code=given["trust_code"],
        revision=given["revision"],
        weights=given["weights"],
        input=_input(given),
        modality=given["modality"],
        name=given["name"],
        license=given["license_"],
        tags=given["tags"],
    )


def _input(given: dict[str, Any]) -> InputSpec | None:
    from expertise_graph.models import InputSpec

    if given["input_size"] is None:
        return None
    return InputSpec(
        size=given["input_size"],
        channels=given["channels"],
        mean=_numbers("--mean", given["mean"]) or (0.5,),
        std=_numbers("--std", given["std"]) or (0.5,),
        transform=given["transform"],
    )


def _numbers(option: str, text: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not numbers with commas between", param_hint=option) from error


def expert_row(expert: Expert) -> dict[str, Any]:
    """Return what listings and JSON say of an expert."""
    return {
        "id": expert.id,
        "short": expert.short,
        "name": expert.name,
        "runnable": expert.runnable,
        "source": expert.source,
        "locator": expert.locator,
        "revision": expert.revision,
        "modality": expert.modality,
        "architecture": expert.architecture,
        "params": expert.params,
        "bytes": expert.bytes,
        "dim": expert.dim,
        "license": expert.license,
        "base_model": expert.base_model,
        "datasets": list(expert.datasets),
        "tags": list(expert.tags),
        "trusted_code": expert.trusted_code,
        "weights_format": expert.weights_format,
        "weights_sha": expert.weights_sha,
        "created_at": expert.created_at,
    }


@app.command()
@click.option("--modality", help="Only experts of this modality.")
@click.option("--tag", help="Only experts with this tag.")
@click.option("--license", "license_", metavar="SPDX", help="Only experts with this licence.")
@click.option(
    "--sort",
    type=click.Choice(["created_at", "name", "params", "bytes", "license"]),
    default="created_at",
    show_default=True,
    help="Order of the list.",
)
@listing_options
@pass_context
def ls(
    context: Context,
    modality: str | None,
    tag: str | None,
    license_: str | None,
    sort: str,
    style: str | None,
) -> None:
    """List the registered experts.

    \b
    Example:
      expertise-graph ls --modality image --sort params
    """
    with context.store() as store:
        rows = [expert_row(e) for e in store.experts(modality)]
    rows = [r for r in rows if tag in (None, *r["tags"]) and license_ in (None, r["license"])]
    rows.sort(key=lambda row: (row[sort], row["id"]))
    if style is None:
        rows = [r if r["runnable"] else {**r, "short": f"{r['short']} [metadata only]"} for r in rows]
    emit(
        rows,
        style,
        columns=("short", "modality", "architecture", "params", "bytes", "dim", "license", "tags"),
    )


@app.command()
@click.argument("expert")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def show(context: Context, expert: str, as_json: bool) -> None:
    """Show one expert: what it is, where it comes from, whom it is near, what it was measured on.

    \b
    Example:
      expertise-graph show latin-letters
    """
    with context.store() as store:
        node = store.find_expert(expert)
        content = {**expert_row(node), "meta": dict(node.meta), "relations": _relations(store, node)}
        content["covariates"] = store.covariates().get(node.id, {})
    if as_json:
        emit_json(content)
        return
    relations, covariates = content.pop("relations"), content.pop("covariates")
    emit([{"field": k, "value": v} for k, v in content.items()], None, columns=("field", "value"))
    if covariates:
        known = [{"covariate": k, "value": v} for k, v in covariates.items()]
        emit(known, None, columns=("covariate", "value"))
    emit(relations, None, columns=("kind", "source", "target", "weight", "metric", "method", "created_at"))


def _relations(store: Store, node: Expert) -> list[dict[str, Any]]:
    names = store.names()
    return [
        {
            "kind": edge.kind,
            "source": names.get(edge.source, edge.source),
            "target": names.get(edge.target, edge.target),
            "weight": edge.weight,
            "metric": edge.metric,
            "method": edge.method,
            "created_at": edge.created_at,
        }
        for edge in store.edges(node=node.id)
    ]


@app.command()
@click.argument("expert")
@click.option("-k", default=5, show_default=True, type=click.IntRange(1), help="How many.")
@listing_options
@pass_context
def similar(context: Context, expert: str, k: int, style: str | None) -> None:
    """List the experts that respond to the probe set most like EXPERT, with debiased CKA.

    \b
    Example:
      expertise-graph similar latin-letters -k 5
    """
    from expertise_graph.features import probe_sets as probes
    from expertise_graph.registry import neighbours

    with context.store() as store:
        node = store.find_runnable(expert)
        found = neighbours.similar(store, probes.current(store, node.modality).id, node, k)
    rows = [
        {
            "id": n.expert.id,
            "expert": n.expert.short,
            "cka": n.cka,
            "duplicate": n.duplicate,
            "architecture": n.expert.architecture,
            "license": n.expert.license,
        }
        for n in found
    ]
    emit(rows, style, columns=("expert", "cka", "duplicate", "architecture", "license"))


@app.command()
@click.argument("experts", nargs=-1, required=True, metavar="EXPERT...")
@pass_context
def rm(context: Context, experts: tuple[str, ...]) -> None:
    """Take experts out of the graph; their files and the results measured with them stay.

    \b
    Example:
      expertise-graph rm emoji
    """
    with context.workspace() as workspace:
        for expert in experts:
            click.echo(f"removed {clean(workspace.remove(expert).short)}", err=True)
