"""The query command."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from expertise_graph.cli.app import INTERRUPTED, Context, app, pass_context
from expertise_graph.cli.output import clean, emit, emit_json, listing_options
from expertise_graph.cli.parameters import (
    SEED,
    Budget,
    column_options,
    constraint_options,
    item_column,
    trust_option,
)
from expertise_graph.cli.progress import Bars
from expertise_graph.core import InvalidInputError

if TYPE_CHECKING:
    from expertise_graph.core import Candidate, Excluded, Query, Ranking

PERCENTILE = "percentile"
COLUMNS = ("rank", "expert", "predicted", "interval_80", "p_best", "ran", "why", "params", "bytes", "license")


@app.command()
@click.argument("data")
@click.option("--top", default=5, show_default=True, type=click.IntRange(1), help="How many experts to list.")
@click.option(
    "--budget",
    default=8,
    show_default=True,
    type=Budget(),
    help="How many experts may be run on the task, or how long, e.g. 60s, 5m.",
)
@click.option(
    "--race",
    default=0,
    type=click.IntRange(0),
    metavar="K",
    help="Fine-tune the K most promising briefly before the answer; this comes on top of --budget.",
)
@click.option(
    "--sample", default=512, show_default=True, type=click.IntRange(4), help="Labelled items looked at."
)
@click.option("--seed", default=0, show_default=True, type=SEED, help="Of the sample and the draws.")
@click.option("--modality", help="image or text, where the dataset leaves it open.")
@constraint_options
@column_options
@trust_option
@listing_options
@pass_context
def query(context: Context, /, data: str, style: str | None, trust_code: bool, **given: Any) -> None:
    """Find the expert to start from for DATA, with its evidence, cost and uncertainty.

    DATA is a folder with a folder per class, a .csv, .tsv, .jsonl, .parquet or .npz file, a folder
    written by `datasets`, or hf:ORG/DATASET.

    \b
    Example:
      expertise-graph query ./my-images --top 5 --budget 8
    """
    from expertise_graph.data import plural_of

    wanted = _query(given)
    with Bars() as bars, context.workspace(bars) as workspace:
        labelled = workspace.read(data, columns=columns_from(given))
        if given["modality"] not in (None, labelled.modality):
            raise InvalidInputError(
                f"--modality {given['modality']}: {data} holds {plural_of(labelled.modality)}; leave it "
                "out, or name the column with --text-column or --image-column"
            )
        report_skipped(labelled.skipped, context.verbose)
        ranking = workspace.query(labelled, wanted, columns=columns_from(given), trust_code=trust_code)
    show_ranking(ranking, style)
    if ranking.interrupted:
        sys.exit(INTERRUPTED)


def _query(given: dict[str, Any]) -> Query:
    return dataclasses.replace(
        constraints_from(given),
        top=given["top"],
        budget=given["budget"].experts,
        seconds=given["budget"].seconds,
        sample=given["sample"],
        seed=given["seed"],
        race=given["race"],
    )


def constraints_from(given: dict[str, Any]) -> Query:
    """Return a query with the constraints that `constraint_options` name, and defaults otherwise."""
    from expertise_graph.core import Query

    narrow, wide = given["min_dim"], given["max_dim"]
    if narrow is not None and wide is not None and narrow > wide:
        raise click.UsageError(f"--min-dim {narrow} is above --max-dim {wide}; no expert can meet both")
    return Query(
        max_params=given["max_params"],
        max_bytes=None if given["max_mb"] is None else int(given["max_mb"] * 1e6),
        licenses=tuple(name.lower() for name in given["licenses"]),
        excluded_licenses=tuple(name.lower() for name in given["excluded"]),
        tags=given["tags"],
        max_latency=given["max_latency"],
        min_dim=narrow,
        max_dim=wide,
        kinds=given["kinds"],
    )


def columns_from(given: dict[str, Any]) -> Any:
    """Return the `Columns` that the column options name."""
    from expertise_graph.data import Columns

    modality, item = item_column(given)
    return Columns(
        item=item,
        modality=modality,
        label=given["label_column"],
        split=given["split_column"],
        target=given["target"],
        separator=given["separator"],
    )


def report_skipped(skipped: tuple[tuple[str, str], ...], verbose: bool) -> None:
    """Say on stderr how many items were left out, and which with -v."""
    if skipped:
        click.echo(f"{len(skipped)} items skipped{'' if verbose else ' (list them with -v)'}", err=True)
    for what, why in skipped if verbose else ():
        click.echo(clean(f"  {what}: {why}"), err=True)


def ranking_json(ranking: Ranking) -> dict[str, Any]:
    """Return the documented JSON form of a ranking."""
    return {
        "task": ranking.task.id,
        "task_name": ranking.task.name,
        "experts_run": ranking.experts_run,
        "unit": ranking.unit,
        "baseline": {"name": ranking.baseline.name, "predicted": ranking.baseline.predicted},
        "candidates": [
            {
                "expert": c.expert.id,
                "name": c.expert.name,
                "predicted": c.predicted,
                "low": c.low,
                "high": c.high,
                "p_best": c.p_best,
                "ran": c.ran,
                "runnable": c.expert.runnable,
                "tied": c.tied,
                "license": c.expert.license,
                "params": c.expert.params,
                "bytes": c.expert.bytes,
                "trusted_code": c.expert.trusted_code,
                "evidence": list(c.evidence),
                "same_as": list(c.same_as),
            }
            for c in ranking.candidates
        ],
        "together": [expert.id for expert in ranking.together],
        "excluded": [_excluded_json(e) for e in ranking.excluded],
        "interrupted": ranking.interrupted,
        "notes": list(ranking.notes),
        "seconds": ranking.seconds,
        "command": ranking.command,
    }


def _excluded_json(excluded: Excluded) -> dict[str, Any]:
    found = excluded.candidate
    return {
        "constraint": excluded.constraint,
        "expert": found.expert.id,
        "name": found.expert.name,
        "predicted": found.predicted,
        "low": found.low,
        "high": found.high,
    }


def show_ranking(ranking: Ranking, style: str | None = None) -> None:
    """Print a ranking in the style asked for."""
    if style == "json":
        emit_json(ranking_json(ranking))
        return
    rows = [_row(place, c) for place, c in enumerate(ranking.candidates, 1)]
    if style is not None:
        emit([{**row, "unit": ranking.unit} for row in rows], style, columns=COLUMNS)
        return
    columns: tuple[str, ...] = COLUMNS
    if ranking.unit == PERCENTILE:
        columns = tuple(PERCENTILE if name == "predicted" else name for name in COLUMNS)
        rows = [{**row, PERCENTILE: row["predicted"]} for row in rows]
    else:
        # An accuracy has no place among percentiles; there it is told below.
        rows.append({"id": "", "expert": ranking.baseline.name, "predicted": ranking.baseline.predicted})
    title = f"{ranking.task.name}: {ranking.task.n} items, {len(ranking.task.classes)} classes"
    emit(rows, None, columns=columns, title=clean(title))
    for line in _footer(ranking):
        click.echo(clean(line))


def _row(place: int, candidate: Candidate) -> dict[str, Any]:
    expert = candidate.expert
    return {
        "id": expert.id,
        "rank": f"{place}{' =' if candidate.tied else ''}",
        "expert": expert.short
        + (f" (+{len(candidate.same_as)} same)" if candidate.same_as else "")
        + ("" if expert.runnable else " [not registered]"),
        "predicted": candidate.predicted,
        "interval_80": f"{candidate.low:.2f}-{candidate.high:.2f}",
        "p_best": candidate.p_best,
        "ran": candidate.ran,
        "why": candidate.evidence[0],
        "params": expert.params,
        "bytes": expert.bytes,
        "license": expert.license + (" [code]" if expert.trusted_code else ""),
    }


def _footer(ranking: Ranking) -> Iterator[str]:
    ties = [c.expert.name for c in ranking.candidates if c.tied]
    if ties:
        yield f"= not told apart from the first: {', '.join(ties)}"
    if min(len(ranking.candidates), len(ranking.together)) > 1:
        yield f"worth trying together: {', '.join(e.name for e in ranking.together)}"
    what = PERCENTILE if ranking.unit == PERCENTILE else "predicted"
    for excluded in ranking.excluded:
        best = excluded.candidate
        yield f"excluded by {excluded.constraint}: {best.expert.name} ({what} {best.predicted:.2f})"
    if ranking.unit == PERCENTILE:
        yield f"{ranking.baseline.name}: accuracy {ranking.baseline.predicted:.3f}"
    yield from ranking.notes
    run = f"{ranking.experts_run} experts run in {ranking.seconds:.1f} s."
    if ranking.best.expert.runnable:
        yield f"{run} Start from the best with:"
    else:
        here = f"; of those here {ranking.start.short} is best" if ranking.start else ""
        yield f"{run} The best is known by name only{here}. Register the best with:"
    yield f"  {ranking.command}"
