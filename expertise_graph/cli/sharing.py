"""Commands about sharing: push, pull, merge-registry, verify, publish."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from expertise_graph import views
from expertise_graph.cli.app import CommandContext, app, in_options, pass_context
from expertise_graph.cli.output import Bars, emit_json, table
from expertise_graph.cli.parameters import SEED, isolation_options
from expertise_graph.core import byte_size, count, listed, printable

if TYPE_CHECKING:
    from pathlib import Path

    from expertise_graph import Pulled

# Conflicts that are shown; --json has up to a thousand.
_SHOWN = 10


@app.command()
@click.argument("target", metavar="ORG/NAME|FOLDER")
@click.option(
    "--public", is_flag=True, help="Make a new repository public; without, only its owners can read it."
)
@click.option(
    "--anonymous",
    is_flag=True,
    help="Replace the names of tasks and classes by hashes that nobody can guess.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def push(context: CommandContext, target: str, *, public: bool, anonymous: bool, as_json: bool) -> None:
    """Share the registry with others, without weights and data.

    ORG/NAME is a dataset repository on the Hugging Face Hub, made if it is not there, private by default;
    FOLDER is written as a path, e.g. ./our-graph. Shared are names, numbers and where each is from; no data,
    no weights, no paths. Whoever pulls it keeps what they have measured themselves.

    \b
    Example:
      expertise-graph push ./our-graph
    """
    with Bars() as bars, context.workspace(bars) as workspace:
        done = workspace.push(target, public=public, anonymous=anonymous, draw=_draw)
    if as_json:
        emit_json(views.pushed_json(done))
        return
    what = f"{views.shared_line(done.rows)} ({byte_size(done.bytes)})"
    told = f"pushed to {done.place}@{done.revision[:12]}: {what}"
    click.echo(printable(told if done.changed else f"{done.place} has it all already: {what}"))


def _draw(graph: Any, path: Path) -> None:
    """Draw the graph; the library for it is loaded when there is something to draw."""
    from expertise_graph.plots import draw_graph

    draw_graph(graph, path)


@app.command()
@click.argument("source", metavar="ORG/NAME|FOLDER")
@click.option("--revision", metavar="SHA", help="Commit, branch or tag of the repository.  [default: main]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def pull(context: CommandContext, source: str, *, revision: str | None, as_json: bool) -> None:
    """Merge a registry that somebody has pushed into this one.

    Everything is checked before anything is merged. What is measured here stays; what is merged is marked
    with ORG/NAME@commit; pulling again replaces what came from there before. Contradictions are listed.

    \b
    Example:
      expertise-graph pull ./our-graph
    """
    with Bars() as bars, context.workspace(bars) as workspace:
        done = workspace.pull(source, revision=revision)
    _show(done, as_json)


@app.command("merge-registry")
@click.argument("source", metavar="FOLDER")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def merge_registry(context: CommandContext, source: str, *, as_json: bool) -> None:
    """Merge another workspace, or a pushed folder, into this one.

    The rules are those of pull.

    \b
    Example:
      expertise-graph merge-registry ../other-workspace
    """
    with Bars() as bars, context.workspace(bars) as workspace:
        done = workspace.merge_registry(source)
    _show(done, as_json)


def _show(done: Pulled, as_json: bool) -> None:
    """Print what was merged, and what contradicts what is here."""
    if as_json:
        emit_json(views.pulled_json(done))
        return
    parts = [
        f"{views.shared_line({name: getattr(counts, what) for name, counts in done.tables.items()})} {what}"
        for what in ("added", "replaced", "removed")
        if what == "added" or any(getattr(counts, what) for counts in done.tables.values())
    ]
    known = sum(counts.same for counts in done.tables.values())
    parts += [f"{count(known, 'row')} known already"] if known else []
    click.echo(printable(f"merged from {done.place}, marked {done.origin}: {'; '.join(parts)}"))
    conflicts = sum(counts.conflicts for counts in done.tables.values())
    if conflicts:
        more = f", the first {_SHOWN}" if conflicts > _SHOWN else ""
        title = f"{count(conflicts, 'row')} there contradict what is here, which stays{more}:"
        rows = [
            {"table": views.ROWS[c.table], "of": c.key, "here": c.here, "there": c.there, "from": c.origin}
            for c in done.conflicts[:_SHOWN]
        ]
        table(rows, ("table", "of", "here", "there", "from"), title)
    for note in done.notes:
        click.echo(f"note: {printable(in_options(note))}", err=True)


@app.command()
@click.option(
    "--reprobe",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    metavar="N",
    help="Run N of the pulled experts on the probe set, drawn at random.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed of the draw.")
@isolation_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def verify(context: CommandContext, *, reprobe: int, seed: int, as_json: bool) -> None:
    """Run pulled experts again and compare their embeddings.

    Where the two differ by more than other machines do (cosine below 0.9998), or an expert cannot be run, it
    is named, and the exit code is 1. Nothing is changed: rm takes an expert out, register embeds it here.

    \b
    Example:
      expertise-graph verify --reprobe 3
    """
    with Bars() as bars, context.workspace(bars) as workspace:
        found = workspace.reprobe(reprobe, seed=seed)
    rows = [views.reprobed_json(one) for one in found]
    if as_json:
        emit_json(rows)
    else:
        shown = [{**r, "cosine": "" if r["cosine"] is None else f"{r['cosine']:.6f}"} for r in rows]
        table(shown, ("expert", "origin", "cosine", "confirmed", "error"))
    if wrong := [r for r in rows if r["confirmed"] is False]:
        names = listed([r["expert"] for r in wrong])
        click.echo(printable(f"not what was said: {names}"), err=True)
    if not all(r["confirmed"] for r in rows):
        sys.exit(1)


@app.command()
@click.argument("model", metavar="MODEL")
@click.argument("repository", metavar="ORG/NAME")
@click.option("--private", is_flag=True, help="Make a new repository private.  [default: public]")
@click.option(
    "--license", "license_", metavar="ID", help="Licence of the model.  [default: that of its parent]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def publish(
    context: CommandContext,
    model: str,
    repository: str,
    *,
    private: bool,
    license_: str | None,
    as_json: bool,
) -> None:
    """Publish a fine-tuned model on the Hub, with a model card.

    MODEL is the folder of a run, or what a warm start left. The card has licence, base model and the measured
    score as model-index. A licence that the parent does not allow is refused. No checkpoints, states of
    optimisers, predictions or paths go there.

    \b
    Example:
      expertise-graph publish runs/first our-lab/pets
    """
    with Bars() as bars, context.workspace(bars, must_exist=False) as workspace:
        done = workspace.publish(model, repository, public=not private, license=license_)
    if as_json:
        emit_json(views.published_json(done))
        return
    score = "" if done.value is None else f", {done.metric} {done.value:.3f} on {done.dataset}"
    told = f"published as {done.repository}@{done.revision[:12]}, licence {done.license}{score}"
    click.echo(printable(told))
