"""The demo command: the whole story, told as it happens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from expertise_graph.cli.app import app
from expertise_graph.cli.output import clean
from expertise_graph.cli.progress import Bars
from expertise_graph.cli.query import show_ranking
from expertise_graph.cli.training import reporter, show_result

if TYPE_CHECKING:
    from expertise_graph.demo import Chapter, Demo


@app.command()
@click.option(
    "--out",
    default="runs/demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for everything.",
)
@click.option("--task", "tasks", multiple=True, help="Train on this example task; may be repeated.")
def demo(out: Path, tasks: tuple[str, ...]) -> None:
    """Run the whole loop on the starter experts and the example data, in a folder of its own.

    \b
    Example:
      expertise-graph demo --out runs/demo
    """
    from expertise_graph.demo import ASKED_ONLY, Demo

    out = out.absolute()
    with Bars() as bars:
        story = Demo(out, bars.update, reporter(bars))
        if set(tasks) - set(story.tasks()):
            raise click.BadParameter(f"there are: {', '.join(story.tasks())}", param_hint="--task")
        _tell_experts(story)
        trained = tasks or [task for task in story.tasks() if task not in ASKED_ONLY]
        chapters = [_tell_task(story, task) for task in trained]
        for task in () if tasks else ASKED_ONLY:
            click.echo(f"\n4. Another task, another answer: {task}")
            show_ranking(story.ask(task))
    summary = story.finish(chapters)
    _draw(story, chapters)
    click.echo(f"\nSummary in {summary}")


def _tell_experts(story: Demo) -> None:
    click.echo("1. Registering the starter experts")
    for name, expert in story.register():
        if isinstance(expert, Exception):
            click.echo(clean(f"   {name}: {expert}"), err=True)
        else:
            near = story.workspace.similar(expert.id, 1)
            beside = f", nearest {near[0].expert.name} (CKA {near[0].cka:.2f})" if near else ""
            click.echo(clean(f"   {expert.short}: {expert.modality}, {expert.architecture}{beside}"))


def _tell_task(story: Demo, task: str) -> Chapter:
    click.echo(f"\n2. Which expert to start from for {task}?")
    chapter = story.run(task)
    show_ranking(chapter.ranking)
    click.echo(f"Asked again: {chapter.summary.experts_run_again} experts run.")
    click.echo("\n3. Warm start from it, and a cold start on the same budget")
    show_result(chapter.result, story.workspace.store.names())
    return chapter


def _draw(story: Demo, chapters: list[Chapter]) -> None:
    from expertise_graph import plots
    from expertise_graph.registry import ego

    curves = story.out / "accuracy.png"
    plots.draw_histories({c.summary.task: Path(c.result.path) for c in chapters}, curves)
    child = story.workspace.store.expert(chapters[0].result.child)
    around = story.out / "graph.png"
    plots.draw_graph(ego(story.workspace.graph(), child.id, 2), around, title=f"around {child.name}")
    click.echo(f"\nPictures: {curves}, {around}")
