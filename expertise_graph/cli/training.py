"""Commands about training: warm-start, auto and runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import expertise_graph as xg
from expertise_graph import views
from expertise_graph.cli.app import (
    FORM,
    INTERRUPTED,
    CommandContext,
    ListingGroup,
    app,
    in_options,
    pass_context,
)
from expertise_graph.cli.output import (
    Bars,
    emit,
    emit_json,
    listing_options,
    removal_options,
    report_data,
    show_withdrawn,
)
from expertise_graph.cli.parameters import (
    SEED,
    STRATEGY,
    TRACKER,
    LearningRate,
    Seconds,
    column_options,
    columns_from,
    config_options,
    constraint_options,
    constraints_from,
    isolation_options,
    save_settings,
    trust_option,
)
from expertise_graph.core import count, duration, printable

if TYPE_CHECKING:
    from expertise_graph import AutoResult, TrainingProgress, TrialResult, WarmStart

CONFIG = (
    *("strategy", "epochs", "time_budget", "batch_size", "accumulate", "lr", "seed"),
    *(
        "prior",
        "rank",
        "head",
        "into",
        "distill",
        "distill_temperature",
        "class_weights",
        "augment",
        "precision",
    ),
)
"""The options that are settings of the training."""

_TRIAL_COLUMNS = (
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


@app.command("warm-start")
@click.argument("data")
@click.argument("launcher_arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENTS]")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Output folder for the model and its metrics.",
)
@click.option("--expert", help="Expert to fine-tune from.  [default: rank 1 of a query]")
@click.option(
    "--strategy",
    default="lp-ft",
    show_default=True,
    type=STRATEGY,
    help="Fine-tuning method: lp-ft (linear probe, then all weights), full, linear-probe, lora, l2-sp, "
    "bitfit, norm-only, gradual or from-scratch.",
)
@click.option("--epochs", default=20, show_default=True, type=int, help="Maximum number of training epochs.")
@click.option(
    "--time-budget", type=Seconds(), help="Time for the whole command, e.g. 90s, 10m.  [default: none]"
)
@click.option("--batch-size", default=32, show_default=True, type=int, help="Items per optimizer step.")
@click.option(
    "--lr",
    default=1e-3,
    show_default=True,
    type=LearningRate(),
    help="Peak learning rate of the head, pretrained layers use less; auto for the best of 0.001, 0.003 and "
    "0.01 in a short search on the validation split.",
)
@click.option(
    "--seed", default=0, show_default=True, type=int, help="Random seed of splits, batches and new weights."
)
@click.option(
    "--accumulate",
    default=1,
    show_default=True,
    type=int,
    help="Gradient-accumulation steps: parts that a batch is split into to save memory.",
)
@click.option(
    "--prior",
    default=0.01,
    show_default=True,
    type=float,
    help="Strength of the L2 penalty towards the expert's weights, for l2-sp.",
)
@click.option("--rank", default=8, show_default=True, type=int, help="Rank of the LoRA adapters.")
@click.option(
    "--head",
    default="linear",
    show_default=True,
    type=click.Choice(["linear", "native"]),
    help="Input of the new head: linear for the expert's features, native for those of the classification "
    "model in transformers, which can then load the result.",
)
@click.option(
    "--into",
    metavar="ARCH",
    help="Train a smaller network initialised from the expert's weights: shrink:0.5 (half the width), an "
    "expert, or a hf:, dir:, timm: or factory: reference.",
)
@click.option(
    "--distill",
    default=0.0,
    show_default=True,
    type=float,
    help="Weight of the distillation loss (0-1), with the expert as teacher.",
)
@click.option(
    "--distill-temperature", default=2.0, show_default=True, type=float, help="Distillation temperature."
)
@click.option(
    "--class-weights",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "balanced", "none"]),
    help="Class weights in the loss: balanced lets rare classes weigh more, up to 10 times; auto is none, as "
    "models are selected by accuracy.",
)
@click.option(
    "--augment/--no-augment",
    default=True,
    show_default=True,
    help="Random image augmentation while training.",
)
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "no", "bf16", "fp16"]),
    help="Mixed precision; auto is bf16 or fp16 on a GPU that has it, no is float32.",
)
@click.option(
    "--tracker",
    default="tensorboard",
    show_default=True,
    type=TRACKER,
    help="Experiment tracker: tensorboard, trackio, mlflow or wandb.",
)
@click.option(
    "--launcher",
    type=click.Choice(["accelerate"]),
    help="Train with several processes; ARGUMENTS after -- go to accelerate launch.",
)
@click.option("--compare-cold", is_flag=True, help="Also train from scratch on the same budget, to compare.")
@click.option("--force", is_flag=True, help="Delete an earlier run in the output folder first.")
@column_options
@trust_option
@isolation_options
@config_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def warm_start(context: CommandContext, /, data: str, out: Path, as_json: bool, **given: Any) -> None:
    """Fine-tune an expert on DATA and register the result.

    Re-run the same command to resume, or to print the finished result; without --expert the run that is
    there keeps the expert that it started from.

    \b
    Example:
      expertise-graph warm-start ./my-images --out runs/first
    """
    config = xg.TrainConfig(**{name: given[name] for name in CONFIG})
    save_settings(click.get_current_context())
    columns = columns_from(given)
    with Bars() as bars, context.workspace(bars) as workspace:
        labelled = workspace.read(data, columns=columns)
        report_data(labelled, FORM, context.verbose)
        if given["expert"] is None and not given["force"] and (kept := workspace.describe_run(out)):
            click.echo(printable(f"{out} holds {kept}: its expert is kept"), err=True)
        result = workspace.warm_start(
            labelled,
            out,
            expert=given["expert"],
            config=config,
            compare_cold=given["compare_cold"],
            columns=columns,
            trust_code=given["trust_code"],
            tracker=given["tracker"],
            launcher=_launcher(given["launcher"], given["launcher_arguments"]),
            report=reporter(bars),
            started=context.started,
            force=given["force"],
        )
        names = workspace.names((result.expert, result.child))
    if as_json:
        emit_json({**views.warm_start_json(result, FORM), "data": views.data_json(labelled, FORM)})
    else:
        show_result(result, names)


def _launcher(name: str | None, arguments: tuple[str, ...]) -> tuple[str, ...] | None:
    if name is None and arguments:
        raise click.UsageError(
            f"unexpected argument {arguments[0]!r}; arguments after -- need --launcher accelerate"
        )
    return arguments if name else None


def reporter(bars: Bars) -> Callable[[TrainingProgress], None]:
    """Return a function that shows the progress of a training run on `bars`."""

    def report(progress: TrainingProgress) -> None:
        bars.update(f"{progress.strategy} {progress.phase}", progress.step, max(progress.steps, 1))

    return report


def show_result(result: WarmStart, names: Mapping[str, str]) -> None:
    """Print what a warm start reached."""
    expert = printable(names.get(result.expert, result.expert))
    metric = result.metric.replace("_", " ")
    child = printable(names.get(result.child, result.child))
    click.echo(
        f"{result.strategy} from {expert}: test {metric} {result.accuracy:.3f} "
        f"after {count(result.epochs, 'epoch')} in {duration(result.seconds)}"
    )
    if result.cold_accuracy is not None:
        click.echo(
            f"from scratch on the same budget: {result.cold_accuracy:.3f}; "
            f"transfer gain {100 * (result.transfer_gain or 0):+.1f} points"
        )
    if result.note:
        click.echo(f"note: {printable(in_options(result.note))}")
    if not result.run:
        registered = "which has no network and so is no expert"
    elif result.child == result.expert:
        registered = f"a head on {expert}, whose weights did not change: no new expert is registered"
    else:
        registered = f"registered as {child}"
    click.echo(f"model in {printable(result.path)}, {registered}")


@app.group(cls=ListingGroup)
@listing_options
@click.pass_context
def runs(ctx: click.Context, style: str | None) -> None:
    """List the training runs with their test scores, or take one back.

    \b
    Example:
      expertise-graph runs
    """
    if ctx.invoked_subcommand is None:
        _list_runs(ctx.obj, style)


def _list_runs(context: CommandContext, style: str | None) -> None:
    with context.workspace() as workspace:
        found = workspace.runs()
        ends = {end for run in found for end in (run.expert, run.task, run.child) if end}
        names = workspace.names(ends)
    rows = [views.run_json(run, names) for run in found]
    emit(
        rows,
        style,
        columns=(
            *("status", "expert", "task", "strategy", "metric", "accuracy", "cold_accuracy", "child", "path"),
        ),
    )


@runs.command("rm")
@click.argument("run")
@click.option(
    "--descendants",
    is_flag=True,
    help="Also take back the runs that started from the expert that RUN left, and what they left.",
)
@removal_options
@pass_context
def runs_rm(context: CommandContext, run: str, descendants: bool, dry_run: bool, as_json: bool) -> None:
    """Take back a training run, its child and what they led to.

    RUN is an id, the beginning of one (see runs -q), or the folder of the run. The folder stays: the same
    warm-start command would record it again.

    \b
    Example:
      expertise-graph runs rm runs/merged
    """
    with context.workspace() as workspace:
        show_withdrawn(workspace.remove_run(run, descendants=descendants, dry_run=dry_run), as_json)


@app.command()
@click.argument("data")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Output folder for the model and its metrics.",
)
@click.option(
    "--time-budget",
    required=True,
    type=Seconds(),
    help="Time for the whole command, from query to final model, e.g. 90s, 10m, 2h.",
)
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    type=STRATEGY,
    help="Try only this fine-tuning method, see warm-start; repeatable.  [default: all but linear-probe]",
)
@click.option(
    "--experts",
    default=5,
    show_default=True,
    type=click.IntRange(1),
    help="Maximum number of experts to try.",
)
@click.option(
    "--members",
    default=5,
    show_default=True,
    type=click.IntRange(1),
    help="Maximum number of networks in the ensemble; 1 for a single network.",
)
@click.option("--seed", default=0, show_default=True, type=SEED, help="Random seed.")
@click.option("--force", is_flag=True, help="Delete an earlier search in the output folder first.")
@constraint_options
@column_options
@trust_option
@isolation_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def auto(context: CommandContext, /, data: str, out: Path, as_json: bool, **given: Any) -> None:
    """Choose expert and hyper-parameters within a time budget.

    Runs a query and short trials compared on the validation split, trains the best on all items but the
    test split, and registers the model. Ctrl-C finishes with the best so far; re-run the same command to
    resume.

    \b
    Example:
      expertise-graph auto ./my-images --out runs/auto --time-budget 6s
    """
    chosen = {"strategies": given["strategies"]} if given["strategies"] else {}
    settings = xg.AutoSettings(
        time_budget=given["time_budget"],
        seed=given["seed"],
        experts=given["experts"],
        members=given["members"],
        query=constraints_from(given),
        **chosen,
    )
    with Bars() as bars, context.workspace(bars) as workspace:
        labelled = workspace.read(data, columns=columns_from(given))
        report_data(labelled, FORM, context.verbose)
        result = workspace.auto(
            labelled,
            out,
            settings=settings,
            trust_code=given["trust_code"],
            started=context.started,
            force=given["force"],
        )
        names = {trial.expert: trial.name for trial in result.trials} | workspace.names()
    if as_json:
        emit_json({**views.auto_json(result, FORM), "data": views.data_json(labelled, FORM)})
    else:
        _show_auto(result, names)
    if result.interrupted:
        sys.exit(INTERRUPTED)


def _show_auto(result: AutoResult, names: Mapping[str, str]) -> None:
    rows = [_trial_row(number, trial, result.chosen) for number, trial in enumerate(result.trials, 1)]
    if rows:
        emit(rows, None, columns=_TRIAL_COLUMNS, title="trials (* in the model)")
    if result.members:
        _show_members(result, names)
    else:
        show_result(result.model, names)
    reason = in_options(result.reason)
    click.echo(printable(f"{reason[:1].upper()}{reason[1:]}."))
    for note in result.notes:
        click.echo(printable(in_options(note)))
    spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.spent.items())
    click.echo(f"time: {result.seconds:.1f} of {result.time_budget:g} s ({spent})")


def _trial_row(number: int, trial: TrialResult, chosen: tuple[str, ...]) -> dict[str, Any]:
    return {
        "trial": f"{number}{' *' if trial.run in chosen else ''}",
        "expert": trial.name,
        "why_tried": trial.origin,
        "settings": trial.settings_text,
        "epochs": trial.epochs,
        "validation": trial.accuracy,
        "loss": trial.loss,
        "seconds": trial.seconds,
        "status": trial.status + (", on record" if trial.recorded else ""),
    }


def _show_members(result: AutoResult, names: Mapping[str, str]) -> None:
    """Print what an ensemble and each of its networks reach."""
    model = result.model
    metric = model.metric.replace("_", " ")
    click.echo(f"ensemble of {len(result.members)} networks: test {metric} {result.accuracy:.3f}")
    for member in result.members:
        expert = printable(names.get(member.expert, member.expert))
        click.echo(
            f"  {member.path:10} weight {member.weight:.2f}, alone {member.accuracy:.3f}: "
            f"{member.strategy} from {expert}"
        )
    child = printable(names.get(model.child, model.child))
    click.echo(f"model in {printable(model.path)}, its first network registered as {child}")
