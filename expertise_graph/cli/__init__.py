"""The command line: thin commands over `Workspace`, cheap to start."""

from expertise_graph.cli.app import app
from expertise_graph.cli.demo import demo
from expertise_graph.cli.experts import export, init, ls, register, rm, show, similar
from expertise_graph.cli.query import query
from expertise_graph.cli.tasks import probe
from expertise_graph.cli.training import runs, warm_start


def main() -> None:
    """Run the program; `expertise-graph` and `xg` call this."""
    app(auto_envvar_prefix="EXPERTISE_GRAPH")


__all__ = [
    "app",
    "demo",
    "export",
    "init",
    "ls",
    "main",
    "probe",
    "query",
    "register",
    "rm",
    "runs",
    "show",
    "similar",
    "warm_start",
]
