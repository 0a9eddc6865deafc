"""The command line: thin commands over `Workspace`, cheap to start."""

from expertise_graph.cli import demo, experts, query, tasks, training
from expertise_graph.cli.app import app

commands = (demo, experts, query, tasks, training)
"""Modules that have added their commands to the program by being imported."""


def main() -> None:
    """Run the program; `expertise-graph` and `xg` call this."""
    app(auto_envvar_prefix="EXPERTISE_GRAPH")


__all__ = ["app", "commands", "main"]
