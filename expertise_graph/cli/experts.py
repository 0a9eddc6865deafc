"""Commands about experts: init, register, ls, show, similar, rm."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
import yaml

import expertise_graph as xg
from expertise_graph import views
from expertise_graph.cli.app import FORM, CommandContext, app, pass_context
from expertise_graph.cli.output import Bars, emit, emit_ids, emit_json, listing_options, shown, table
from expertise_graph.cli.parameters import COUNT, isolation_options, max_download_option, trust_option
from expertise_graph.core import InvalidInputError, count, listed, printable

if TYPE_CHECKING:
    from expertise_graph import (
        Expert,
        ExpertiseError,
        HubSearch,
        InputSpec,
        Removed,
        SourceOptions,
        Workspace,
    )

    Outcomes = list[tuple[str, Expert | ExpertiseError]]


@app.command()
@click.argument("path", required=False)
@pass_context
def init(context: CommandContext, path: str | None) -> None:
    """Create a workspace in PATH.

    It holds registry.db, and embeddings/ with the shipped probe sets. By default PATH is
    $EXPERTISE_GRAPH_HOME, else the current folder. A workspace that is there stays.

    \b
    Example:
      expertise-graph init
    """
    with xg.Workspace.init(path or context.workspace_path) as workspace:
        experts = count(len(workspace.expert_ids()), "expert")
        click.echo(f"workspace at {workspace.folder}: {experts}", err=True)


_SOURCE_OPTIONS = (
    click.option("--name", help="Name of the expert.  [default: that of its source]"),
    click.option("--tag", "tags", multiple=True, help="Tag to filter by later; repeatable."),
    click.option("--license", "license_", metavar="SPDX", help="Licence, if the model card states none."),
    click.option(
        "--tower",
        "--modality",
        "modality",
        metavar="image|text",
        help="Tower of a model of images and texts.  [default: both, as two experts]",
    ),
    click.option(
        "--max-tokens",
        type=int,
        help="Cut texts to so many tokens, if the model takes as many.  [default: 512; zoo: 128]",
    ),
    click.option(
        "--prompt",
        metavar="NAME|TEXT",
        help="Put before each text: a prompt of the model by its name, or any text.  [default: as the model "
        "says]",
    ),
    click.option("--revision", help="Branch, tag or commit on the Hub.  [default: main]"),
    click.option("--weights", metavar="FILE", help="safetensors file with the weights of a factory: expert."),
    click.option("--input-size", type=int, help="Input height and width of a factory: expert, in pixels."),
    click.option(
        "--channels", type=int, default=3, show_default=True, help="Input channels of a factory: expert."
    ),
    click.option(
        "--mean",
        help="Mean per channel to subtract from inputs in 0-1, e.g. 0.485,0.456,0.406.  [default: 0.5]",
    ),
    click.option(
        "--std",
        help="Standard deviation per channel to divide by, e.g. 0.229,0.224,0.225.  [default: 0.5]",
    ),
    click.option(
        "--transform",
        metavar="MODULE:NAME",
        help="Function from a PIL image to a tensor, instead of resizing and scaling.",
    ),
    trust_option,
)


def _source_options(command: Any) -> Any:
    for option in reversed(_SOURCE_OPTIONS):
        command = option(command)
    return command


@app.command()
@click.argument("references", nargs=-1, metavar="[SOURCE]...")
@click.option(
    "--from-file",
    type=click.File(encoding="utf-8"),
    help="File of sources, - for stdin: one per line, with options as on the command line; or a YAML list "
    "of mappings such as {source: hf:org/name, license: mit}.",
)
@click.option(
    "--hub-search",
    metavar="TEXT",
    help="Models of the Hub with TEXT in their names, those downloaded most first.",
)
@click.option("--pipeline-tag", metavar="TAG", help="Of these those for this use, e.g. image-classification.")
@click.option("--max-params", type=COUNT, help="Of these those with at most this many parameters.")
@click.option(
    "--limit",
    default=100,
    show_default=True,
    type=click.IntRange(1),
    help="Most models of --hub-search.",
)
@click.option(
    "--metadata-only",
    is_flag=True,
    help="Keep what the Hub says about them and download nothing; query --fetch downloads the best.",
)
@max_download_option
@_source_options
@isolation_options
@listing_options
@pass_context
def register(
    context: CommandContext, /, references: tuple[str, ...], from_file: Any, style: str | None, **given: Any
) -> None:
    """Register experts.

    SOURCE is dir:PATH, hf:ORG/NAME, timm:ARCH.TAG, factory:MODULE:CALLABLE, adapter:PATH (a LoRA adapter),
    gguf:FILE, hf:ORG/NAME:FILE.gguf or zoo:NAME. dir: and timm: take the wildcards of a shell, in quotes:
    'dir:checkpoints/*', 'timm:resnet18*'. Models of the Hub are downloaded four at a time. Each expert is
    run on the probe set of its modality and compared with the others. Sources that fail do not keep the
    others out; the exit code is then 1.

    \b
    Example:
      expertise-graph register zoo:latin-letters zoo:emoji --tag vision
    """
    search, most = _hub_search(given), given.pop("max_download")
    wanted = [(reference, _options(given)) for reference in references]
    if from_file is not None:
        wanted += list(_read_sources(from_file, given))
    if not wanted and search is None:
        raise click.UsageError(
            "give at least one source, e.g. dir:./my-checkpoint or hf:org/name, or --from-file FILE"
        )
    with Bars() as bars, context.workspace(bars) as workspace:
        if search is not None:
            found = workspace.add_known_models(search)
            if given["metadata_only"]:
                emit([views.expert_json(e) for e in found], style, columns=_FOUND)
                return
            # At the commit that was found, which is the one that it is remembered of if it fails.
            options = _options(given)
            wanted += [(e.name, replace(options, revision=options.revision or e.revision)) for e in found]
        _tell_matches(workspace, wanted)
        outcomes = workspace.register_many(wanted, max_download=most)
        rows = registered_rows(workspace, outcomes)
    report_registered(rows, style)


def _tell_matches(workspace: Workspace, wanted: list[tuple[str, SourceOptions]]) -> None:
    """Say how many sources each pattern means; that one means none is told with the other errors."""
    for reference, _ in wanted:
        with contextlib.suppress(xg.ExpertiseError):
            found = workspace.matching(reference)
            if found != [reference]:
                click.echo(printable(f"{reference}: {count(len(found), 'match')}"), err=True)


def registered_rows(workspace: Workspace, outcomes: Outcomes) -> list[views.Json]:
    """Return what became of each source."""
    return [views.registered_json(s, found, FORM, called=workspace.experts_called) for s, found in outcomes]


def report_registered(rows: list[views.Json], style: str | None) -> None:
    """Print what was registered, then what was not and why; the exit code is 1 where something was not."""
    failed = [row for row in rows if row["error"]]
    for row in rows:
        for said in (row["error"], row["note"]):
            if said:
                click.echo(printable(f"{row['source']}: {said}"), err=True)
    if style is None:
        there = [row for row in rows if not row["error"]]
        if there:
            emit(there, None, columns=("source", "expert", "modality", "params", "license"))
        if failed:
            title = f"{len(failed):,} of {count(len(rows), 'source')} not registered"
            table(failed, ("source", "failure", "error"), title)
    else:
        emit(rows, style, columns=())
    if failed:
        sys.exit(1)


_FOUND = ("name", "modality", "params", "bytes", "license", "base_model")


def _hub_search(given: dict[str, Any]) -> HubSearch | None:
    """Return which models of the Hub are wanted, if any are."""
    text, use = given.pop("hub_search"), given.pop("pipeline_tag")
    most, limit = given.pop("max_params"), given.pop("limit")
    if text is None:
        if given["metadata_only"] or use or most:
            raise click.UsageError("--metadata-only, --pipeline-tag and --max-params need --hub-search TEXT")
        return None
    return xg.HubSearch(text=text, pipeline_tag=use, license=given["license_"], max_params=most, limit=limit)


@click.command(add_help_option=False)
@click.argument("source")
@_source_options
def _line(**given: Any) -> dict[str, Any]:
    return given


def _read_sources(file: Any, common: dict[str, Any]) -> Iterator[tuple[str, SourceOptions]]:
    """Return the sources of a file with their options; those of the command line hold where it has none."""
    text = file.read()
    for where, words in _words(text, file.name):
        if "--trust-code" in words:
            raise InvalidInputError(
                f"{where}: code is trusted by --trust-code on the command line only, which holds for the file"
            )
        try:
            context = _line.make_context(where, words, default_map=common)
        except click.UsageError as error:
            raise InvalidInputError(f"{where}: {error.format_message()}") from error
        given = dict(context.params)
        yield given.pop("source"), _options(given)


def _words(text: str, name: str) -> Iterator[tuple[str, list[str]]]:
    """Return where each source is given, and its words as on the command line."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if lines and lines[0][1].startswith("- "):
        yield from _yaml_words(text, name)
        return
    for number, line in lines:
        try:
            yield f"{name} line {number}", shlex.split(line, comments=True)
        except ValueError as error:
            raise InvalidInputError(f"{name} line {number}: {error}; quote as in a shell") from error


