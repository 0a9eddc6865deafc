"""The evaluate command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from expertise_graph.cli.app import Context, app, pass_context
from expertise_graph.cli.output import clean, emit, emit_json
from expertise_graph.cli.parameters import column_options, trust_option
from expertise_graph.cli.predict import open_named
from expertise_graph.cli.progress import Bars
from expertise_graph.cli.query import columns_from, report_skipped
from expertise_graph.core import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from expertise_graph.inference import Evaluation, Model

SPLITS = ("test", "validation", "train", "all")


@app.command()
@click.argument("model")
@click.argument("data")
@click.option("--split", type=click.Choice(SPLITS), help="Items to judge on; by default those new to MODEL.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="PNG", help="Draw what is confused.")
@column_options
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def evaluate(context: Context, /, model: str, data: str, as_json: bool, **given: Any) -> None:
    """Measure MODEL on labelled DATA: accuracy, F1, calibration, and what it confuses.

    MODEL is as for predict, DATA as for query. Of the data it was trained on only the items that were
    kept for the test are used; classes are matched by name.

    \b
    Example:
      expertise-graph evaluate runs/first my-images --plot confusion.png
    """
    from expertise_graph.data import read_data
    from expertise_graph.inference import evaluate as run
    from expertise_graph.models import download_dataset

    plot = _drawing(given["plot"])
    with Bars() as bars:
        opened = open_named(context, model, given["trust_code"])
        labelled = read_data(data, columns=columns_from(given), download=download_dataset)
        report_skipped(labelled.skipped, context.verbose)
        found = run(opened, labelled, split=given["split"], progress=bars.update)
    if plot is not None:
        if found.kind != "class":
            raise InvalidInputError(f"--plot draws one class an item; {model} is of the kind {found.kind}")
        plot(found.confusion, opened.classes, given["plot"])
        click.echo(clean(f"drawn to {given['plot']}"), err=True)
    if as_json:
        emit_json(evaluation_json(opened, found))
    else:
        show_evaluation(found)


def _drawing(path: Path | None) -> Any:
    """Return what draws, before anything is run for nothing."""
    if path is None:
        return None
    from expertise_graph.plots import draw_confusion

    if not path.absolute().parent.is_dir():
        raise NotFoundError(f"there is no folder {path.absolute().parent} to draw into")
    return draw_confusion


def evaluation_json(model: Model, found: Evaluation) -> dict[str, Any]:
    """Return the documented JSON form of an evaluation."""
    return {
        "model": str(model.folder),
        "kind": found.kind,
        "n": found.n,
        "split": found.split,
        "metrics": dict(found.metrics),
        "interval_95": list(found.interval) if found.interval else None,
        "temperature": model.temperature,
        "classes": [score.__dict__ for score in found.classes],
        "confused": [{"class": a, "predicted": b, "items": n} for a, b, n in found.confused],
        "labels": list(model.classes),
        "confusion": found.confusion.tolist(),
        "notes": list(found.notes),
    }


def show_evaluation(found: Evaluation) -> None:
    """Print an evaluation for people."""
    for note in found.notes:
        click.echo(clean(note))
    for name, value in found.metrics.items():
        if name.endswith("_uncalibrated"):
            continue
        before = found.metrics.get(f"{name}_uncalibrated")
        more = "" if before in (None, value) else f"  ({before:.3f} before the temperature)"
        if name == "accuracy" and found.interval:
            more = f"  (95 % interval {found.interval[0]:.3f}-{found.interval[1]:.3f})"
        shown = "undefined" if value is None else f"{value:.3f}"
        click.echo(f"{name.replace('_', ' '):<24}{shown}{more}")
    if found.classes:
        emit(
            [
                {"class": s.name, **{k: v for k, v in s.__dict__.items() if k != "name"}}
                for s in found.classes
            ],
            None,
            columns=("class", "precision", "recall", "f1", "support"),
        )
    for name, other, count in found.confused[:5]:
        click.echo(clean(f"{count} of {name} taken for {other}"))
