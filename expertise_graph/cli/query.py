"""Commands that rank experts: query, and explain for one of them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from expertise_graph import views
from expertise_graph.cli.app import (
    FORM,
    INTERRUPTED,
    CommandContext,
    app,
    command_line,
    in_options,
    pass_context,
)
from expertise_graph.cli.output import Bars, emit, emit_json, listing_options, report_data
from expertise_graph.cli.parameters import (
    SEED,
    SIZE,
    STRATEGY,
    Budget,
    Positive,
    column_options,
    columns_from,
    constraint_options,
    constraints_from,
    isolation_options,
    trust_option,
)
from expertise_graph.core import count, duration, printable

if TYPE_CHECKING:
    from expertise_graph import Candidate, Explanation, Query, Ranking

PERCENTILE = "percentile"
# Names of parts and scores as people read them; the JSON keeps its own.
_IN_WORDS = {
    "affinity": "similarity to the task",
    "experts with similar covariates": "experts with similar traits",
}
COLUMNS = (
    *("rank", "expert", "predicted", "interval_80", "p_best", "ran", "why", "params", "bytes"),
    *("memory", "time", "license", "where"),
)


_SOURCES = ("origin", "results", "experts", "tasks", "change", "first_without")


@app.command()
@click.argument("data")
@click.option(
    "--top", default=5, show_default=True, type=click.IntRange(1), help="Number of experts to list."
)
@click.option(
    "--budget",
    default=8,
    show_default=True,
    type=Budget(),
    help="Number of experts that may be run on the data, or time for it, e.g. 60s, 5m; 0 runs none.",
)
@click.option(
    "--race",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    metavar="K",
    help="Fine-tune the K most promising experts briefly before ranking, in addition to --budget.",
)
@click.option(
    "--sample",
    default=512,
    show_default=True,
    type=click.IntRange(4),
    help="Number of labelled items that experts are run on, stratified by class.",
)
@click.option(
    "--estimator",
    "estimators",
    multiple=True,
    metavar="NAME",
    help="Transferability estimator that scores the experts that are run; repeatable.  [default: logme, "
    "ridge_accuracy, kernel_target_alignment]",
)
@click.option(
    "--starter-knowledge/--no-starter-knowledge",
    default=True,
    show_default=True,
    help="Rank published models that are not registered, too, by their results elsewhere.",
)
@click.option(
    "--here",
    is_flag=True,
    help="Rank registered experts only; what is published about them counts.",
)
@click.option(
    "--self-reported/--no-self-reported",
    default=True,
    show_default=True,
    help="Count results that only model cards claim; they weigh less than measured ones.",
)
@click.option(
    "--fits/--no-fits",
    default=True,
    show_default=True,
    help="Leave out published models whose fine-tuning is estimated to take more memory than is free.",
)
@click.option(
    "--max-memory",
    type=SIZE,
    help="Only experts whose fine-tuning is estimated to take at most this much memory, e.g. 4GB.",
)
@click.option(
    "--max-minutes",
    type=Positive(),
    help="Only experts whose fine-tuning is estimated to take at most so many minutes on this machine, all "
    "epochs run.",
)
@click.option(
    "--strategy",
    default="lp-ft",
    show_default=True,
    type=STRATEGY,
    help="Training strategy that memory and time are estimated for.",
)
@click.option(
    "--fetch",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    metavar="N",
    help="Download, register and run up to N published models that promise most, in addition to --budget.",
)
@click.option(
    "--max-download",
    default="2GB",
    show_default=True,
    type=SIZE,
    help="Size of all downloads of --fetch together, e.g. 500MB.",
)
@click.option(
    "--evict",
    is_flag=True,
    help="Delete downloaded weights again once their features are known; scores and embeddings stay.",
)
@click.option(
    "--one-per-family",
    is_flag=True,
    help="Of experts that lineage connects, stated or suspected, list only the best; see lineage.",
)
@click.option(
    "--explain-sources",
    is_flag=True,
    help="List where results on other tasks are from, and what the answer would be without each.",
)
@click.option("--seed", default=0, show_default=True, type=SEED, help="Random seed.")
@click.option("--modality", help="image or text; fail if the data are of the other.")
@constraint_options
@column_options
@trust_option
@isolation_options
@listing_options
@pass_context
def query(context: CommandContext, /, data: str, style: str | None, trust_code: bool, **given: Any) -> None:
    """Rank the experts to fine-tune from on DATA.

    DATA is a folder with one folder per class, a .csv, .tsv, .jsonl, .parquet or .npz file, a folder
    written by `datasets`, or hf:ORG/DATASET.

    \b
    Example:
      expertise-graph query ./my-images --top 5 --budget 8
    """
    wanted, columns = _query(given), columns_from(given)
    with Bars() as bars, context.workspace(bars) as workspace:
        labelled = workspace.read(data, columns=columns, modality=given["modality"])
        report_data(labelled, FORM, context.verbose)
        ranking = workspace.query(labelled, wanted, columns=columns, trust_code=trust_code)
    if style == "json":
        emit_json({**views.ranking_json(ranking, FORM), "data": views.data_json(labelled, FORM)})
    else:
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
        fits=given["fits"],
        max_memory=given["max_memory"],
        max_minutes=given["max_minutes"],
        strategy=given["strategy"],
        starter_knowledge=given["starter_knowledge"],
        self_reported=given["self_reported"],
        here=given["here"],
        fetch=given["fetch"],
        max_download=given["max_download"],
        evict=given["evict"],
        explain_sources=given["explain_sources"],
        seed=given["seed"],
        race=given["race"],
        one_per_family=given["one_per_family"],
        **({"estimators": given["estimators"]} if given["estimators"] else {}),
    )


def show_ranking(ranking: Ranking, style: str | None = None) -> None:
    """Print a ranking in the style asked for."""
    rows = [_row(place, c) for place, c in enumerate(ranking.candidates, 1)]
    if ranking.here is not None and style is None:
        rows.append(_row(*ranking.here))
    names = (*COLUMNS, *views.query_columns)
    if style is not None:
        emit([{**row, "unit": ranking.unit} for row in rows], style, columns=names)
        return
    here = all(row["where"] == "here" for row in rows)
    # Where all are here, the size of a download says nothing.
    columns = tuple(name for name in names if name not in ("bytes", "where") or not here)
    if ranking.unit == PERCENTILE:
        columns = tuple(PERCENTILE if name == "predicted" else name for name in columns)
        rows = [{**row, PERCENTILE: row["predicted"]} for row in rows]
    else:
        # The baseline is an accuracy: among percentiles it is printed below the table instead.
        rows.append({"id": "", "expert": ranking.baseline.name, "predicted": ranking.baseline.predicted})
    task = ranking.task
    title = f"{task.name}: {count(task.n, 'item')}, {count(len(task.classes), 'class')}"
    emit(rows, None, columns=columns, title=printable(title))
    if ranking.sources:
        sources = [dataclasses.asdict(source) for source in ranking.sources]
        emit(sources, None, columns=_SOURCES, title="results on other tasks, and the answer without each")
    for line in _footer(ranking):
        click.echo(printable(line))


def _row(place: int, candidate: Candidate) -> dict[str, Any]:
    expert = candidate.expert
    return {
        # What other commands take: the id of a known model is of queries alone.
        "id": expert.id if expert.runnable else expert.name,
        "rank": f"{place}{' =' if candidate.tied else ''}",
        "expert": expert.short
        + (f" (+{len(candidate.same_as)} same)" if candidate.same_as else "")
        + (f" (+{len(candidate.family)} of its family)" if candidate.family else ""),
        "predicted": candidate.predicted,
        "interval_80": f"{candidate.low:.2f}-{candidate.high:.2f}",
        "p_best": candidate.p_best,
        "ran": candidate.ran,
        "why": candidate.evidence[0],
        "params": expert.params,
        "bytes": expert.bytes,
        "memory": candidate.needs and round(candidate.needs.memory),
        "time": candidate.needs and round(60 * candidate.needs.minutes),
        "license": expert.license + (" [code]" if expert.trusted_code else ""),
        "where": views.where_is(expert),
        **views.added_columns(candidate),
    }


def _footer(ranking: Ranking) -> Iterator[str]:
    ties = [ranking.called(c.expert) for c in ranking.candidates if c.tied]
    if ties:
        yield f"= statistically tied with rank 1: {', '.join(ties)}"
    if min(len(ranking.candidates), len(ranking.together)) > 1:
        together = ", ".join(map(ranking.called, ranking.together))
        yield f"complementary, worth fine-tuning side by side: {together}"
    what = PERCENTILE if ranking.unit == PERCENTILE else "predicted"
    for excluded in ranking.excluded:
        best = excluded.candidate
        constraint = in_options(excluded.constraint, of=query.name)
        yield f"excluded by {constraint}: {ranking.called(best.expert)} ({what} {best.predicted:.2f})"
    if ranking.unit == PERCENTILE:
        yield f"{ranking.baseline.name}: accuracy {ranking.baseline.predicted:.3f}"
    # The demo, too, shows what a query would say.
    yield from (in_options(note, of=query.name) for note in ranking.notes)
    if ranking.proposal is not None:
        yield in_options(ranking.proposal.reason, of=query.name)
        yield f"  {command_line(ranking.proposal.command)}"
    run = f"{count(ranking.experts_run, 'expert')} run in {duration(ranking.seconds)}."
    if ranking.best.expert.runnable:
        yield f"{run} Fine-tune from rank 1 with:"
    else:
        here = f" (best registered: {ranking.start.short})" if ranking.start else ""
        yield f"{run} Rank 1 has no weights here{here}. Register it with:"
    yield f"  {command_line(ranking.command)}"


@app.command()
@click.argument("task")
@click.argument("expert")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def explain(context: CommandContext, /, task: str, expert: str, as_json: bool) -> None:
    """Explain the predicted score of EXPERT on TASK.

    TASK is the name or id of a task in the registry, or a dataset that was queried before. The parts
    add up to the prediction, in standard deviations (SD) of the results on the task. A result that was
    measured on the task itself is printed beside it and is no part. Similarity to the task, -1 to 1,
    compares the features of EXPERT with those of an ideal expert for the task.

    \b
    Example:
      expertise-graph explain ./my-images latin-letters
    """
    with context.workspace() as workspace:
        found = workspace.explain(task, expert)
    if as_json:
        emit_json(views.explanation_json(found))
    else:
        _show_explanation(found)


def _show_explanation(found: Explanation) -> None:
    click.echo(
        printable(
            f"{found.expert.short} on {found.task.name}: {found.predicted:+.2f} ± {found.deviation:.2f} SD, "
            f"{_place(found)}"
        )
    )
    if found.result is not None:
        click.echo(
            printable(f"{found.result}: query ranks by that; what follows explains the prediction without it")
        )
    elif found.measured is not None:
        click.echo("measured on this task: what follows explains the prediction without that result")
    parts = [
        {"part": _IN_WORDS.get(p.name, p.name), "contribution_sd": f"{p.moves:+.3f}"} for p in found.parts
    ]
    emit(parts, None, columns=("part", "contribution_sd"), title="contributions to the prediction")
    columns = ("name", "similarity", "score_sd", "contribution_sd")
    for title, carriers in (
        ("its results on other tasks", found.tasks),
        ("other experts scored on this task", found.others),
    ):
        if carriers:
            rows = [
                {
                    "name": f"{c.name} (self-reported)" if c.self_reported else c.name,
                    "similarity": c.likeness,
                    "score_sd": c.value,
                    "contribution_sd": f"{c.moves:+.3f}",
                }
                for c in carriers
            ]
            emit(rows, None, columns=columns, title=title)
    _line(
        "traits that tell good experts from others (covariates), by share of variance explained", found.traits
    )
    reliability = {_IN_WORDS.get(name, name): value for name, value in found.reliability.items()}
    _line("expected correlation of scores with results", reliability)
    if found.would is not None:
        click.echo(
            f"running it would reduce the uncertainty from ±{found.would.deviation:.2f} to "
            f"±{found.would.deviation_after:.2f} SD; probability that it becomes rank 1: "
            f"{found.would.becomes_first:.2f}"
        )


def _place(found: Explanation) -> str:
    """Return where the latest query ranked an expert, in words."""
    if found.queried_at is None:
        return f"rank {found.rank} of {found.experts} by what is known; the task was not queried yet"
    query = f"the query of {found.queried_at[:16].replace('T', ' ')} UTC"
    if found.rank is None:
        return f"not among the {count(found.experts, 'expert')} that {query} ranked"
    return f"rank {found.rank} of {found.experts} in {query}"


def _line(title: str, values: dict[str, float]) -> None:
    if values:
        listed = ", ".join(f"{n} {v:.2f}" for n, v in sorted(values.items(), key=lambda pair: -pair[1]))
        click.echo(printable(f"{title}: {listed}"))
