"""Commands that bring the user's own history: history, scores and meta import, tasks import-distance."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from expertise_graph.cli.app import Context, pass_context
from expertise_graph.cli.history import history, meta, scores, tasks
from expertise_graph.cli.output import clean, emit_json

if TYPE_CHECKING:
    from expertise_graph.registry import File, ImportReport
    from expertise_graph.store import Store

_WHAT = {
    "expert": "experts",
    "task": "tasks",
    "other": "tasks that the distance leads to",
    "metric": "metrics' names",
    "estimator": "estimators' names",
    "value": "values",
    "distance": "distances",
    "seed": "seeds",
    "n_train": "numbers of training items",
    "method": "methods, e.g. how it was fine-tuned",
    "seconds": "seconds it took",
    "date": "dates",
    "n": "numbers of test items",
}


def _import_options(*roles: str) -> Callable[[Any], Any]:
    """Add the file, the options that map columns to roles, and those that all imports share."""

    def add(command: Any) -> Any:
        decorators: tuple[Callable[[Any], Any], ...] = (
            click.option("--json", "as_json", is_flag=True, help="Print what was read as JSON."),
            click.option("--dry-run", is_flag=True, help="Check everything and write nothing."),
            click.option(
                "--skip-invalid", is_flag=True, help="Leave out and count rows that cannot be read."
            ),
            click.option("--modality", help="Of what is new: image, text; by default that of the known."),
            click.option("--ignore", multiple=True, metavar="NAME", help="Column to leave out; repeatable."),
            *(_column_option(role) for role in reversed(roles)),
            click.argument("file"),
        )
        for decorate in decorators:
            command = decorate(command)
        return command

    return add


def _column_option(role: str) -> Callable[[Any], Any]:
    option, target = f"--{role.replace('_', '-')}-column", f"column_{role}"
    text = f"Column with the {_WHAT[role]}, if not called {role}."
    return click.option(option, target, metavar="NAME", help=text)


@history.command("import")
@_import_options("expert", "task", "metric", "value", "seed", "n_train", "method", "seconds", "date", "n")
@click.option("--metric", help="Metric of all rows, instead of a column.")
@click.option(
    "--unit",
    type=click.Choice(["auto", "fraction", "percent"]),
    default="auto",
    show_default=True,
    help="Of accuracies and the like.",
)
@click.option("--lower-is-better", multiple=True, metavar="METRIC", help="As for a loss; repeatable.")
@click.option("--higher-is-better", multiple=True, metavar="METRIC", help="Though not called so; repeatable.")
@click.option("--wide", is_flag=True, help="Every column but the expert's is a task; needs --metric.")
@pass_context
def history_import(context: Context, /, file: str, as_json: bool, **given: Any) -> None:
    """Import measured results: expert, task, metric, value, one a row.

    Also read where present: seed, n_train, method, seconds, date, n (test items). FILE is CSV or
    TSV, - for stdin. Experts and tasks that are not registered become nodes known by name only.

    \b
    Example:
      expertise-graph history import results.csv
    """
    from expertise_graph.registry import HistoryOptions, import_history

    options = HistoryOptions(**_given(given))
    _run(context, as_json, lambda store: import_history(store, _open(file), options))


@scores.command("import")
@_import_options("expert", "task", "estimator", "value", "seconds")
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="Other name of an estimator; repeatable.")
@click.option("--wide", is_flag=True, help="Every column but the expert's and the task's is an estimator.")
@pass_context
def scores_import(
    context: Context, /, file: str, as_json: bool, rename: tuple[str, ...], **given: Any
) -> None:
    """Import transferability scores (higher is better): expert, task, estimator, value, one a row.

    \b
    Example:
      expertise-graph scores import scores.csv
    """
    from expertise_graph.registry import ScoreOptions, import_scores

    options = ScoreOptions(**_given(given), rename=dict(_pairs(rename)))
    _run(context, as_json, lambda store: import_scores(store, _open(file), options))


@meta.command("import")
@_import_options("expert")
@pass_context
def meta_import(context: Context, /, file: str, as_json: bool, **given: Any) -> None:
    """Import covariates: one row for each expert, every other column is one.

    \b
    Example:
      expertise-graph meta import models.csv --expert-column model
    """
    from expertise_graph.registry import ImportOptions, import_meta

    options = ImportOptions(**_given(given))
    _run(context, as_json, lambda store: import_meta(store, _open(file), options))


@tasks.command("import-distance")
@_import_options("task", "other", "distance")
@click.option("--method", default="imported", show_default=True, help="What kind of distance it is.")
@pass_context
def tasks_import_distance(context: Context, /, file: str, as_json: bool, **given: Any) -> None:
    """Import distances between tasks: task, other, distance, one a row; or a matrix.

    A matrix has names in its first column and in its header; it need not be square.

    \b
    Example:
      expertise-graph tasks import-distance distances.csv
    """
    from expertise_graph.registry import DistanceOptions, import_distances

    options = DistanceOptions(**_given(given))
    _run(context, as_json, lambda store: import_distances(store, _open(file), options))


def _given(given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the options class, with the columns as a mapping."""
    columns = {k.removeprefix("column_"): v for k, v in given.items() if k.startswith("column_") and v}
    return {"columns": columns, **{k: v for k, v in given.items() if not k.startswith("column_")}}


def _open(file: str) -> File:
    return sys.stdin.buffer if file == "-" else file


def _pairs(rename: Iterable[str]) -> Iterable[tuple[str, str]]:
    for text in rename:
        old, mark, new = text.partition("=")
        if not (old and mark and new):
            raise click.BadParameter(f"{text!r} is not OLD=NEW", param_hint="--rename")
        yield old, new


def _run(context: Context, as_json: bool, work: Callable[[Store], ImportReport]) -> None:
    with context.store() as store:
        report = work(store)
    if as_json:
        emit_json(dataclasses.asdict(report))
        return
    for line in report.lines():
        click.echo(clean(line))
