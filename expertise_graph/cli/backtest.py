"""The backtest command."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from expertise_graph.cli.app import Context, app, pass_context
from expertise_graph.cli.output import clean, emit, emit_json
from expertise_graph.cli.progress import Bars
from expertise_graph.errors import InvalidInputError

if TYPE_CHECKING:
    from expertise_graph.backtest import Backtest, Task

COLUMNS = ("method", "pearson", "tau_w", "rel@1", "regret@1", "regret@3", "regret@5", "ndcg")
GAINS = ("gain@1", "gain@5")


@app.command()
@click.option(
    "--by",
    default="task",
    show_default=True,
    type=click.Choice(["task", "expert"]),
    help="Hide all results of a task, or also all of a fold of the experts.",
)
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2), help="Folds of experts.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of folds and intervals.")
@click.option(
    "--baseline",
    metavar="FILE.csv",
    help="What the vanilla start gives, as columns task and value; adds gain@1 and gain@5.",
)
@click.option("--baseline-column", default="value", show_default=True, help="Its column with the value.")
@click.option("--task", "only", multiple=True, help="Only hold out this task; may be repeated.")
@click.option(
    "--predictions", metavar="DIR", type=click.Path(file_okay=False), help="Write TASK.csv: model, score."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def backtest(context: Context, /, by: str, predictions: str | None, as_json: bool, **given: Any) -> None:
    r"""Ask how well the registry would have predicted its own measured results.

    Each task in turn is held out with all its results, predicted from everything else, and
    compared with what was measured, beside simple methods that see the same.

    \b
    Example:
      expertise-graph backtest --predictions predictions/
    """
    from expertise_graph.backtest import backtest as run
    from expertise_graph.backtest import read_plan

    baseline = _baseline(Path(given["baseline"]), given["baseline_column"]) if given["baseline"] else {}
    with context.store() as store, Bars() as bars:
        only = [store.find_task(name).id for name in given["only"]]
        history, plan = read_plan(
            store, by=by, folds=given["folds"], seed=given["seed"], baseline=baseline, only=only
        )
        names = {e.id: e.name for e in store.experts()}
        report = run(history, plan, bars.update)
    if predictions is not None:
        _write(Path(predictions), report, names)
    if as_json:
        emit_json(backtest_json(report))
    else:
        _show(report)


def backtest_json(report: Backtest) -> dict[str, Any]:
    """Return the documented JSON form of a back-test."""
    return {
        "by": report.by,
        "tasks": [_task_json(task) for task in report.tasks],
        "methods": {method: dict(metrics) for method, metrics in report.table.items()},
        "ours_minus_history_mean": {
            m: {"low": low, "high": high} for m, (low, high) in report.difference.items()
        },
    }


def _task_json(task: Task) -> dict[str, Any]:
    return {
        "task": task.id,
        "name": task.name,
        "experts": len(task.experts),
        "pick": task.pick,
        "best": task.best,
        "complementary": [task.experts[i] for i in task.first],
    }


def _show(report: Backtest) -> None:
    gains = [g for g in GAINS if any(g in m for m in report.table.values())]
    rows = [{"method": method, **metrics} for method, metrics in report.table.items()]
    what = "a task" if report.by == "task" else "a task and a fold of the experts"
    emit(rows, None, columns=(*COLUMNS, *gains), title=f"{len(report.tasks)} tasks, {what} held out")
    for metric, (low, high) in report.difference.items():
        click.echo(f"ours minus history mean, {metric}: {low:+.3f} to {high:+.3f} (95 %)")
    covered = report.table["ours"]["coverage"]
    click.echo(
        f"the 80 % intervals of ours hold {covered:.0%} of the results, in units of each task's spread"
    )


def _write(folder: Path, report: Backtest, names: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for task in report.tasks:
        path = folder / f"{clean(task.name).replace('/', '_')}.csv"
        with path.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(["model", "score"])
            pairs = zip(task.experts, task.predicted["ours"], strict=True)
            for expert, score in sorted(pairs, key=lambda pair: -pair[1]):
                writer.writerow([names.get(expert, expert), f"{score:.6f}"])


def _baseline(path: Path, column: str) -> dict[str, float]:
    """Return the value of the vanilla start by task."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    if not rows or "task" not in rows[0] or column not in rows[0]:
        there = ", ".join(rows[0]) if rows else "nothing"
        raise InvalidInputError(
            f"{path} needs the columns task and {column}, it has {there}; name the second with "
            "--baseline-column"
        )
    try:
        return {row["task"]: float(row[column]) for row in rows}
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{path}: a {column} is not a number; correct it") from error
