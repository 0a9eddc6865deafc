"""The command line: thin commands over `Workspace`, cheap to start."""

from expertise_graph.cli import (
    backtest,
    check,
    data,
    demo,
    experts,
    history,
    inference,
    merging,
    probe,
    query,
    training,
)
from expertise_graph.cli.app import app


def main() -> None:
    """Run the program; `expertise-graph` and `xg` call this."""
    app(auto_envvar_prefix="EXPERTISE_GRAPH")


__all__ = [
    "app",
    "backtest",
    "check",
    "data",
    "demo",
    "experts",
    "history",
    "inference",
    "main",
    "merging",
    "probe",
    "query",
    "training",
]
