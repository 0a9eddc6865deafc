"""The program: global options, and the one place where errors and settings take the form of options."""

from __future__ import annotations

import errno
import shlex
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from expertise_graph import __version__
from expertise_graph.cli.output import Bars
from expertise_graph.core import ExpertiseError, printable, with_settings
from expertise_graph.views import Form

if TYPE_CHECKING:
    from expertise_graph.core import Command
    from expertise_graph.workspace import Workspace

INTERRUPTED = 130
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# Settings whose option has another name; all others are called as the setting, with dashes.
_IRREGULAR = {
    "estimators": "estimator",
    "excluded_licenses": "exclude_license",
    "head": "include_head",
    "kinds": "kind",
    "languages": "language",
    "licenses": "license",
    "source": "from",
    "strategies": "strategy",
    "tags": "tag",
    "tasks": "task",
}


class Verb(click.Command):
    """A command whose errors name its options, and which takes -v as the program does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(_verbose_option())

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error that names settings names the options instead."""
        try:
            return super().invoke(ctx)
        except ExpertiseError as error:
            error.args = (in_options(str(error), ctx),)
            raise


class Group(click.Group):
    """A group of verbs."""

    command_class = Verb


class DefaultGroup(Group):
    """A group of verbs in which the first word, where it is none of them, is an argument of `show`."""

    DEFAULT = "show"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default verb before arguments that name none."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [self.DEFAULT, *args]
        return super().parse_args(ctx, args)


class ListingGroup(Verb, Group):
    """A group of verbs that lists what it is about when no verb is given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, invoke_without_command=True, **kwargs)


class Program(Group):
    """The group of all commands; they fail with one line: exit code 1 for an error, 130 for Ctrl-C."""

    group_class = Group

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, turning errors into one line on stderr."""
        try:
            return super().invoke(ctx)
        except ExpertiseError as error:
            raise click.ClickException(printable(str(error))) from error
        except KeyboardInterrupt as interrupt:
            # A verb that knows what it has done says so; the others keep what is finished, be it nothing.
            done = str(interrupt) or "finished work is kept"
            click.echo(printable(f"interrupted; {done}: re-run the same command to resume"), err=True)
            sys.exit(INTERRUPTED)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            where = f": {error.filename}" if error.filename else ""
            full = "; free some space and re-run the same command" if error.errno in _FULL else ""
            raise click.ClickException(printable(f"{error.strerror or error}{where}{full}")) from error


@dataclass
class CommandContext:
    """What every command is given: where the workspace is, how much to print, and when it all began.

    `limits` are settings of the workspace for experts from outside, where they were given.
    """

    workspace_path: str | None
    verbose: bool
    limits: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def workspace(self, bars: Bars | None = None, *, must_exist: bool = True) -> Workspace:
        """Open the workspace; long work is shown on `bars`."""
        from expertise_graph.core import silent
        from expertise_graph.workspace import Workspace

        progress = bars.update if bars else silent
        return Workspace(self.workspace_path, progress=progress, must_exist=must_exist, **self.limits)


pass_context = click.make_pass_decorator(CommandContext)


def _verbose_option() -> click.Option:
    return click.Option(
        ["-v", "--verbose"],
        is_flag=True,
        expose_value=False,
        callback=_set_verbose,
        help="Print more on stderr, e.g. which files were skipped.",
    )


def _set_verbose(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and isinstance(context.obj, CommandContext):
        context.obj.verbose = True


def in_options(message: str, context: click.Context | None = None, *, of: str | None = None) -> str:
    """Return a message whose settings are written as options of a command.

    A setting that is no option of it stays as it is.

    Args:
        message: with settings as `core.setting` writes them.
        context: of the command that runs; by default the current one.
        of: name of the verb whose options are meant; by default the command that runs.
    """
    context = context or click.get_current_context(silent=True)
    if context is None:
        return message
    params = [*(app.commands[of] if of else context.command).params, *context.find_root().command.params]
    options = {_name(flag): p for p in params if isinstance(p, click.Option) for flag in p.opts}

    def form(name: str, value: str | None) -> str:
        if name == "max_bytes":
            name, value = "max_mb", value and f"{int(value) / 1e6:g}"
        option = options.get(name) or options.get(_IRREGULAR.get(name, ""))
        if option is None:
            return f"`{name}`" if value is None else f"`{name}={value}`"
        flag = max(option.opts, key=len)
        if value is None or (option.is_flag and value == "True"):
            return flag
        if option.is_flag:
            return (option.secondary_opts or option.opts)[-1]
        values = value.split(", ") if option.multiple else [value]
        return " ".join(f"{flag} {shlex.quote(v) if ' ' in v else v}" for v in values)

    return with_settings(message, form)


def _name(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def command_line(command: Command | None) -> str:
    """Return a command as it is typed in a shell.

    Example:
        >>> from expertise_graph.core import Command
        >>> command_line(Command("warm_start", ("my pets",), {"strategy": "lp-ft", "trust_code": True}))
        "expertise-graph warm-start 'my pets' --strategy lp-ft --trust-code"
    """
    if command is None:
        return ""
    verb = command.verb.replace("_", "-")
    words = ["expertise-graph", verb, *command.arguments]
    off = {p.name: p.secondary_opts for p in app.commands[verb].params if isinstance(p, click.Option)}
    for name, value in command.settings.items():
        if value is False:
            words += off.get(name, [])
        elif value is not None:
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)


FORM = Form(command=command_line, message=in_options)
"""How views write commands and settings for the command line."""


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--workspace",
    metavar="PATH",
    help="Folder that holds registry.db; by default $EXPERTISE_GRAPH_HOME, else the nearest folder upwards "
    "that holds one.",
)
@click.option("-v", "--verbose", is_flag=True, help="Print more on stderr, e.g. which files were skipped.")
@click.version_option(__version__)
@click.pass_context
def app(ctx: click.Context, workspace: str | None, verbose: bool) -> None:
    """Find the pretrained model that transfers best to your task, and fine-tune from it."""
    # Time budgets count from the start of the process, where `main` says when that was.
    ctx.obj = CommandContext(workspace, verbose, started=ctx.obj or time.perf_counter())
