"""The predict command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from expertise_graph.cli.app import Context, app, pass_context
from expertise_graph.cli.output import clean, emit_json, table, to_csv
from expertise_graph.cli.parameters import item_column, item_column_options, trust_option
from expertise_graph.cli.progress import Bars
from expertise_graph.core import DatasetError, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from expertise_graph.data import Record
    from expertise_graph.inference import Model, Prediction

SHOWN = 60


def open_named(context: Context, name: str, trust_code: bool) -> Model:
    """Open the model in a folder, or the one that the registry knows by this name."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _in_registry(context, name)
    # Not before the folder is known: it loads torch, which a mistyped name should not wait for.
    from expertise_graph.inference import open_model

    return open_model(folder, trust_code=trust_code)


def _in_registry(context: Context, name: str) -> Path:
    from expertise_graph.inference import find_model
    from expertise_graph.store import find_workspace

    try:
        find_workspace(context.workspace_path)
    except NotFoundError as error:
        raise NotFoundError(
            f"there is no folder {name}, and no registry to look the name up in: {error}"
        ) from error
    with context.store() as store:
        return find_model(store, name)


@app.command()
@click.argument("model")
@click.argument("inputs", nargs=-1)
@click.option("--text", "texts", multiple=True, help="A text to classify; may be repeated.")
@item_column_options
@click.option(
    "--top", default=1, show_default=True, type=click.IntRange(1), help="Likeliest classes to name."
)
@click.option(
    "--threshold",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Least probability of a label, for models that give several.",
)
@trust_option
@click.option("--csv", "style", flag_value="csv", help="Print CSV, a row for each input and class.")
@click.option("--json", "style", flag_value="json", help="Print JSON.")
@pass_context
def predict(
    context: Context, /, model: str, inputs: tuple[str, ...], style: str | None, **given: Any
) -> None:
    """Classify INPUTS with MODEL: the folder of a warm start, or its child or run in the registry.

    INPUTS are images, folders of images, texts, a .txt with one text a line, tables, or - for lines on
    standard input (texts, or paths of images). What cannot be read is skipped, and the exit code is 1.

    \b
    Example:
      expertise-graph predict runs/first my-images --top 3
    """
    from expertise_graph.inference import predict as run

    with Bars() as bars:
        opened = open_named(context, model, given["trust_code"])
        records, unread = _gather(opened, inputs, given)
        found, skipped = run(
            opened, records, top=given["top"], threshold=given["threshold"], progress=bars.update
        )
    skipped = [*unread, *skipped]
    for what, why in skipped:
        click.echo(clean(f"skipped {what}: {why}"), err=True)
    if not found:
        raise DatasetError(f"none of {len(skipped)} inputs could be read")
    _show_predictions(opened, found, skipped, style)
    if skipped:
        sys.exit(1)


def _gather(
    model: Model, inputs: tuple[str, ...], given: dict[str, Any]
) -> tuple[list[Record], list[tuple[str, str]]]:
    """Return what is to be classified, and what could not be taken."""
    from expertise_graph.data import (
        Columns,
        Record,
        decode_utf8,
        known_modalities,
        plural_of,
        read_argument,
        read_lines,
    )

    if given["texts"] and not known_modalities[model.modality].written_out:
        raise InvalidInputError(
            f"{model.folder} takes {plural_of(model.modality)}: give files or folders, not --text"
        )
    if not inputs and not given["texts"]:
        raise click.UsageError("nothing to classify: give files, folders, - for standard input, or --text")
    modality, item = item_column(given)
    columns = Columns(item=item, modality=modality)
    records = [Record(where=text, item=text, label=None) for text in given["texts"]]
    skipped: list[tuple[str, str]] = []
    for name in inputs:
        if name == "-":
            lines = decode_utf8(sys.stdin.buffer.read(), "standard input")
            raw = read_lines(lines, modality=model.modality)
        else:
            raw = read_argument(name, modality=model.modality, columns=columns)
        records += raw.records
        skipped += raw.skipped
    return records, skipped


def _show_predictions(
    model: Model, found: list[Prediction], skipped: list[tuple[str, str]], style: str | None
) -> None:
    if style == "json":
        emit_json(predictions_json(model, found, skipped))
        return
    rows = [row for prediction in found for row in _rows(model, prediction)]
    if style == "csv":
        click.echo(to_csv(rows), nl=False)
        return
    for row in rows:
        row["input"] = _short(str(row["input"]))
    columns = [name for name in rows[0] if name != "rank" or any(r["rank"] > 1 for r in rows)]
    table(rows, columns)


def predictions_json(
    model: Model, found: Sequence[Prediction], skipped: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Return the documented JSON form of predictions."""
    return {
        "model": str(model.folder),
        "kind": model.kind,
        "temperature": model.temperature,
        "predictions": [
            {
                "input": p.input,
                "classes": [{"class": name, "probability": share} for name, share in p.classes],
                "value": p.value,
            }
            for p in found
        ],
        "skipped": [{"input": what, "reason": why} for what, why in skipped],
    }


def _rows(model: Model, prediction: Prediction) -> list[dict[str, Any]]:
    if model.kind == "value":
        return [{"input": prediction.input, "value": prediction.value}]
    named = prediction.classes or ((None, None),)
    return [
        {"input": prediction.input, "rank": rank, "class": name, "probability": share}
        for rank, (name, share) in enumerate(named, 1)
    ]


def _short(text: str) -> str:
    """Return the end of a path, or the beginning of a text, that fits a table."""
    if len(text) <= SHOWN:
        return text
    return f"...{text[-SHOWN + 3 :]}" if Path(text).suffix and " " not in text else f"{text[: SHOWN - 3]}..."
