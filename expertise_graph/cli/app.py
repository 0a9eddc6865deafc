"""The program: global options, and the one place where errors become exit codes."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from expertise_graph import __version__
from expertise_graph.cli.output import clean
from expertise_graph.cli.progress import Bars
from expertise_graph.core import ExpertiseError

if TYPE_CHECKING:
    from expertise_graph.store import Store
    from expertise_graph.workspace import Workspace

INTERRUPTED = 130
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Program(click.Group):
    """A group whose commands fail with one line: 1 for an error, 130 for Ctrl-C."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, turning errors into one line on stderr."""
        try:
            return super().invoke(ctx)
        except ExpertiseError as error:
            raise click.ClickException(clean(str(error))) from error
        except KeyboardInterrupt:
            click.echo("interrupted; what was done is kept, run the same command to go on", err=True)
            sys.exit(INTERRUPTED)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            where = f": {error.filename}" if error.filename else ""
            full = "; free some space and run the same command again" if error.errno in _FULL else ""
            raise click.ClickException(clean(f"{error.strerror or error}{where}{full}")) from error


@dataclass(frozen=True)
class Context:
    """What every command is given: where the workspace is, how much to say, and when it all began."""

    workspace_path: str | None
    verbose: bool
    started: float = field(default_factory=time.perf_counter)

    def workspace(self, bars: Bars | None = None) -> Workspace:
        """Open the workspace; long work is shown on `bars`."""
        from expertise_graph.workspace import Workspace

        return (
            Workspace(self.workspace_path, progress=bars.update) if bars else Workspace(self.workspace_path)
        )

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Open the registry alone, for commands that run no model and should start at once."""
        from expertise_graph.store import Store, find_workspace

        store = Store(find_workspace(self.workspace_path))
        try:
            yield store
        finally:
            store.close()


pass_context = click.make_pass_decorator(Context)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--workspace", metavar="PATH", help="Folder that holds registry.db [env EXPERTISE_GRAPH_HOME].")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr, e.g. which files were skipped.")
@click.version_option(__version__)
@click.pass_context
def app(ctx: click.Context, workspace: str | None, verbose: bool) -> None:
    """Find the pretrained model that is nearest to your task, and start fine-tuning from it."""
    ctx.obj = Context(workspace, verbose)
