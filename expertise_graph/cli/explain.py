"""The explain command."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from expertise_graph.cli.app import Context, app, pass_context
from expertise_graph.cli.output import clean, emit, emit_json

if TYPE_CHECKING:
    from expertise_graph.core import Task
    from expertise_graph.retrieval import Explanation
    from expertise_graph.store import Store


@app.command()
@click.argument("task")
@click.argument("expert")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def explain(context: Context, /, task: str, expert: str, as_json: bool) -> None:
    """Say why EXPERT is predicted to do what it is predicted to do on TASK.

    TASK is the name or id of a task of the registry, or a dataset that was asked for before. The
    parts add up to the prediction, in standard deviations of the results on the task.

    \b
    Example:
      expertise-graph explain ./my-images latin-letters
    """
    from expertise_graph.features import probe_sets as probes
    from expertise_graph.retrieval import explain as run

    with context.store() as store:
        known = _task(store, task)
        node = store.find_expert(expert)
        modality = known.modality if known.modality != "unknown" else node.modality
        sets = store.probe_sets(modality)
        probe_set = probes.current(store, modality).id if sets else ""
        found = run(store, probe_set, known, node)
    if as_json:
        emit_json(explanation_json(found))
    else:
        _show(found)


def _task(store: Store, text: str) -> Task:
    """Return the task that a name, an id, or the path it was read from names."""
    path = str(Path(text).absolute()) if Path(text).exists() else text
    found = [t for t in store.tasks() if t.locator and t.locator in (text, path)]
    return found[-1] if found else store.find_task(text)


def explanation_json(found: Explanation) -> dict[str, Any]:
    """Return the documented JSON form of an explanation."""
    content = dataclasses.asdict(dataclasses.replace(found, task=None, expert=None))  # type: ignore[arg-type]
    return content | {
        "task": found.task.id,
        "task_name": found.task.name,
        "expert": found.expert.id,
        "name": found.expert.name,
    }


def _show(found: Explanation) -> None:
    name = found.expert.short
    click.echo(
        clean(
            f"{name} on {found.task.name}: {found.predicted:+.2f} sd, give or take {found.deviation:.2f}; "
            f"place {found.rank} of {found.experts}"
        )
    )
    if found.measured is not None:
        click.echo(f"measured on this very task: {found.measured:+.2f} sd (not part of the prediction)")
    emit([dataclasses.asdict(p) for p in found.parts], None, columns=("name", "moves"), title="what moves it")
    columns = ("name", "likeness", "value", "moves")
    for title, carriers in (("its results elsewhere", found.tasks), ("others scored here", found.others)):
        if carriers:
            emit([dataclasses.asdict(c) for c in carriers], None, columns=columns, title=title)
    _line("covariates that tell good experts from others", found.traits)
    _line("how far scores are trusted (correlation with results)", found.reliability)
    if found.would is not None:
        click.echo(
            f"running it would narrow the prediction from {found.would.deviation:.2f} to "
            f"{found.would.deviation_after:.2f} sd; it would become first with probability "
            f"{found.would.becomes_first:.2f}"
        )


def _line(title: str, values: dict[str, float]) -> None:
    if values:
        listed = ", ".join(f"{n} {v:.2f}" for n, v in sorted(values.items(), key=lambda pair: -pair[1]))
        click.echo(clean(f"{title}: {listed}"))