def _yaml_words(text: str, name: str) -> Iterator[tuple[str, list[str]]]:
    try:
        entries = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInputError(f"{name} cannot be read as YAML: {' '.join(str(error).split())}") from error
    for number, entry in enumerate(entries, 1):
        where = f"{name} entry {number}"
        settings = {"source": entry} if isinstance(entry, str) else entry
        if not isinstance(settings, dict) or not isinstance(settings.get("source"), str):
            raise InvalidInputError(
                f"{where} names no source: write e.g. - {{source: hf:org/name, license: mit}}"
            )
        words = [settings["source"]]
        for option, value in settings.items():
            for one in value if isinstance(value, list) and option in ("tag", "tags") else [value]:
                words += [] if option == "source" else _yaml_option(str(option), one)
        yield where, words


def _yaml_option(name: str, value: Any) -> list[str]:
    flag = f"--{'tag' if name == 'tags' else name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag] if value else []
    return [flag, ",".join(map(str, value)) if isinstance(value, list) else str(value)]


def _options(given: dict[str, Any]) -> SourceOptions:
    return xg.SourceOptions(
        trust_code=given["trust_code"],
        revision=given["revision"],
        weights=given["weights"],
        input=_input(given),
        modality=given["modality"],
        max_tokens=given["max_tokens"],
        prompt=given["prompt"],
        name=given["name"],
        license=given["license_"],
        tags=tuple(given["tags"]),
    )


