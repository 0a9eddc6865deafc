"""Commands about what was measured: history ls, tasks ls, and the groups of the imports."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from expertise_graph.cli.app import Context, app, pass_context
from expertise_graph.cli.output import emit, listing_options

if TYPE_CHECKING:
    from expertise_graph.core import Edge, Expert, Task


@app.group()
def history() -> None:
    """Results of experts on tasks, measured here or elsewhere."""


@app.group()
def scores() -> None:
    """Transferability scores of experts on tasks."""


@app.group()
def meta() -> None:
    """What is known about experts besides their results."""


@app.group()
def tasks() -> None:
    """The tasks that experts were measured on."""


@history.command("ls")
@click.option("--task", help="Only results on this task, by name or id.")
@click.option("--expert", help="Only results of this expert, by name or id.")
@listing_options
@pass_context
def history_ls(context: Context, task: str | None, expert: str | None, style: str | None) -> None:
    """List the measured results, the best of each task and metric first.

    \b
    Example:
      expertise-graph history ls --task pets
    """
    with context.store() as store:
        edges = store.edges("transfer")
        source = _id(expert, {e.source for e in edges}, store.find_expert)
        target = _id(task, {e.target for e in edges}, store.find_task)
        names = store.names()
    chosen = [e for e in edges if source in (None, e.source) and target in (None, e.target)]
    rows = [_row(edge, names) for edge in chosen]
    rows.sort(key=lambda r: (r["task"], r["metric"] or "", r["value"] * (1 if r["lower_is_better"] else -1)))
    columns = ("expert", "task", "metric", "value", "method", "seed", "n_train", "n", "seconds", "origin")
    emit(rows, style, columns=columns)


def _id(text: str | None, present: set[str], find: Callable[[str], Expert | Task]) -> str | None:
    """Return the id that `text` names; a node that was removed is known by its id only."""
    return text if text is None or text in present else find(text).id


def _row(edge: Edge, names: dict[str, str]) -> dict[str, Any]:
    return {
        "id": edge.source,
        "expert": names.get(edge.source, edge.source),
        "task_id": edge.target,
        "task": names.get(edge.target, edge.target),
        "metric": edge.metric,
        "value": edge.weight,
        "lower_is_better": bool(edge.meta.get("lower_is_better")),
        "method": edge.method,
        "seed": edge.seed,
        "n_train": edge.meta.get("n_train"),
        "n": edge.n,
        "seconds": edge.seconds,
        "date": edge.meta.get("date"),
        "run": edge.run,
        "origin": edge.meta.get("origin") or edge.run,
        "created_at": edge.created_at,
    }


@tasks.command("ls")
@listing_options
@pass_context
def tasks_ls(context: Context, style: str | None) -> None:
    """List the tasks, with how many results and scores there are on each.

    \b
    Example:
      expertise-graph tasks ls
    """
    with context.store() as store:
        known, counts = store.tasks(), store.task_counts()
    rows = [
        {
            "id": task.id,
            "name": task.name,
            "modality": task.modality,
            "items": task.n,
            "classes": len(task.classes),
            "results": counts.get(task.id, (0, 0))[0],
            "scores": counts.get(task.id, (0, 0))[1],
            "locator": task.locator,
            "created_at": task.created_at,
        }
        for task in known
    ]
    emit(rows, style, columns=("name", "modality", "items", "classes", "results", "scores"))
