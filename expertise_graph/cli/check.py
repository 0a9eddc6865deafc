"""The check command."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from expertise_graph.cli.app import INTERRUPTED, Context, app, pass_context
from expertise_graph.cli.output import clean, emit_json
from expertise_graph.cli.parameters import SEED, column_options, trust_option
from expertise_graph.cli.progress import Bars
from expertise_graph.cli.query import columns_from
from expertise_graph.core import NotFoundError

if TYPE_CHECKING:
    from expertise_graph.diagnostics import DataFindings, RunFindings


@app.command()
@click.argument("data")
@click.option("--test", help="A test set of its own: compared with DATA, not learnt from.")
@click.option("--data", "data_of", metavar="PATH", help="For a run, its data, if they were moved.")
@click.option("--expert", help="Expert to look through; by default the best of a short query.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Write a report as one HTML file, worst examples beside it.",
)
@click.option("--seed", default=0, show_default=True, type=SEED, help="Of samples and folds.")
@column_options
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def check(context: Context, /, data: str, out: Path | None, as_json: bool, **given: Any) -> None:
    """Say what is wrong with DATA, how hard it is and what to do; or how the run in a folder DATA went.

    DATA is what `query` takes, or the --out folder of a finished `warm-start`.

    \b
    Examples:
      expertise-graph check ./my-images --out report.html
      expertise-graph check runs/first
    """
    from expertise_graph import diagnostics as advice

    if out is not None:
        advice.check_writable(out)
    if advice.is_run(data):
        if given["test"] or given["expert"]:
            raise click.UsageError(
                "--test and --expert are for a dataset; for a run give --data PATH or nothing"
            )
        _show_run(_run_findings(context, Path(data), given), out, as_json)
        return
    if given["data_of"]:
        raise click.UsageError(f"--data is for the folder of a run, and there is no run in {data}")
    _show_data(_data_findings(context, data, given), out, as_json)


def _data_findings(context: Context, data: str, given: dict[str, Any]) -> DataFindings:
    from expertise_graph import diagnostics as advice
    from expertise_graph.data import read_data

    columns, seed = columns_from(given), given["seed"]
    with Bars() as bars:
        try:
            workspace = context.workspace(bars)
        except NotFoundError:
            if context.workspace_path or given["expert"]:
                raise
            test = given["test"]
            return advice.check_data(
                read_data(data, columns=columns, strict=False),
                test=read_data(test, columns=columns, strict=False) if test else None,
                seed=seed,
                progress=bars.update,
            )
        with workspace:
            return workspace.check(
                data,
                test=given["test"],
                expert=given["expert"],
                columns=columns,
                seed=seed,
                trust_code=given["trust_code"],
            )


def _run_findings(context: Context, folder: Path, given: dict[str, Any]) -> RunFindings:
    with Bars() as bars, context.workspace(bars) as workspace:
        return workspace.check_run(
            folder, data=given["data_of"], columns=columns_from(given), trust_code=given["trust_code"]
        )


def _show_data(found: DataFindings, out: Path | None, as_json: bool) -> None:
    from expertise_graph import diagnostics as advice

    if out is not None:
        advice.write(out, advice.data_page(found))
    _print(advice.data_lines(found), advice.data_json(found) if as_json else None)
    _close([out] if out else [], found.interrupted)


def _show_run(found: RunFindings, out: Path | None, as_json: bool) -> None:
    from expertise_graph import diagnostics as advice

    written = []
    if out is not None:
        advice.write(out, advice.run_page(found))
        written.append(out)
        if found.sheet is not None:
            written.append(out.with_name(f"{out.stem}-worst.png"))
            advice.write(written[-1], found.sheet)
    _print(advice.run_lines(found), advice.run_json(found) if as_json else None)
    _close(written, found.interrupted)


def _print(lines: Iterable[str], content: dict[str, Any] | None) -> None:
    if content is not None:
        emit_json(content)
        return
    for line in lines:
        click.echo(clean(line))


def _close(written: list[Path], interrupted: bool) -> None:
    for path in written:
        click.echo(clean(f"report in {path}"), err=True)
    if interrupted:
        sys.exit(INTERRUPTED)
