"""Commands that use a finished model: predict, evaluate and export (which also writes the graph)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from expertise_graph import views
from expertise_graph.cli.app import FORM, CommandContext, app, in_options, pass_context
from expertise_graph.cli.output import Bars, emit, emit_json, report_data, table, to_csv
from expertise_graph.cli.parameters import column_options, columns_from, item_column_options, trust_option
from expertise_graph.core import (
    DatasetError,
    InvalidInputError,
    check_output,
    printable,
    shorten,
)

if TYPE_CHECKING:
    from expertise_graph import Evaluation, Model, Prediction, Predictions

_SHOWN = 60
_CONFUSED = 5
_SPLITS = ("test", "validation", "train", "all")
_MODEL_FORMATS = ("onnx", "torch-export")


@app.command()
@click.argument("model")
@click.argument("inputs", nargs=-1)
@click.option("--text", "texts", multiple=True, help="A text to classify; repeatable.")
@item_column_options
@click.option(
    "--top",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Number of classes to list per input, most probable first.",
)
@click.option(
    "--threshold",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Minimum probability of a label, for models with several labels per item.",
)
@trust_option
@click.option("--csv", "style", flag_value="csv", help="Print CSV, one row per input and class.")
@click.option("--json", "style", flag_value="json", help="Print JSON.")
@pass_context
def predict(
    context: CommandContext, /, model: str, inputs: tuple[str, ...], style: str | None, **given: Any
) -> None:
    """Classify INPUTS with MODEL.

    MODEL is the folder of a run, or the name of its child or run in the registry. INPUTS are images,
    folders of images, tables, .txt files with one text per line, texts in quotes, or - for one input per
    line on stdin (a text, or the path of an image). Unreadable inputs, missing files and folders without
    any are skipped; the exit code is then 1.

    \b
    Example:
      expertise-graph predict runs/first my-images --top 3
    """
    if not inputs and not given["texts"]:
        raise click.UsageError("nothing to classify: give files, folders, texts, or - for stdin")
    with Bars() as bars, context.workspace(bars, must_exist=False) as workspace:
        opened = workspace.model(model, trust_code=given["trust_code"])
        found = workspace.read_inputs(
            opened,
            [name for name in inputs if name != "-"],
            texts=given["texts"],
            lines=_stdin() if "-" in inputs else "",
            columns=columns_from(given),
        )
        for line in views.data_lines(found, FORM):
            click.echo(printable(line), err=True)
        answer = workspace.predict(opened, found, top=given["top"], threshold=given["threshold"])
    for what, why in answer.skipped:
        click.echo(printable(f"skipped {what}: {in_options(why)}"), err=True)
    for note in answer.notes:
        click.echo(printable(f"note: {in_options(note)}"), err=True)
    if not answer.predictions:
        raise DatasetError(f"none of {len(answer.skipped)} inputs could be read")
    _show_predictions(answer, style)
    if answer.skipped:
        sys.exit(1)


def _stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"standard input is not UTF-8 at byte {error.start}") from error


def _show_predictions(answer: Predictions, style: str | None) -> None:
    if style == "json":
        emit_json(views.predictions_json(answer, FORM))
        return
    rows = [row for prediction in answer.predictions for row in _rows(answer.model, prediction)]
    if style == "csv":
        click.echo(to_csv(rows), nl=False)
        return
    for row in rows:
        row["input"] = shorten(str(row["input"]), _SHOWN)
    columns = [name for name in rows[0] if name != "rank" or any(r["rank"] > 1 for r in rows)]
    table(rows, columns)


def _rows(model: Model, prediction: Prediction) -> list[dict[str, Any]]:
    if model.kind == "value":
        return [{"input": prediction.input, "value": prediction.value}]
    named = prediction.classes or ((None, None),)
    return [
        {"input": prediction.input, "rank": rank, "class": name, "probability": share}
        for rank, (name, share) in enumerate(named, 1)
    ]


@app.command()
@click.argument("model")
@click.argument("data")
@click.option(
    "--split",
    type=click.Choice(_SPLITS),
    help="Split to measure on.  [default: test of the data MODEL was trained on; of other data all items "
    "that it has not learnt from]",
)
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="PNG", help="Write the confusion matrix as a PNG."
)
@click.option("--force", is_flag=True, help="Replace an existing file of --plot.")
@column_options
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def evaluate(context: CommandContext, /, model: str, data: str, as_json: bool, **given: Any) -> None:
    """Measure MODEL on labelled DATA.

    Prints accuracy, F1, calibration and confused classes. MODEL is as for predict, DATA as for query. Of
    the data that MODEL was trained on, only the test split is used; of other data, items that it was
    trained on or validated with are left out. Classes are matched by name.

    \b
    Example:
      expertise-graph evaluate runs/first my-images --plot confusion.png
    """
    plot = _plotter(given["plot"], force=given["force"])
    with Bars() as bars, context.workspace(bars, must_exist=False) as workspace:
        opened = workspace.model(model, trust_code=given["trust_code"])
        labelled = workspace.read_as_trained(opened, data, columns=columns_from(given))
        report_data(labelled, FORM, context.verbose)
        found = workspace.evaluate(opened, labelled, split=given["split"])
    if plot is not None:
        if found.kind != "class":
            raise InvalidInputError(
                f"--plot is for models with one class per item; {model} is of the kind {found.kind}"
            )
        plot(found.confusion, opened.classes, given["plot"])
        click.echo(printable(f"confusion matrix in {given['plot']}"), err=True)
    if as_json:
        emit_json({**views.evaluation_json(opened, found, FORM), "data": views.data_json(labelled, FORM)})
    else:
        _show_evaluation(found)


def _plotter(path: Path | None, *, force: bool) -> Callable[[Any, Sequence[str], Path], None] | None:
    """Return what draws; a path that cannot be written is refused before the model runs."""
    if path is None:
        return None
    from expertise_graph.plots import draw_confusion

    check_output(path, "plot", force=force)
    return draw_confusion


def _show_evaluation(found: Evaluation) -> None:
    for note in found.notes:
        click.echo(printable(in_options(note)))
    for name, value in found.metrics.items():
        if name.endswith("_uncalibrated"):
            continue
        before = found.metrics.get(f"{name}_uncalibrated")
        more = "" if before in (None, value) else f"  ({before:.3f} before temperature scaling)"
        if name == "accuracy" and found.interval:
            more = f"  (95 % interval {found.interval[0]:.3f}-{found.interval[1]:.3f})"
        shown = "undefined" if value is None else f"{value:.3f}"
        click.echo(f"{name.replace('_', ' '):<24}{shown}{more}")
    if found.classes:
        columns = ("precision", "recall", "f1", "support")
        rows = [{"class": s.name} | {name: getattr(s, name) for name in columns} for s in found.classes]
        emit(rows, None, columns=("class", *columns))
    for name, other, items in found.confused[:_CONFUSED]:
        click.echo(printable(f"{items} of {name} predicted as {other}"))


@app.command()
@click.argument("what", metavar="PATH|MODEL")
@click.option(
    "--format",
    "kind",
    help="graphml, gexf, gml or json for the graph (default: the suffix of PATH); onnx or torch-export for a "
    "model.",
)
@click.option("--out", type=click.Path(path_type=Path), help="File to write a model to.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@trust_option
@pass_context
def export(
    context: CommandContext, what: str, kind: str | None, out: Path | None, force: bool, trust_code: bool
) -> None:
    """Export the graph to PATH, or MODEL as ONNX or torch.export.

    The graph is for networkx, Gephi and others. MODEL is as for predict; the exported file is run on real
    inputs and compared with the model; its inputs and classes are described in FILE.json.

    \b
    Example:
      expertise-graph export graph.graphml
      expertise-graph export runs/first --format torch-export --out first.pt2
    """
    if kind in _MODEL_FORMATS:
        if out is None:
            raise click.UsageError(f"--format {kind} needs --out FILE")
        with context.workspace(must_exist=False) as workspace:
            done = workspace.export_model(what, out, format=kind, force=force, trust_code=trust_code)
        compared = f"differ by at most {done.difference:.1e} ({done.relative:.0e} relative)"
        click.echo(
            printable(
                f"{done.path}: its logits on {done.checked} real inputs {compared}; inputs and classes are "
                f"described in {done.description}"
            ),
            err=True,
        )
        return
    if out is not None:
        raise click.UsageError(
            f"--out is for --format {' and '.join(_MODEL_FORMATS)}; for the graph give the path alone"
        )
    with context.workspace() as workspace:
        graph = workspace.export_graph(what, kind, force=force)
    click.echo(f"{what}: {graph.number_of_nodes()} nodes, {graph.number_of_edges()} edges", err=True)
