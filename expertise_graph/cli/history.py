"""Commands about measured results: history and tasks ls, and the imports of results, scores and the like."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

import expertise_graph as xg
from expertise_graph import views
from expertise_graph.cli.app import CommandContext, app, in_options, pass_context
from expertise_graph.cli.output import emit, emit_json, listing_options, removal_options, show_withdrawn
from expertise_graph.core import count, printable

if TYPE_CHECKING:
    from typing import BinaryIO

    from expertise_graph import ImportReport


@app.group()
def history() -> None:
    """Measured results of experts on tasks."""


@app.group()
def scores() -> None:
    """Transferability scores of experts on tasks."""


@app.group()
def meta() -> None:
    """Covariates of experts, such as their training data."""


@app.group()
def tasks() -> None:
    """The tasks that experts were measured or scored on."""


@history.command("ls")
@click.option("--task", help="Only results on this task, by name, id or path.")
@click.option("--expert", help="Only results of this expert, by name or id.")
@listing_options
@pass_context
def history_ls(context: CommandContext, task: str | None, expert: str | None, style: str | None) -> None:
    """List the measured results by task and metric, best first.

    \b
    Example:
      expertise-graph history ls --task pets
    """
    with context.workspace() as workspace:
        found = workspace.history(task=task, expert=expert)
        names = workspace.names({end for edge in found for end in (edge.source, edge.target)})
        known_from = [workspace.known_from(edge) for edge in found]
    rows = [views.result_json(edge, names, by) for edge, by in zip(found, known_from, strict=True)]
    columns = (
        *("expert", "task", "metric", "value", "method", "seed", "n_train", "n", "seconds", "known_from"),
        "origin",
    )
    emit(rows, style, columns=columns)


@history.command("rm")
@click.option("--task", help="Only results on this task, by name, id or path.")
@click.option("--expert", help="Only results of this expert, by name or id.")
@click.option("--metric", help="Only results of this metric.")
@click.option("--method", help="Only results of this method: imported, race, auto or a training strategy.")
@click.option("--origin", help="Only results of this file or run, as history ls names it.")
@removal_options
@pass_context
def history_rm(context: CommandContext, /, dry_run: bool, as_json: bool, **which: str | None) -> None:
    """Take back measured results, by what they are of.

    Those go that meet all conditions given; experts and tasks that only imported results named go with the
    last of them. A training run and its child stay: they are taken back by runs rm.

    \b
    Example:
      expertise-graph history rm --origin results.csv
    """
    with context.workspace() as workspace:
        found = workspace.remove_results(dry_run=dry_run, **which)
        runs = {run.id for run in workspace.runs()} & {edge.run for edge in found.results}
    show_withdrawn(found, as_json)
    if runs and not as_json:
        click.echo(f"{count(len(runs), 'training run')} and what they left stay: see runs rm", err=True)


@tasks.command("ls")
@listing_options
@pass_context
def tasks_ls(context: CommandContext, style: str | None) -> None:
    """List the tasks with their numbers of results and scores.

    \b
    Example:
      expertise-graph tasks ls
    """
    with context.workspace() as workspace:
        rows = [views.task_json(task) for task in workspace.tasks()]
    emit(rows, style, columns=("name", "modality", "items", "classes", "results", "scores"))


# Imports

_WHAT = {
    "expert": "experts",
    "task": "tasks",
    "other": "tasks that the distance leads to",
    "metric": "names of the metrics",
    "estimator": "names of the estimators",
    "value": "values",
    "distance": "distances",
    "seed": "random seeds",
    "n_train": "numbers of training items",
    "method": "training methods",
    "seconds": "training times in seconds",
    "date": "dates",
    "n": "numbers of test items",
}


def _import_options(*roles: str) -> Callable[[Any], Any]:
    """Add the file, the options that map columns to roles, and those that all imports share."""

    def add(command: Any) -> Any:
        decorators: tuple[Callable[[Any], Any], ...] = (
            click.option("--json", "as_json", is_flag=True, help="Print a summary of the import as JSON."),
            click.option("--dry-run", is_flag=True, help="Check the file and store nothing."),
            click.option(
                "--skip-invalid",
                is_flag=True,
                help="Skip and count rows that cannot be read, instead of failing.",
            ),
            click.option(
                "--modality",
                help="Modality of new experts and tasks: image or text.  [default: that of known ones]",
            ),
            click.option("--ignore", multiple=True, metavar="NAME", help="Column to ignore; repeatable."),
            *(_column_option(role) for role in reversed(roles)),
            click.argument("file"),
        )
        for decorate in decorators:
            command = decorate(command)
        return command

    return add


def _column_option(role: str) -> Callable[[Any], Any]:
    return click.option(
        f"--{role.replace('_', '-')}-column",
        f"column_{role}",
        metavar="NAME",
        help=f"Column with the {_WHAT[role]}.  [default: {role}]",
    )


@history.command("import")
@_import_options("expert", "task", "metric", "value", "seed", "n_train", "method", "seconds", "date", "n")
@click.option(
    "--from",
    "source",
    type=click.Choice(["mlflow", "wandb", "timm", "mteb", "eval-ever", "table"]),
    help="Tool or leaderboard that FILE is from; table for none.  [default: told by what is in it]",
)
@click.option(
    "--metric",
    help="Metric of all rows, if there is no such column, e.g. accuracy; of an export the metric to read.",
)
@click.option("--task", help="Task of all rows, if there is no such column.")
@click.option(
    "--unit",
    type=click.Choice(["auto", "fraction", "percent"]),
    default="auto",
    show_default=True,
    help="Unit of accuracies and other metrics between 0 and 1.",
)
@click.option(
    "--lower-is-better", multiple=True, metavar="METRIC", help="Metric that is better when lower; repeatable."
)
@click.option(
    "--higher-is-better",
    multiple=True,
    metavar="METRIC",
    help="Metric that is better when higher though its name says loss or error; repeatable.",
)
@click.option(
    "--wide", is_flag=True, help="One column per task instead of one row per result; needs --metric."
)
@pass_context
def history_import(context: CommandContext, /, file: str, as_json: bool, **given: Any) -> None:
    """Import measured results of experts on tasks.

    FILE is a table of commas, semicolons, tabs or pipes, - for stdin, with columns expert, task, metric,
    value; optional are seed, n_train, method, seconds, date, n (test items); or an export of MLflow,
    Weights & Biases or timm; or results of MTEB or Every Eval Ever in JSON, a file or a folder of them.
    Experts and tasks that are not registered become nodes known by name only.

    \b
    Examples:
      expertise-graph history import results.csv
      expertise-graph history import runs.csv --from mlflow
      expertise-graph history import ./results --from mteb
    """
    with context.workspace() as workspace:
        report = workspace.import_history(_open(file), xg.HistoryOptions(**_given(given)))
    _show(report, as_json)


@scores.command("import")
@_import_options("expert", "task", "estimator", "value", "seconds")
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="Rename an estimator; repeatable.")
@click.option("--wide", is_flag=True, help="One column per estimator instead of one row per score.")
@pass_context
def scores_import(
    context: CommandContext, /, file: str, as_json: bool, rename: tuple[str, ...], **given: Any
) -> None:
    """Import transferability scores of experts on tasks.

    FILE is CSV or TSV, - for stdin, with columns expert, task, estimator, value; higher is better.

    \b
    Example:
      expertise-graph scores import scores.csv
    """
    options = xg.ScoreOptions(**_given(given), rename=dict(_pairs(rename)))
    with context.workspace() as workspace:
        report = workspace.import_scores(_open(file), options)
    _show(report, as_json)


@meta.command("import")
@_import_options("expert")
@pass_context
def meta_import(context: CommandContext, /, file: str, as_json: bool, **given: Any) -> None:
    """Import covariates of experts.

    FILE is CSV or TSV, - for stdin, with one row per expert; every other column is a covariate.

    \b
    Example:
      expertise-graph meta import models.csv --expert-column model
    """
    with context.workspace() as workspace:
        report = workspace.import_meta(_open(file), xg.ImportOptions(**_given(given)))
    _show(report, as_json)


@tasks.command("import-distance")
@_import_options("task", "other", "distance")
@click.option("--method", default="imported", show_default=True, help="Name of the distance measure.")
@pass_context
def tasks_import_distance(context: CommandContext, /, file: str, as_json: bool, **given: Any) -> None:
    """Import distances between tasks.

    FILE is CSV or TSV, - for stdin, with columns task, other, distance; or a matrix, which has task names
    in its first column and its header; it need not be square.

    \b
    Example:
      expertise-graph tasks import-distance distances.csv
    """
    with context.workspace() as workspace:
        report = workspace.import_distances(_open(file), xg.DistanceOptions(**_given(given)))
    _show(report, as_json)


def _given(given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the options class, with the columns as a mapping."""
    columns = {k.removeprefix("column_"): v for k, v in given.items() if k.startswith("column_") and v}
    return {"columns": columns, **{k: v for k, v in given.items() if not k.startswith("column_")}}


def _open(file: str) -> str | BinaryIO:
    return sys.stdin.buffer if file == "-" else file


def _pairs(rename: Iterable[str]) -> Iterable[tuple[str, str]]:
    for text in rename:
        old, mark, new = text.partition("=")
        if not (old and mark and new):
            raise click.BadParameter(f"{text!r} is not OLD=NEW", param_hint="--rename")
        yield old, new


def _show(report: ImportReport, as_json: bool) -> None:
    if as_json:
        emit_json(views.import_json(report))
        return
    for line in report.lines():
        click.echo(printable(in_options(line)))
