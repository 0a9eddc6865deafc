"""Commands about lineage: lineage EXPERT, lineage set, unset and suspect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from expertise_graph import views
from expertise_graph.cli.app import CommandContext, DefaultGroup, app, pass_context
from expertise_graph.cli.output import Bars, emit, emit_json
from expertise_graph.core import count, listed, percent, printable

if TYPE_CHECKING:
    from expertise_graph import Stated

# As in registry.lineage, which --help does not load.
RELATIONS = ("fine-tune", "adapter", "merge", "quantised")

# Results of an expert that a line of the tree shows.
_RESULTS = 2

# A tree in a table is indented so far at most.
_DEEPEST = 12


@app.group(cls=DefaultGroup)
def lineage() -> None:
    """Show or correct where experts come from.

    \b
    Examples:
      expertise-graph lineage latin-letters
      expertise-graph lineage set latin-letters hf:org/base
    """


@lineage.command("show")
@click.argument("expert")
@click.option(
    "--depth",
    type=click.IntRange(1),
    metavar="N",
    help="Generations to show in each direction.  [default: all]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def lineage_show(context: CommandContext, expert: str, depth: int | None, as_json: bool) -> None:
    """Show what EXPERT descends from, and what descends from it.

    Each line says what a relation is known from: a run of this workspace, the model card of the child, or
    you; and whether the weights agree with a card. What only the weights suggest is listed apart. The word
    "show" may be left out.

    \b
    Example:
      expertise-graph lineage latin-letters
    """
    with context.workspace() as workspace:
        content = views.lineage_json(workspace.lineage(expert, depth=depth))
    if as_json:
        emit_json(content)
    else:
        _show(content)


def _show(content: dict[str, Any]) -> None:
    measured = _results(content["measured"])
    click.echo(printable(f"{content['expert']}: {content['kind']}{f', {measured}' if measured else ''}"))
    columns = ("expert", "relation", "known_from", "measured")
    for title, key in (("descends from", "ancestors"), ("descendants", "descendants")):
        if content[key]:
            emit([_row(one) for one in content[key]], None, columns=columns, title=title)
    if content["suspected"]:
        rows = [_suspected(one, content) for one in content["suspected"]]
        emit(rows, None, columns=("expert", "suspected"), title="suspected from weights")
    for line in _notes(content):
        click.echo(line)


def _row(one: dict[str, Any]) -> dict[str, Any]:
    depth = min(abs(one["generation"]) - 1, _DEEPEST)
    marks = ("" if one["registered"] else " [not registered]") + (" (see above)" if one["again"] else "")
    return {
        "expert": f"{'  ' * depth}{one['expert']}{marks}",
        "relation": one["relation"],
        "known_from": _known_from(one),
        "measured": _results(one["measured"]),
    }


def _known_from(one: dict[str, Any]) -> str:
    """Return in words what a relation is known from, and what the weights say of it."""
    if one["origin"] == "run":
        return str(one["run"] or f"a run ({one['method']})")
    source = {"card": "model card", "user": "you"}[one["origin"]]
    if one["distance"] is None:
        return source
    says = {True: "weights agree, they", False: "weights speak against it, they"}
    return f"{source}; {says.get(one['confirmed'], 'weights')} differ by {_share(one['distance'])}"


def _share(distance: float) -> str:
    return "less than 1 %" if distance < 0.005 else percent(distance)


def _results(measured: Sequence[dict[str, Any]]) -> str:
    best = [f"{one['metric']} {one['value']:.3f} on {one['task_name']}" for one in measured]
    return listed(best, _RESULTS)


def _suspected(one: dict[str, Any], content: dict[str, Any]) -> dict[str, str]:
    line = f"weights differ by {_share(one['distance'])}"
    if one["between"]:
        lies = content["expert"] if one["first"] == one["id"] else one["expert"]
        line += f"; {lies} lies between this and another one, as a merge or a step from one to the other does"
    elif one["relation"]:
        child = content["expert"] if one["first"] == one["id"] else one["expert"]
        line += f"; {child} is probably the {one['relation']}: {one['reason']}"
    else:
        line += "; which came first is not known"
    return {"expert": one["expert"], "suspected": line}


def _notes(content: dict[str, Any]) -> Iterator[str]:
    if not (content["ancestors"] or content["descendants"] or content["suspected"]):
        yield (
            "nothing says what it descends from; to compare its weights with others: expertise-graph lineage "
            f"suspect {content['expert']}"
        )
    if content["claims_itself"]:
        yield "its model card names the model itself as its base model"
    if content["circular"]:
        yield (
            "the statements go in a circle, so one of them is wrong; to take it out: expertise-graph lineage "
            "unset CHILD PARENT"
        )
    if content["left_out"]:
        yield "there are more relatives than are shown; fewer generations: --depth N"


@lineage.command("set")
@click.argument("child")
@click.argument("parent")
@click.option(
    "--relation",
    type=click.Choice(RELATIONS),
    help="What CHILD is to PARENT.  [default: as its model card and tags say, else fine-tune]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def lineage_set(
    context: CommandContext, child: str, parent: str, relation: str | None, as_json: bool
) -> None:
    """State that CHILD was made from PARENT.

    PARENT is an expert, or a reference such as hf:ORG/NAME of one that is not registered. Your statement
    counts more than model cards, and stays when either is registered again or removed.

    \b
    Example:
      expertise-graph lineage set latin-letters hf:org/base --relation fine-tune
    """
    with context.workspace() as workspace:
        stated = workspace.set_lineage(child, parent, relation=relation)
        names = workspace.names([edge.source for edge in stated.others])
    content = views.stated_json(stated)
    if as_json:
        emit_json(content)
        return
    called = stated.known.short if stated.known else stated.parent
    verb = "is already on record as" if stated.before else "is now on record as"
    line = f"{stated.child.short} {verb} {_article(content['relation'])} of {called}"
    click.echo(printable(f"{line}, from a run" if content["origin"] == "run" else line), err=True)
    for line in _others(stated, content, names):
        click.echo(printable(line), err=True)


@lineage.command("unset")
@click.argument("child")
@click.argument("parent")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def lineage_unset(context: CommandContext, child: str, parent: str, as_json: bool) -> None:
    """State that CHILD was not made from PARENT.

    Whatever its model card says: the claim, or the suspicion, does not come back when CHILD is registered
    again; lineage set takes that back. What a run of this workspace left is on record and stays.

    \b
    Example:
      expertise-graph lineage unset latin-letters hf:org/base
    """
    with context.workspace() as workspace:
        stated = workspace.unset_lineage(child, parent)
        names = workspace.names([edge.source for edge in stated.others])
    content = views.stated_json(stated)
    if as_json:
        emit_json(content)
        return
    called = stated.known.short if stated.known else stated.parent
    line = f"{stated.child.short} {'was' if stated.before else 'is now'} on record as no child of {called}"
    click.echo(printable(f"{line} before" if stated.before else line), err=True)
    for line in _others(stated, content, names):
        click.echo(printable(line), err=True)


def _article(relation: str) -> str:
    named = {"adapter": "an adapter", "quantised": "a quantised version"}
    return named.get(relation, f"a {relation}")


def _others(stated: Stated, content: dict[str, Any], names: dict[str, str]) -> Iterator[str]:
    """Say what else is on record about the parents of a child."""
    sources = {"card": "its model card", "user": "you", "run": "a run"}
    for one in content["others"]:
        called = names.get(one["id"], one["id"])
        line = f"its other parent: {called} ({one['relation']}, by {sources[one['origin']]})"
        if one["origin"] != "run":
            line += f"; to take it out: expertise-graph lineage unset {stated.child.short} {called}"
        yield line


@lineage.command("suspect")
@click.argument("expert", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def lineage_suspect(context: CommandContext, expert: str | None, as_json: bool) -> None:
    """Find experts that are related by their weights.

    For where model cards are silent: compares a sample of the weights of EXPERT, or of all experts, with
    those of others whose tensors have the same names and shapes. Weights that differ by less than 47 % have
    an ancestor in common; unrelated ones differ by 141 %. A new expert is compared with 256 others when it is
    registered; here with all.

    \b
    Example:
      expertise-graph lineage suspect
    """
    with Bars() as bars, context.workspace(bars) as workspace:
        rows = [views.suspicion_json(one) for one in workspace.suspect_lineage(expert)]
    if as_json:
        emit_json(rows)
        return
    if not rows:
        none = f"no weights are close to those of {expert}" if expert else "all that are close are on record"
        click.echo(printable(none), err=True)
        return
    shown = [{**row, "difference": _share(row["distance"]), "which_came_first": _first(row)} for row in rows]
    emit(shown, None, columns=("expert", "other", "difference", "which_came_first"))
    count_ = count(len(rows), "pair")
    click.echo(f"{count_}; state what you know with: expertise-graph lineage set CHILD PARENT", err=True)


def _first(row: dict[str, Any]) -> str:
    if row["between"]:
        return "not known; EXPERT lies between OTHER and another one, as a merge does"
    return f"other, probably: {row['reason']}" if row["relation"] else "not known"