def _input(given: dict[str, Any]) -> InputSpec | None:
    if given["input_size"] is None:
        return None
    return xg.InputSpec(
        size=given["input_size"],
        channels=given["channels"],
        mean=_numbers("--mean", given["mean"]) or (0.5,),
        std=_numbers("--std", given["std"]) or (0.5,),
        transform=given["transform"],
    )


def _numbers(option: str, text: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is not a list of numbers like 0.5,0.5,0.5", param_hint=option
        ) from error


@app.command()
@click.option("--modality", help="Only experts of this modality: image or text.")
@click.option("--tag", help="Only experts with this tag.")
@click.option("--license", "license_", metavar="SPDX", help="Only experts with this licence.")
@click.option(
    "--sort",
    type=click.Choice(["created_at", "name", "params", "bytes", "license"]),
    default="created_at",
    show_default=True,
    help="Column to sort by, ascending.",
)
@listing_options
@pass_context
def ls(
    context: CommandContext,
    modality: str | None,
    tag: str | None,
    license_: str | None,
    sort: str,
    style: str | None,
) -> None:
    """List the registered experts.

    \b
    Example:
      expertise-graph ls --modality image --sort params
    """
    with context.workspace() as workspace:
        if style == "quiet":
            emit_ids(workspace.expert_ids(modality, tag=tag, license=license_, order=sort))
            return
        rows = [views.expert_json(e) for e in workspace.experts(modality, tag=tag, license=license_)]
    rows.sort(key=lambda row: (row[sort], row["id"]))
    if style is None:
        rows = [r if r["runnable"] else {**r, "short": f"{r['short']} [metadata only]"} for r in rows]
    emit(
        rows,
        style,
        columns=("short", "modality", "architecture", "params", "bytes", "dim", "license", "tags"),
    )


