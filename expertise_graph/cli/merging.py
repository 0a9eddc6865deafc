"""Commands about what children of one parent are together: merge, delta make, delta apply."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from expertise_graph.cli.app import Context, app, pass_context
from expertise_graph.cli.output import clean, emit_json, human, table
from expertise_graph.cli.parameters import SEED, column_options, trust_option
from expertise_graph.cli.progress import Bars
from expertise_graph.cli.query import columns_from, report_skipped

if TYPE_CHECKING:
    from expertise_graph.deltas import Applied, DeltaReport
    from expertise_graph.merging import MergeResult

# As in merging.settings, which --help does not load.
METHODS = ("mean", "greedy-soup", "task-arithmetic", "ties", "fisher")


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between them: 1,1,2."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers like 1,1,2", param, ctx)


@app.command()
@click.argument("experts", nargs=-1, required=True, metavar="EXPERT...")
@click.option("--data", required=True, help="Dataset that decides (validation) and measures (test).")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="New folder for the model and its card."
)
@click.option(
    "--method", type=click.Choice(METHODS), default="mean", show_default=True, help="How weights are merged."
)
@click.option("--scale", type=float, help="Of task-arithmetic and ties; by default the best on validation.")
@click.option("--density", type=float, help="Fraction of each child's change that ties keeps; 0.2.")
@click.option("--weights", type=Numbers(), metavar="A,B,...", help="One for each expert; by default equal.")
@click.option("--keep-statistics", "statistics", flag_value="keep", help="Average batch-norm statistics.")
@click.option(
    "--recompute-statistics",
    "statistics",
    flag_value="recompute",
    help="Take batch-norm statistics from the training items; the default where the experts' differ.",
)
@click.option("--parent", help="What the experts were made from, where the lineage names none.")
@click.option("--seed", type=SEED, help="Of the splits; by default that of the experts' runs.")
@click.option("--force", is_flag=True, help="Merge experts of different parents if their tensors agree.")
@column_options
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def merge(
    context: Context, /, experts: tuple[str, ...], data: str, out: Path, as_json: bool, **given: Any
) -> None:
    """Merge children of one parent into one model, measured on --data beside each child.

    EXPERT is a registered expert or the folder of a warm start. The merge is registered with
    lineage to all of them.

    \b
    Example:
      expertise-graph merge runs/first runs/second --data ./my-images --out runs/merged
    """
    from expertise_graph.merging import MergeSettings

    names = ("method", "scale", "density", "weights", "statistics", "parent", "seed", "force")
    settings = MergeSettings(**{name: given[name] for name in names})
    with Bars() as bars, context.workspace(bars) as workspace:
        labelled = workspace.read(data, columns=columns_from(given))
        report_skipped(labelled.skipped, context.verbose)
        result = workspace.merge(experts, labelled, out, settings=settings, trust_code=given["trust_code"])
        names_of = workspace.store.names()
    if as_json:
        emit_json(result.as_dict())
    else:
        show_merge(result, names_of)


def show_merge(result: MergeResult, names: dict[str, str]) -> None:
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
        click.echo(f"note: {clean(note)}", err=True)
    if result.path is None or result.expert is None:
        click.echo(f"one model was kept, so there is nothing to register: use {clean(best.name)}")
        return
    gain = 100 * (result.accuracy - best.accuracy)
    click.echo(
        f"test {metric} {result.accuracy:.3f} on {result.n_test} items, {gain:+.1f} points to "
        f"{clean(best.name)}, the best by validation"
    )
    child = clean(names.get(result.expert, result.expert))
    click.echo(f"model in {clean(result.path)}, registered as {child}, licence {clean(result.license)}")


@app.group()
def delta() -> None:
    """Deltas: what a child learnt since its parent, as a small file to share and to average."""


@delta.command("make")
@click.argument("child")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New .safetensors file to write.")
@click.option("--parent", help="What the child was made from; by default its parent in the lineage.")
@click.option("--rank", type=click.IntRange(1), help="Write each matrix as two factors of this rank.")
@click.option("--bits", type=click.Choice(["8"]), help="Write whole numbers of 8 bits.")
@click.option("--include-head/--no-head", "head", default=True, help="Whether the classifier goes in.")
@click.option(
    "--items", type=click.IntRange(1), help="Items the child was trained on, where its run does not say."
)
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def delta_make(context: Context, /, child: str, out: Path, as_json: bool, **given: Any) -> None:
    """Write the difference of CHILD to its parent as a safetensors file.

    CHILD is a registered expert or the folder of a warm start.

    \b
    Example:
      expertise-graph delta make runs/first --out first.delta.safetensors --bits 8
    """
    from expertise_graph.deltas import Packing

    packing = Packing(rank=given["rank"], bits=int(given["bits"]) if given["bits"] else None)
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
        emit_json(report.as_dict())
    else:
        show_delta(report)


def show_delta(report: DeltaReport) -> None:
    """Print what a delta file is."""
    click.echo(
        f"{clean(report.path)}: {human(report.bytes)} bytes, {100 * report.ratio:.1f} % of the child's "
        f"weights, {report.packing}, relative error {report.error:.2g}"
    )
    items = f"trained on {report.items} items" if report.items else "number of items not known"
    click.echo(f"{report.tensors} of {report.of} tensors changed; head: {report.head}; {items}")
    click.echo(f"belongs to weights {report.parent_sha256[:16]} of {clean(report.parent)}")


@delta.command("apply")
@click.argument("parent")
@click.argument("deltas", nargs=-1, required=True, metavar="DELTA...", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New folder for the model.")
@click.option(
    "--weights",
    type=Numbers(),
    metavar="A,B,...",
    help="One for each delta; by default the items each child was trained on.",
)
@click.option("--scale", type=float, default=1.0, show_default=True, help="Of the averaged difference.")
@click.option("--include-head/--no-head", "head", default=True, help="Whether heads in deltas are used.")
@click.option("--register/--no-register", default=True, help="Whether the model becomes an expert.")
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def delta_apply(
    context: Context, /, parent: str, deltas: tuple[Path, ...], out: Path, as_json: bool, **given: Any
) -> None:
    """Add the average of DELTAs to PARENT, whose weights they must belong to.

    PARENT is a registered expert or the folder of a warm start.

    \b
    Example:
      expertise-graph delta apply emoji first.delta.safetensors --out runs/applied
    """
    from expertise_graph.deltas import ApplySettings

    settings = ApplySettings(**{n: given[n] for n in ("weights", "scale", "head", "register")})
    with Bars() as bars, context.workspace(bars) as workspace:
        applied = workspace.apply_deltas(
            parent, deltas, out, settings=settings, trust_code=given["trust_code"]
        )
        names = workspace.store.names()
    if as_json:
        emit_json(applied.as_dict())
    else:
        show_applied(applied, names)


def show_applied(applied: Applied, names: dict[str, str]) -> None:
    """Print what came of deltas."""
    shares = ", ".join(f"{weight:.3g}" for weight in applied.weights)
    where = f"registered as {clean(names.get(applied.expert, ''))}" if applied.expert else "not registered"
    click.echo(f"{len(applied.weights)} deltas added to {clean(applied.parent)} with weights {shares}")
    click.echo(f"model in {clean(applied.path)}, {where}, licence {clean(applied.license)}")
