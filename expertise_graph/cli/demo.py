"""The demo command: register, query and fine-tune on example data, each step printed as it happens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from expertise_graph.cli.app import app, in_options
from expertise_graph.cli.output import Bars
from expertise_graph.cli.query import show_ranking
from expertise_graph.cli.training import reporter, show_result
from expertise_graph.core import count, printable

if TYPE_CHECKING:
    from expertise_graph.demo import Chapter, Demo


@app.command()
@click.option(
    "--out",
    default="runs/demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Output folder; it gets a workspace of its own.",
)
@click.option(
    "--task", "tasks", multiple=True, help="Train only on this example task; repeatable.  [default: all]"
)
def demo(out: Path, tasks: tuple[str, ...]) -> None:
    """Run the whole workflow on starter experts and example data.

    \b
    Example:
      expertise-graph demo --out runs/demo
    """
    from expertise_graph.demo import ASKED_ONLY, Demo

    out = out.absolute()
    with Bars() as bars:
        story = Demo(out, bars.update, reporter(bars))
        if set(tasks) - set(story.tasks()):
            raise click.BadParameter(f"example tasks: {', '.join(story.tasks())}", param_hint="--task")
        first = next(iter(story.tasks()))
        click.echo(f"0. Nothing is registered: published models for {first}")
        show_ranking(story.known(first))
        click.echo()
        _tell_experts(story)
        trained = tasks or [task for task in story.tasks() if task not in ASKED_ONLY]
        chapters = [_tell_task(story, task) for task in trained]
        for task in () if tasks else ASKED_ONLY:
            click.echo(f"\n4. Ranking for another task: {task}")
            show_ranking(story.ask(task))
    summary = story.finish(chapters)
    _draw(story, chapters)
    click.echo(f"\nSummary in {summary}")


def _tell_experts(story: Demo) -> None:
    click.echo("1. Register the starter experts")
    for name, expert in story.register():
        if isinstance(expert, Exception):
            click.echo(printable(f"   {name}: {in_options(str(expert))}"), err=True)
        else:
            near = story.workspace.similar(expert.id, 1)
            beside = f", nearest {near[0].expert.name} (CKA {near[0].cka:.2f})" if near else ""
            click.echo(printable(f"   {expert.short}: {expert.modality}, {expert.architecture}{beside}"))


def _tell_task(story: Demo, task: str) -> Chapter:
    click.echo(f"\n2. Rank the experts for {task}")
    chapter = story.run(task)
    show_ranking(chapter.ranking)
    click.echo(f"Same query again: {count(chapter.summary.experts_run_again, 'expert')} run.")
    click.echo("\n3. Fine-tune from rank 1, and train from scratch on the same budget")
    show_result(chapter.result, story.workspace.names())
    return chapter


def _draw(story: Demo, chapters: list[Chapter]) -> None:
    from expertise_graph import plots
    from expertise_graph.demo import PLOTS

    curves, around = (story.out / name for name in PLOTS)
    plots.draw_histories({c.summary.task: Path(c.result.path) for c in chapters}, curves)
    child = story.workspace.expert(chapters[0].result.child)
    graph = story.workspace.graph(around=child.id, radius=2)
    plots.draw_graph(graph, around, title=f"around {child.name}")
    click.echo(f"\nPlots: {curves}, {around}")