@app.command()
@click.argument("expert")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def show(context: CommandContext, expert: str, as_json: bool) -> None:
    """Show one expert with its relations and measured results.

    \b
    Example:
      expertise-graph show latin-letters
    """
    with context.workspace() as workspace:
        content = views.details_json(workspace.show(expert))
    if as_json:
        emit_json(content)
        return
    relations, covariates = content.pop("relations"), content.pop("covariates")
    for key in ("parents", "children"):
        content[key] = (
            listed([f"{e['expert']} ({e['relation']}, {e['origin']})" for e in content[key]]) or None
        )
    emit([{"field": k, "value": shown(k, v)} for k, v in content.items()], None, columns=("field", "value"))
    if covariates:
        known = [{"covariate": k, "value": v} for k, v in covariates.items()]
        emit(known, None, columns=("covariate", "value"))
    columns = ("kind", "source", "target", "weight", "metric", "method", "origin", "created_at")
    emit(relations, None, columns=columns)


@app.command()
@click.argument("expert")
@click.option("-k", default=5, show_default=True, type=click.IntRange(1), help="Number of experts to list.")
@click.option("--all", "every", is_flag=True, help="List near-duplicates too, instead of folding them.")
@listing_options
@pass_context
def similar(context: CommandContext, expert: str, k: int, every: bool, style: str | None) -> None:
    """List the experts most similar to EXPERT.

    Similarity is the debiased CKA of the features on the probe set: 1 is identical up to rotation and
    scale, around 0 unrelated. Of near-duplicates, of EXPERT or of each other, the nearest is listed.

    \b
    Example:
      expertise-graph similar latin-letters -k 5
    """
    with context.workspace() as workspace:
        found = workspace.similar(expert, k, fold=not every)
    rows = [views.neighbour_json(n) for n in found]
    emit(rows, style, columns=("expert", "cka", "duplicate", "architecture", "license"))
    folded = [same.short for n in found for same in n.same_as]
    if folded and style is None:
        what = f"and {count(len(folded), 'near-duplicate')}: {listed(folded)} (--all lists them)"
        click.echo(printable(what))


@app.command()
@click.argument("experts", nargs=-1, required=True, metavar="EXPERT...")
@pass_context
def rm(context: CommandContext, experts: tuple[str, ...]) -> None:
    """Remove experts; their files, children and measured results stay.

    A second name of an expert removes that name only.
    Nothing is removed where a name is not known, or a training from one of them is under way. The same
    command can be run again: one that was removed before is passed over.

    \b
    Example:
      expertise-graph rm emoji
    """
    with context.workspace() as workspace:
        removed = workspace.remove_many(experts)
    for name, one in zip(experts, removed, strict=True):
        click.echo(printable(_removal(name, one)), err=True)


def _removal(name: str, removed: Removed | None) -> str:
    """Return the line that says what a name took out of the graph, and what is left."""
    if removed is None:
        return f"{name} was removed before"
    if removed.alias is not None:
        return f"removed the name {removed.alias}; {removed.expert.short} stays"
    line = f"removed {removed.expert.short}"
    if removed.names:
        line += f", also called {listed(removed.names)}"
    left = [(removed.children, "fine-tuned child"), (removed.results, "measured result")]
    stay = " and ".join(count(n, noun) for n, noun in left if n)
    if stay:
        line += f"; {stay} {'stays' if sum(n for n, _ in left) == 1 else 'stay'}"
    if removed.also:
        others = listed([expert.short for expert in removed.also])
        line += f"; {removed.expert.name} was a second name of {others}, and leads nowhere now"
    return line
