"""The backtest command."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from expertise_graph.cli.app import Context, app, pass_context
from expertise_graph.cli.output import clean, emit, emit_json
from expertise_graph.cli.parameters import SEED
from expertise_graph.cli.progress import Bars

if TYPE_CHECKING:
    from expertise_graph.retrieval import Backtest, Task

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
    help="Hide all results of a task, or also all of a fold of the experts.",
)
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2), help="Folds of experts.")
@click.option("--seed", default=0, show_default=True, type=SEED, help="Of folds and intervals.")
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
def backtest(context: Context, /, predictions: str | None, as_json: bool, **given: Any) -> None:
    """Ask how well the registry would have predicted its own measured results.

    Each task in turn is held out with all its results, predicted from everything else, and
    compared with what was measured, beside simple methods that see the same.

    \b
    Example:
      expertise-graph backtest --predictions predictions/
    """
    from expertise_graph.retrieval import backtest as run
    from expertise_graph.retrieval import read_baseline, read_plan

    path, column = given.pop("baseline"), given.pop("baseline_column")
    baseline = read_baseline(path, column) if path else {}
    with context.store() as store, Bars() as bars:
        only = [store.find_task(name).id for name in given.pop("only")]
        history, plan = read_plan(store, baseline=baseline, only=only, **given)
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
        "tasks": [_task_json(t, m) for t, m in zip(report.tasks, report.metrics, strict=True)],
        "methods": {method: dict(metrics) for method, metrics in report.table.items()},
        "ours_minus": {
            method: {m: {"low": low, "high": high} for m, (low, high) in found.items()}
            for method, found in report.difference.items()
        },
        "folds": [list(fold) for fold in report.folds],
    }


def _task_json(task: Task, metrics: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    return {
        "task": task.id,
        "name": task.name,
        "experts": len(task.experts),
        "pick": task.pick,
        "best": task.best,
        "complementary": [task.experts[i] for i in task.first],
        "baseline": task.baseline,
        "methods": {method: dict(found) for method, found in metrics.items()},
    }


def _show(report: Backtest) -> None:
    gains = [g for g in GAINS if any(g in m for m in report.table.values())]
    behind = Counter(method for found in report.metrics for method in found)
    rows = [{"method": name, "tasks": behind[name], **found} for name, found in report.table.items()]
    what = "a task" if report.by == "task" else "a task and a fold of the experts"
    emit(rows, None, columns=(*COLUMNS, *gains), title=f"{len(report.tasks)} tasks, {what} held out")
    rival = next((name for name in RIVALS if name in report.difference), None)
    for metric, (low, high) in report.difference[rival].items() if rival else ():
        click.echo(f"ours minus {rival}, {metric}: {low:+.3f} to {high:+.3f} (95 %)")
    covered = report.table["ours"]["coverage"]
    click.echo(
        f"the 80 % intervals of ours hold {covered:.0%} of the results, in units of each task's spread"
    )


def _write(folder: Path, report: Backtest, names: Mapping[str, str]) -> None:
    """Write the predictions of each task; experts that share a name are given by id."""
    folder.mkdir(parents=True, exist_ok=True)
    shared = Counter(names.values())
    for task, file in zip(report.tasks, _file_names(report.tasks), strict=True):
        pairs = zip(task.experts, task.predicted["ours"], strict=True)
        with (folder / file).open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(["model", "score"])
            for expert, score in sorted(pairs, key=lambda pair: -pair[1]):
                model = names.get(expert, expert)
                writer.writerow([model if shared[model] == 1 else expert, f"{score:.9g}"])


def _file_names(tasks: Sequence[Task]) -> list[str]:
    """Return a file name for each task, none twice also where upper case does not count."""
    found: list[str] = []
    for task in tasks:
        name = clean(task.name).replace("/", "_").replace("\\", "_")[:_LONGEST_NAME]
        taken = {other.casefold() for other in found}
        tries = (f"{name}{suffix}.csv" for suffix in ("", *(f"-{n}" for n in range(2, len(tasks) + 2))))
        found.append(next(file for file in tries if file.casefold() not in taken))
    return found
