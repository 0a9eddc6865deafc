"""The command line: thin commands over `Workspace`, cheap to start."""

import gc

from expertise_graph.cli import (
    backtest,
    catalogue,
    check,
    data,
    demo,
    experts,
    history,
    hub,
    inference,
    lineage,
    merging,
    probe,
    query,
    sharing,
    training,
)
from expertise_graph.cli.app import app
from expertise_graph.core import process_started


def main() -> None:
    """Run the program; `expertise-graph` and `xg` call this."""
    try:
        app(auto_envvar_prefix="EXPERTISE_GRAPH", obj=process_started())
    finally:
        # Looking for garbage among the half a million objects of torch and transformers takes 2 s at the end.
        gc.freeze()


__all__ = [
    "app",
    "backtest",
    "catalogue",
    "check",
    "data",
    "demo",
    "experts",
    "history",
    "hub",
    "inference",
    "lineage",
    "main",
    "merging",
    "probe",
    "query",
    "sharing",
    "training",
]
