"""Commands that combine models of one parent: merge, delta make, delta apply."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import expertise_graph as xg
from expertise_graph import views
from expertise_graph.cli.app import FORM, CommandContext, app, in_options, pass_context
from expertise_graph.cli.output import Bars, emit_json, report_data, table
from expertise_graph.cli.parameters import SEED, Numbers, column_options, columns_from, trust_option
from expertise_graph.core import byte_size, count, printable

if TYPE_CHECKING:
    from expertise_graph import Applied, DeltaReport, MergeResult

# As in merging.settings, which --help does not load.
METHODS = ("mean", "greedy-soup", "task-arithmetic", "ties", "fisher")


@app.command()
@click.argument("experts", nargs=-1, required=True, metavar="EXPERT...")
@click.option(
    "--data",
    required=True,
    metavar="DATA",
    help="Dataset: its validation split selects, its test split measures.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Output folder for the merged model and its card.",
)
@click.option(
    "--method", type=click.Choice(METHODS), default="mean", show_default=True, help="Merging method."
)
@click.option(
    "--scale",
    type=float,
    help="Factor of the summed weight differences, for task-arithmetic and ties.  "
    "[default: best on validation]",
)
@click.option(
    "--density",
    type=float,
    help="Fraction of each child's weight differences that ties keeps, largest first.  [default: 0.2]",
)
@click.option("--weights", type=Numbers(), metavar="A,B,...", help="Weight of each expert.  [default: equal]")
@click.option(
    "--keep-statistics",
    "statistics",
    flag_value="keep",
    help="Average the experts' batch-norm statistics instead of recomputing them.",
)
@click.option(
    "--recompute-statistics",
    "statistics",
    flag_value="recompute",
    help="Recompute batch-norm statistics on the training split.  [default: if the experts' differ]",
)
@click.option("--parent", help="Expert that all were fine-tuned from.  [default: from the lineage]")
@click.option("--seed", type=SEED, help="Random seed of the splits.  [default: that of the experts' runs]")
@click.option(
    "--force",
    is_flag=True,
    help="Merge experts of different parents if names and shapes of their tensors agree.",
)
@column_options
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def merge(
    context: CommandContext, /, experts: tuple[str, ...], data: str, out: Path, as_json: bool, **given: Any
) -> None:
    """Merge models fine-tuned from one parent.

    The merged model is compared with each of them on --data. EXPERT is a registered expert or the folder
    of a run. The merged model is registered with all of them as its parents.

    \b
    Example:
      expertise-graph merge runs/first runs/second --data ./my-images --out runs/merged
    """
    fields = ("method", "scale", "density", "weights", "statistics", "parent", "seed", "force")
    settings = xg.MergeSettings(**{name: given[name] for name in fields})
    with Bars() as bars, context.workspace(bars) as workspace:
        labelled = workspace.read(data, columns=columns_from(given))
        report_data(labelled, FORM, context.verbose)
        result = workspace.merge(experts, labelled, out, settings=settings, trust_code=given["trust_code"])
        names = workspace.names([result.expert] if result.expert else [])
    if as_json:
        emit_json({**views.merge_json(result, FORM), "data": views.data_json(labelled, FORM)})
    else:
        _show_merge(result, names)


def _show_merge(result: MergeResult, names: Mapping[str, str]) -> None:
    """Print what a merge and its children reach."""
    rows = [
        {
            "model": child.name,
            "head": child.head,
            "validation": child.validation_accuracy,
            "test": child.accuracy,
            "kept": child.kept,
        }
        for child in result.children
    ]
    merged = {"model": result.method, "head": result.head, "validation": result.validation_accuracy}
    if result.path is not None:
        rows.append({**merged, "test": result.accuracy, "kept": True})
    table(rows, ("model", "head", "validation", "test", "kept"))
    best, metric = result.best_child, result.metric.replace("_", " ")
    if result.scale is not None:
        click.echo(f"scale {result.scale:g}")
    if result.statistics != "none":
        measured = ", ".join(f"{name} {value:.3f}" for name, value in result.statistics_accuracy.items())
        click.echo(f"batch-norm statistics {result.statistics}; validation {metric}: {measured}")
    for note in result.notes:
        click.echo(f"note: {printable(in_options(note))}", err=True)
    if result.path is None or result.expert is None:
        click.echo(f"only one model was kept, nothing to register: use {printable(best.name)}")
        return
    gain = 100 * (result.accuracy - best.accuracy)
    click.echo(
        f"test {metric} {result.accuracy:.3f} on {count(result.n_test, 'item')}, {gain:+.1f} points compared "
        f"with {printable(best.name)}, the best child on validation"
    )
    child = printable(names.get(result.expert, result.expert))
    license = printable(result.license)
    click.echo(f"model in {printable(result.path)}, registered as {child}, licence {license}")


@app.command()
@click.argument("adapter")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Output folder for the model.")
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def fold(context: CommandContext, /, adapter: str, out: Path, *, trust_code: bool, as_json: bool) -> None:
    """Write a LoRA adapter and its base model as one model.

    ADAPTER is a registered expert or the folder of a run with --strategy lora. The folded model gives the
    same answers, and loads without the adapter's libraries. merge and delta fold adapters by themselves.

    \b
    Example:
      expertise-graph fold runs/lora --out runs/folded
    """
    with Bars() as bars, context.workspace(bars) as workspace:
        folded = workspace.fold(adapter, out, trust_code=trust_code)
        name = workspace.names([folded.expert])[folded.expert]
    if as_json:
        emit_json(views.fold_json(folded))
    else:
        click.echo(f"model in {printable(folded.path)}, registered as {printable(name)}")


@app.group()
def delta() -> None:
    """Weight differences of fine-tuned models as small files.

    They can be shared, averaged and added to the parent again.
    """


@delta.command("make")
@click.argument("child")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Output file, ending in .safetensors."
)
@click.option("--parent", help="Expert that CHILD was fine-tuned from.  [default: from the lineage]")
@click.option(
    "--rank",
    type=click.IntRange(1),
    help="Approximate each matrix by one of this rank.  [default: full rank]",
)
@click.option("--bits", type=click.Choice(["8"]), help="Quantise to 8-bit integers.  [default: float32]")
@click.option(
    "--include-head/--no-head",
    "head",
    default=True,
    show_default=True,
    help="Include the classification head.",
)
@click.option(
    "--items",
    type=click.IntRange(1),
    help="Number of training items of CHILD, to weight averages by.  [default: from its run]",
)
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def delta_make(context: CommandContext, /, child: str, out: Path, as_json: bool, **given: Any) -> None:
    """Write the weight difference between CHILD and its parent.

    The file is a safetensors file. CHILD is a registered expert or the folder of a run.

    \b
    Example:
      expertise-graph delta make runs/first --out first.delta.safetensors --bits 8
    """
    packing = xg.Packing(rank=given["rank"], bits=int(given["bits"]) if given["bits"] else None)
    with context.workspace() as workspace:
        report = workspace.make_delta(
            child,
            out,
            parent=given["parent"],
            packing=packing,
            head=given["head"],
            items=given["items"],
            trust_code=given["trust_code"],
        )
    if as_json:
        emit_json(views.delta_json(report))
    else:
        _show_delta(report)


def _show_delta(report: DeltaReport) -> None:
    """Print what a delta file is."""
    click.echo(
        f"{printable(report.path)}: {byte_size(report.bytes)}, {100 * report.ratio:.1f} % of the size of the "
        f"child's weights, {report.packing}, relative error {report.error:.2g}"
    )
    items = f"{count(report.items, 'training item')}" if report.items else "number of training items unknown"
    click.echo(f"{report.tensors} of {report.of} tensors differ; head: {report.head}; {items}")
    click.echo(f"parent: {printable(report.parent)}, weights sha256 {report.parent_sha256[:16]}")


@delta.command("apply")
@click.argument("parent")
@click.argument("deltas", nargs=-1, required=True, metavar="DELTA...", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Output folder for the model.")
@click.option(
    "--weights",
    type=Numbers(),
    metavar="A,B,...",
    help="Weight of each delta.  [default: its number of training items]",
)
@click.option(
    "--scale", type=float, default=1.0, show_default=True, help="Factor of the averaged weight difference."
)
@click.option(
    "--include-head/--no-head", "head", default=True, show_default=True, help="Use the heads in the deltas."
)
@click.option(
    "--register/--no-register", default=True, show_default=True, help="Register the model as an expert."
)
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def delta_apply(
    context: CommandContext, /, parent: str, deltas: tuple[Path, ...], out: Path, as_json: bool, **given: Any
) -> None:
    """Add the weighted average of DELTAs to PARENT.

    The deltas must have been made from these weights. PARENT is a registered expert or the folder of a run.

    \b
    Example:
      expertise-graph delta apply emoji first.delta.safetensors --out runs/applied
    """
    settings = xg.ApplySettings(**{n: given[n] for n in ("weights", "scale", "head", "register")})
    with Bars() as bars, context.workspace(bars) as workspace:
        applied = workspace.apply_deltas(
            parent, deltas, out, settings=settings, trust_code=given["trust_code"]
        )
        names = workspace.names([applied.expert] if applied.expert else [])
    if as_json:
        emit_json(views.applied_json(applied))
    else:
        _show_applied(applied, names)


def _show_applied(applied: Applied, names: Mapping[str, str]) -> None:
    """Print which model the deltas gave."""
    shares = ", ".join(f"{weight:.3g}" for weight in applied.weights)
    child = printable(names.get(applied.expert or "", ""))
    where = f"registered as {child}" if applied.expert else "not registered"
    added = count(len(applied.weights), "delta")
    click.echo(f"{added} added to {printable(applied.parent)}, weights {shares}")
    click.echo(f"model in {printable(applied.path)}, {where}, licence {printable(applied.license)}")
