"""The backtest command."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from expertise_graph import views
from expertise_graph.cli.app import CommandContext, app, pass_context
from expertise_graph.cli.output import Bars, emit, emit_json
from expertise_graph.cli.parameters import SEED
from expertise_graph.core import check_no_workspace, check_output, percent, printable, write_text

if TYPE_CHECKING:
    from expertise_graph import Backtest

COLUMNS = ("method", "tasks", "pearson", "tau_w", "ndcg", "rel@1", "regret@1", "regret@3", "regret@5")
GAINS = ("gain@1", "gain@5")
RIVALS = ("history mean", "best single estimator", "parameters", "random")
_LONGEST_NAME = 120


@app.command()
@click.option(
    "--by",
    default="task",
    show_default=True,
    type=click.Choice(["task", "expert"]),
    help="Hold out each task; with expert also a fold of the experts, as if they were new.",
)
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2), help="Folds of experts.")
@click.option(
    "--seed", default=0, show_default=True, type=SEED, help="Random seed of folds and confidence intervals."
)
@click.option(
    "--baseline",
    metavar="FILE.csv",
    help="Results of your usual starting model, in columns task and value; adds gain@1 and gain@5.",
)
@click.option(
    "--baseline-column", default="value", show_default=True, help="Column of --baseline with the results."
)
@click.option("--task", "tasks", multiple=True, help="Hold out only this task; repeatable.")
@click.option(
    "--predictions",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="Write the predictions as DIR/TASK.csv with columns model and score.",
)
@click.option("--force", is_flag=True, help="Replace existing files of --predictions.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def backtest(
    context: CommandContext, /, predictions: str | None, force: bool, as_json: bool, **given: Any
) -> None:
    """Backtest the ranking on the registry's measured results.

    Each task in turn is held out with all its results, predicted from everything else, and compared with
    what was measured, next to simple baselines that see the same data.

    \b
    Example:
      expertise-graph backtest --predictions predictions/
    """
    with Bars() as bars, context.workspace(bars) as workspace:
        report = workspace.backtest(**given)
        names = {e.id: e.name for e in workspace.experts()}
    if predictions is not None:
        _write(Path(predictions), report, names, force=force)
    if as_json:
        emit_json(views.backtest_json(report))
    else:
        _show(report)


def _show(report: Backtest) -> None:
    gains = [g for g in GAINS if any(g in m for m in report.table.values())]
    behind = Counter(method for found in report.metrics for method in found)
    rows = [{"method": name, "tasks": behind[name], **found} for name, found in report.table.items()]
    what = "a task" if report.by == "task" else "a task and a fold of the experts"
    emit(rows, None, columns=(*COLUMNS, *gains), title=f"{len(report.tasks)} tasks, {what} held out")
    rival = next((name for name in RIVALS if name in report.difference), None)
    for metric, (low, high) in report.difference[rival].items() if rival else ():
        click.echo(f"{metric} of ours minus {rival}: {low:+.3f} to {high:+.3f} (95 % interval)")
    covered = report.table["ours"]["coverage"]
    click.echo(f"coverage of our 80 % intervals: {percent(covered)} of the results")


def _write(folder: Path, report: Backtest, names: Mapping[str, str], *, force: bool) -> None:
    """Write the predictions of each task as CSV; experts that share a name are given by id."""
    shared = Counter(names.values())
    files = _file_names([task.name for task in report.tasks])
    check_no_workspace(folder, "predictions")
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        check_output(folder / file, "predictions", force=force)
    for task, file in zip(report.tasks, files, strict=True):
        rows = zip(task.listing, task.experts, task.predicted["ours"], strict=True)
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["model", "score"])
        for _, expert, score in sorted(rows, key=lambda row: -row[0]):
            model = names.get(expert, expert)
            writer.writerow([model if shared[model] == 1 else expert, f"{score:.9g}"])
        write_text(folder / file, out.getvalue())


def _file_names(tasks: Sequence[str]) -> list[str]:
    """Return a file name for each task, none twice, ignoring case as some file systems do."""
    found: list[str] = []
    for task in tasks:
        name = printable(task).replace("/", "_").replace("\\", "_")[:_LONGEST_NAME]
        taken = {other.casefold() for other in found}
        tries = (f"{name}{suffix}.csv" for suffix in ("", *(f"-{n}" for n in range(2, len(tasks) + 2))))
        found.append(next(file for file in tries if file.casefold() not in taken))
    return found
