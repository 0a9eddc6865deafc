"""The auto command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from expertise_graph.cli.app import INTERRUPTED, Context, app, pass_context
from expertise_graph.cli.output import clean, emit, emit_json
from expertise_graph.cli.parameters import SEED, Seconds, column_options, constraint_options, trust_option
from expertise_graph.cli.progress import Bars
from expertise_graph.cli.query import columns_from, constraints_from, report_skipped
from expertise_graph.cli.training import show_result, warm_start_json

if TYPE_CHECKING:
    from expertise_graph.tuning import AutoResult

COLUMNS = (
    "trial",
    "expert",
    "why_tried",
    "settings",
    "epochs",
    "validation",
    "loss",
    "seconds",
    "status",
)


@app.command()
@click.argument("data")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for the model and its record."
)
@click.option("--time-budget", required=True, type=Seconds(), help="Time for everything, e.g. 90s, 10m, 2h.")
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    help="Only this way to use the expert's weights, see warm-start; may be repeated.",
)
@click.option(
    "--experts", default=5, show_default=True, type=click.IntRange(1), help="How many may be tried at most."
)
@click.option(
    "--members",
    default=5,
    show_default=True,
    type=click.IntRange(1),
    help="How many networks the model may be made of; 1 for a single one.",
)
@click.option("--seed", default=0, show_default=True, type=SEED, help="Of splits, trainings and search.")
@click.option("--force", is_flag=True, help="Discard what an earlier search left in the folder.")
@constraint_options
@column_options
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def auto(context: Context, /, data: str, out: Path, as_json: bool, **given: Any) -> None:
    """Choose expert and settings for DATA within a time budget, and train and register the model.

    A query, short trainings judged on the validation split, then the best on all items but the
    test's. Ctrl-C finishes with the best so far; the same command goes on where it was killed.

    \b
    Example:
      expertise-graph auto ./my-images --out runs/auto --time-budget 6s
    """
    from expertise_graph.tuning import AutoSettings, discard_result

    chosen = {"strategies": given["strategies"]} if given["strategies"] else {}
    settings = AutoSettings(
        time_budget=given["time_budget"],
        seed=given["seed"],
        experts=given["experts"],
        members=given["members"],
        query=constraints_from(given),
        **chosen,
    )
    with Bars() as bars, context.workspace(bars) as workspace:
        labelled = workspace.read(data, columns=columns_from(given))
        report_skipped(labelled.skipped, context.verbose)
        if given["force"]:
            discard_result(out)
        result = workspace.auto(
            labelled, out, settings=settings, trust_code=given["trust_code"], started=context.started
        )
        names = workspace.store.names()
    if as_json:
        emit_json(auto_json(result))
    else:
        _show(result, names)
    if result.interrupted:
        sys.exit(INTERRUPTED)


def auto_json(result: AutoResult) -> dict[str, Any]:
    """Return the documented JSON form of a search."""
    plain = result.as_dict()
    return {
        **warm_start_json(result.model),
        "accuracy": result.accuracy,
        "members": plain["members"],
        "reason": result.reason,
        "chosen": list(result.chosen),
        "trials": plain["trials"],
        "experts_run": result.experts_run,
        "time_budget": result.time_budget,
        "total_seconds": result.seconds,
        "spent": dict(result.spent),
        "interrupted": result.interrupted,
        "notes": list(result.notes),
    }


def _show(result: AutoResult, names: dict[str, str]) -> None:
    from expertise_graph.tuning import settings_text

    rows = [
        {
            "id": trial.run,
            "trial": f"{number}{' *' if trial.run in result.chosen else ''}",
            "expert": trial.name,
            "why_tried": trial.origin,
            "settings": settings_text(trial),
            "epochs": trial.epochs,
            "validation": trial.accuracy,
            "loss": trial.loss,
            "seconds": trial.seconds,
            "status": trial.status + (", on record" if trial.recorded else ""),
        }
        for number, trial in enumerate(result.trials, 1)
    ]
    if rows:
        emit(rows, None, columns=COLUMNS, title="trials")
    if result.members:
        _show_members(result, names)
    else:
        show_result(result.model, names)
    click.echo(clean(f"{result.reason[:1].upper()}{result.reason[1:]}."))
    for note in result.notes:
        click.echo(clean(note))
    spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.spent.items())
    click.echo(f"{result.seconds:.1f} of {result.time_budget:g} s: {spent}")


def _show_members(result: AutoResult, names: dict[str, str]) -> None:
    """Print what several networks reach together and alone."""
    model = result.model
    metric = model.metric.replace("_", " ")
    click.echo(f"{len(result.members)} networks together: test {metric} {result.accuracy:.3f}")
    for member in result.members:
        expert = clean(names.get(member.expert, member.expert))
        click.echo(
            f"  {member.path:10} counts {member.weight:.2f}, alone {member.accuracy:.3f}: "
            f"{member.strategy} from {expert}"
        )
    child = clean(names.get(model.child, model.child))
    click.echo(f"model in {clean(model.path)}, its first network registered as {child}")
