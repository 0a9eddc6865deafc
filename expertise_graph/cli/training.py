"""Commands about training: warm-start and runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from expertise_graph.cli.app import Context, app, pass_context
from expertise_graph.cli.output import clean, emit, emit_json, listing_options
from expertise_graph.cli.parameters import Seconds, column_options, trust_option
from expertise_graph.cli.progress import Bars
from expertise_graph.cli.query import columns_from, report_skipped
from expertise_graph.cli.settings import config_options, save_settings

if TYPE_CHECKING:
    from expertise_graph.core import WarmStart
    from expertise_graph.training import TrainingProgress


@app.command("warm-start")
@click.argument("data")
@click.argument("launcher_arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENTS]")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for the model and its record."
)
@click.option("--expert", help="Expert to start from; by default the best of a query.")
@click.option(
    "--strategy",
    default="lp-ft",
    show_default=True,
    help="How the expert's weights are used: lp-ft, full, linear-probe, lora, l2-sp, bitfit, norm-only, "
    "gradual or from-scratch.",
)
@click.option("--epochs", default=20, show_default=True, type=int, help="Passes over the training items.")
@click.option("--time-budget", type=Seconds(), help="Stop before this much time, e.g. 90s, 10m.")
@click.option("--batch-size", default=32, show_default=True, type=int, help="Items a step.")
@click.option("--lr", default=1e-3, show_default=True, type=float, help="Peak learning rate of the head.")
@click.option("--seed", default=0, show_default=True, type=int, help="Of splits, batches and fresh weights.")
@click.option(
    "--accumulate", default=1, show_default=True, type=int, help="Parts that a step is computed in."
)
@click.option(
    "--prior",
    default=0.01,
    show_default=True,
    type=float,
    help="Strength of the pull of l2-sp to the expert.",
)
@click.option("--rank", default=8, show_default=True, type=int, help="Rank of the adapters of lora.")
@click.option(
    "--head",
    default="linear",
    show_default=True,
    type=click.Choice(["linear", "native"]),
    help="What the new head sees: the expert's features, or those that transformers' classifier sees, so "
    "that it reads the result.",
)
@click.option(
    "--into",
    metavar="ARCH",
    help="Train a smaller network of the expert's family from the expert's weights: shrink:0.5, an expert, "
    "hf:, dir:, timm: or factory: reference.",
)
@click.option(
    "--distill",
    default=0.0,
    show_default=True,
    type=float,
    help="Share of the loss that is the expert's answers instead of the labels, e.g. 0.5.",
)
@click.option(
    "--distill-temperature", default=2.0, show_default=True, type=float, help="Softens those answers."
)
@click.option("--augment/--no-augment", default=True, show_default=True, help="Change images at random.")
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "no", "bf16", "fp16"]),
    help="Of the computation; auto is the best on a GPU.",
)
@click.option(
    "--tracker",
    default="tensorboard",
    show_default=True,
    help="What shows the course: tensorboard, trackio, mlflow or wandb.",
)
@click.option(
    "--launcher",
    type=click.Choice(["accelerate"]),
    help="Train by several processes; what stands behind -- is for accelerate launch.",
)
@click.option("--compare-cold", is_flag=True, help="Also train from scratch on the same budget.")
@click.option("--force", is_flag=True, help="Discard what an earlier run left in the folder.")
@column_options
@trust_option
@config_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def warm_start(
    context: Context, /, data: str, out: Path, expert: str | None, as_json: bool, **given: Any
) -> None:
    """Fine-tune from an expert on DATA, and register the child with its measured result.

    The same command goes on where it was interrupted, and reads back what is done.

    \b
    Example:
      expertise-graph warm-start ./my-images --out runs/first
    """
    from expertise_graph.training import TrainConfig, discard

    config = TrainConfig(**{name: given[name] for name in CONFIG})
    save_settings(click.get_current_context())
    with Bars() as bars, context.workspace(bars) as workspace:
        labelled = workspace.read(data, columns=columns_from(given))
        report_skipped(labelled.skipped, context.verbose)
        if given["force"]:
            discard(out)
        result = workspace.warm_start(
            labelled,
            out,
            expert=expert,
            config=config,
            compare_cold=given["compare_cold"],
            columns=columns_from(given),
            trust_code=given["trust_code"],
            tracker=given["tracker"],
            launcher=_launcher(given["launcher"], given["launcher_arguments"]),
            report=reporter(bars),
        )
        names_of = workspace.store.names()
    if as_json:
        emit_json(warm_start_json(result))
    else:
        show_result(result, names_of)


def _launcher(name: str | None, arguments: tuple[str, ...]) -> tuple[str, ...] | None:
    if name is None and arguments:
        raise click.UsageError(
            f"{arguments[0]!r} is not understood; arguments behind -- go with --launcher accelerate"
        )
    return arguments if name else None


CONFIG = (
    *("strategy", "epochs", "time_budget", "batch_size", "accumulate", "lr", "seed"),
    *("prior", "rank", "head", "into", "distill", "distill_temperature", "augment", "precision"),
)
"""The options that are settings of the training."""


def reporter(bars: Bars) -> Any:
    """Return a function that shows the progress of a training run on `bars`."""

    def report(progress: TrainingProgress) -> None:
        bars.update(f"{progress.strategy} {progress.phase}", progress.step, max(progress.steps, 1))

    return report


def warm_start_json(result: WarmStart) -> dict[str, Any]:
    """Return the documented JSON form of a warm start."""
    return {
        "run": result.run,
        "expert": result.expert,
        "child": result.child,
        "task": result.task,
        "strategy": result.strategy,
        "metric": result.metric,
        "accuracy": result.accuracy,
        "cold_accuracy": result.cold_accuracy,
        "transfer_gain": result.transfer_gain,
        "seed": result.seed,
        "epochs": result.epochs,
        "seconds": result.seconds,
        "path": result.path,
        "note": result.note,
    }


def show_result(result: WarmStart, names: dict[str, str]) -> None:
    """Print what a warm start reached."""
    expert = clean(names.get(result.expert, result.expert))
    metric = result.metric.replace("_", " ")
    child = clean(names.get(result.child, result.child))
    click.echo(
        f"{result.strategy} from {expert}: test {metric} {result.accuracy:.3f} "
        f"after {result.epochs} epochs in {result.seconds:.0f} s"
    )
    if result.cold_accuracy is not None:
        click.echo(
            f"from scratch on the same budget: {result.cold_accuracy:.3f}; "
            f"transfer gain {100 * (result.transfer_gain or 0):+.1f} points"
        )
    if result.note:
        click.echo(f"note: {clean(result.note)}")
    click.echo(f"model in {clean(result.path)}, registered as {child}")


@app.command()
@listing_options
@pass_context
def runs(context: Context, style: str | None) -> None:
    """List the training runs, with what they reached.

    \b
    Example:
      expertise-graph runs
    """
    with context.store() as store:
        names = store.names()
        rows = [
            {
                "id": run.id,
                "status": run.status,
                "expert": names.get(run.expert, run.expert),
                "task": names.get(run.task, run.task),
                "strategy": run.strategy,
                "accuracy": run.result.get("accuracy"),
                "cold_accuracy": run.result.get("cold_accuracy"),
                "seconds": run.result.get("seconds"),
                "seed": run.seed,
                "child": names.get(run.child or "", run.child),
                "path": run.path,
                "started_at": run.started_at,
                "finished_at": run.finished_at,
            }
            for run in store.runs()
        ]
    emit(
        rows,
        style,
        columns=("status", "expert", "task", "strategy", "accuracy", "cold_accuracy", "child", "path"),
    )
