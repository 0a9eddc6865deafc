"""The command line: thin commands over `Workspace`, cheap to start."""

from expertise_graph.cli.app import app
from expertise_graph.cli.auto import auto
from expertise_graph.cli.backtest import backtest
from expertise_graph.cli.check import check
from expertise_graph.cli.demo import demo
from expertise_graph.cli.evaluate import evaluate
from expertise_graph.cli.experts import init, ls, register, rm, show, similar
from expertise_graph.cli.explain import explain
from expertise_graph.cli.export import export
from expertise_graph.cli.history import history, meta, scores, tasks
from expertise_graph.cli.imports import history_import, meta_import, scores_import, tasks_import_distance
from expertise_graph.cli.merging import delta, delta_apply, delta_make, merge
from expertise_graph.cli.predict import predict
from expertise_graph.cli.query import query
from expertise_graph.cli.tasks import probe
from expertise_graph.cli.training import runs, warm_start


def main() -> None:
    """Run the program; `expertise-graph` and `xg` call this."""
    app(auto_envvar_prefix="EXPERTISE_GRAPH")


__all__ = [
    "app",
    "auto",
    "backtest",
    "delta",
    "delta_apply",
    "delta_make",
    "check",
    "demo",
    "evaluate",
    "explain",
    "export",
    "history",
    "history_import",
    "init",
    "ls",
    "main",
    "merge",
    "meta",
    "meta_import",
    "predict",
    "probe",
    "query",
    "register",
    "rm",
    "runs",
    "scores",
    "scores_import",
    "show",
    "similar",
    "tasks",
    "tasks_import_distance",
    "warm_start",
]
