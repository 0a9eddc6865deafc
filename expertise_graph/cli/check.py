"""The check command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from expertise_graph import views
from expertise_graph.cli.app import FORM, INTERRUPTED, CommandContext, app, pass_context
from expertise_graph.cli.output import Bars, emit_json, report_data
from expertise_graph.cli.parameters import SEED, column_options, columns_from, isolation_options, trust_option
from expertise_graph.core import printable

if TYPE_CHECKING:
    from expertise_graph import DataFindings, LabelledData, RunFindings, Workspace


@app.command()
@click.argument("data")
@click.option("--test", metavar="DATA", help="Separate test set: checked for overlap with DATA.")
@click.option(
    "--data", "data_of", metavar="PATH", help="Data of a run.  [default: where they were when it was trained]"
)
@click.option("--expert", help="Expert whose features are used.  [default: rank 1 of a short query]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Write a report as one HTML file; of a run on images also the hardest examples as a PNG.",
)
@click.option("--seed", default=0, show_default=True, type=SEED, help="Random seed.")
@column_options
@trust_option
@isolation_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def check(context: CommandContext, /, data: str, out: Path | None, as_json: bool, **given: Any) -> None:
    """Check a dataset before training, or a finished run after it.

    Of DATA as for `query`: broken files, duplicates, leaks into the test split, likely label errors,
    baselines, a learning curve, and what to do next. Of the output folder of `warm-start`: how training went,
    the hardest examples, and what to try next.

    \b
    Examples:
      expertise-graph check ./my-images --out report.html
      expertise-graph check runs/first
    """
    with Bars() as bars, context.workspace(bars, must_exist=bool(context.workspace_path)) as workspace:
        if out is not None:
            workspace.check_report_path(out)
        labelled = _labelled(workspace, data, given)
        if labelled is not None:
            report_data(labelled, FORM, context.verbose)
            if given["test"]:
                given["test"] = workspace.read(given["test"], columns=columns_from(given), strict=False)
                report_data(given["test"], FORM, context.verbose)
        findings = _findings(workspace, data, labelled, given, verbose=context.verbose)
        report = views.check_report(findings, FORM)
        written = report.write(out) if out is not None else []
    if as_json:
        read = {} if labelled is None else {"data": views.data_json(labelled, FORM)}
        emit_json({**views.check_json(findings, FORM), **read})
    else:
        for line in report.lines():
            click.echo(printable(line))
    for path in written:
        click.echo(printable(f"report in {path}"), err=True)
    if findings.interrupted:
        sys.exit(INTERRUPTED)


def _labelled(workspace: Workspace, data: str, given: dict[str, Any]) -> LabelledData | None:
    """Return the dataset to check, however little can be learnt from it; None for a run."""
    return None if workspace.is_run(data) else workspace.read(data, columns=columns_from(given), strict=False)


def _findings(
    workspace: Workspace, data: str, labelled: LabelledData | None, given: dict[str, Any], *, verbose: bool
) -> DataFindings | RunFindings:
    columns, trust_code = columns_from(given), given["trust_code"]
    if labelled is None:
        if given["test"] or given["expert"]:
            raise click.UsageError("--test and --expert are for a dataset, and there is a run in " + data)
        found = workspace.check_run(data, data=given["data_of"], columns=columns, trust_code=trust_code)
        if found.data is not None:
            report_data(found.data, FORM, verbose)
        return found
    if given["data_of"]:
        raise click.UsageError(f"--data is for the folder of a run, and there is no run in {data}")
    return workspace.check(
        labelled,
        test=given["test"],
        expert=given["expert"],
        columns=columns,
        seed=given["seed"],
        trust_code=trust_code,
    )
