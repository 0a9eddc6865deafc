"""The export command: the graph, or a finished model, as a file for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from expertise_graph.cli.app import Context, app, pass_context
from expertise_graph.cli.output import clean
from expertise_graph.cli.parameters import trust_option
from expertise_graph.cli.predict import open_named

MODEL_FORMATS = ("onnx", "torch-export")


@app.command()
@click.argument("what", metavar="PATH|MODEL")
@click.option(
    "--format",
    "kind",
    default="graphml",
    show_default=True,
    help="graphml, gexf, gml or json for the graph; onnx or torch-export for a model.",
)
@click.option("--out", type=click.Path(path_type=Path), help="File to write a model to.")
@click.option("--force", is_flag=True, help="Replace a model's file that is there.")
@trust_option
@pass_context
def export(context: Context, what: str, kind: str, out: Path | None, force: bool, trust_code: bool) -> None:
    """Write the graph to PATH for networkx, Gephi and the like; or MODEL for onnxruntime or torch.

    MODEL is as for predict. Its file is checked on real inputs, and described in FILE.json.

    \b
    Example:
      expertise-graph export --format graphml graph.graphml
      expertise-graph export runs/first --format torch-export --out first.pt2
    """
    if kind in MODEL_FORMATS:
        if out is None:
            raise click.UsageError(f"--format {kind} needs --out FILE")
        _export_model(context, what, kind=kind, out=out, force=force, trust_code=trust_code)
        return
    if out is not None:
        raise click.UsageError(f"--out is for --format {' and '.join(MODEL_FORMATS)}; give the path alone")
    _export_graph(context, Path(what), kind)


def _export_graph(context: Context, path: Path, kind: str) -> None:
    from expertise_graph.registry import build_graph
    from expertise_graph.registry import export as write

    with context.store() as store:
        graph = build_graph(store.experts(), store.tasks(), store.edges())
    write(graph, path, kind)
    click.echo(f"{path}: {graph.number_of_nodes()} nodes, {graph.number_of_edges()} edges", err=True)


def _export_model(
    context: Context, name: str, *, kind: str, out: Path, force: bool, trust_code: bool
) -> None:
    from expertise_graph.inference import export_model, formats

    # A package that is missing is named before anything is loaded.
    formats[kind]
    model = open_named(context, name, trust_code)
    done = export_model(model, out, kind=kind, force=force)
    click.echo(
        clean(
            f"{done.path}: logits of {done.checked} real inputs differ by at most {done.difference:.1e} "
            f"({done.relative:.0e} of the largest); inputs and classes are described in {done.description}"
        ),
        err=True,
    )
