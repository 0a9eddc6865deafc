"""What the benchmarks on published tables share: where those are, the program, metrics of scipy."""

from __future__ import annotations

import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    from scipy import stats
except ImportError:
    sys.exit("scipy is needed: pip install 'expertise-graph[bench]'")

Array = NDArray[np.float64]

ROOT = Path(__file__).resolve().parents[1]
SEED = 0


def published(name: str) -> Path:
    """Return the folder of a published set; ends the program, saying so, where it is missing."""
    given = os.environ.get("PUBLISHED_DATA")
    if not given or not (Path(given) / name).is_dir():
        print(f"skipped: no folder {name} in PUBLISHED_DATA ({given or 'not set'})")
        sys.exit(0)
    return (Path(given) / name).resolve()


class Program:
    """The command line tool in a workspace of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self("init", folder / "workspace")

    def __call__(self, *arguments: object, show: bool = True) -> str:
        """Run a command and return what it printed."""
        command = [sys.executable, "-m", "expertise_graph", *map(str, arguments)]
        if show:
            print("$ expertise-graph", " ".join(_short(a, self.folder) for a in arguments), flush=True)
        paths = [p for p in (os.environ.get("PYTHONPATH"), str(ROOT)) if p]
        more = {"EXPERTISE_GRAPH_HOME": str(self.folder / "workspace"), "PYTHONPATH": os.pathsep.join(paths)}
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | more, cwd=self.folder, check=False
        )
        if done.returncode:
            sys.exit(done.stderr)
        return done.stdout

    def backtest(self, *arguments: object) -> tuple[Any, dict[str, dict[str, float]]]:
        """Return the report, and the predictions by task and expert."""
        with tempfile.TemporaryDirectory() as folder:
            text = self("backtest", "--seed", SEED, "--json", "--predictions", Path(folder), *arguments)
            return json.loads(text), {
                path.stem: {row["model"]: float(row["score"]) for row in rows_of(path)}
                for path in sorted(Path(folder).iterdir())
            }


@contextmanager
def workspace() -> Iterator[Program]:
    """Make a temporary workspace; what was run, and on what, is printed first."""
    commit = _git("rev-parse", "--short", "HEAD") or "unknown"
    if _git("status", "--porcelain", "--", "expertise_graph"):
        commit += " with changes"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    python = f"Python {platform.python_version()}"
    print(f"commit {commit}, {platform.machine()}, {cores} cores, {python}, seed {SEED}")
    with tempfile.TemporaryDirectory() as folder:
        yield Program(Path(folder))


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _short(argument: object, folder: Path) -> str:
    return argument.name if isinstance(argument, Path) else str(argument).replace(f"{folder}/", "")


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines))


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write rows to a CSV file and return its path."""
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def aligned(predicted: Mapping[str, float], truth: Mapping[str, float]) -> tuple[Array, Array]:
    """Return prediction and truth of experts that have both; what is not finite becomes twice the least."""
    names = sorted(predicted.keys() & truth.keys())
    x = np.array([predicted[name] for name in names], dtype=np.float64)
    finite = np.isfinite(x)
    x[~finite] = 2.0 * x[finite].min()
    return x, np.array([truth[name] for name in names], dtype=np.float64)


def ranking_metrics(predicted: Mapping[str, float], truth: Mapping[str, float]) -> dict[str, float]:
    """Return the protocol's metrics on one task, correlations by scipy with its defaults."""
    x, y = aligned(predicted, truth)
    order = np.argsort(-x, kind="stable")
    found = {f"regret@{k}": float((y.max() - y[order[:k]].max()) / y.max()) for k in (1, 3, 5)}
    same = float(np.ptp(x)) == 0.0
    return {
        "pearson": 0.0 if same else float(stats.pearsonr(x, y).statistic),
        "tau_w": 0.0 if same else float(stats.weightedtau(x, y).statistic),
        "rel@1": 1.0 - found["regret@1"],
        **found,
        "n": float(len(x)),
    }


def mean_of(found: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the plain mean of each metric over tasks."""
    rows = list(found)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def history_mean(
    truth: Mapping[str, Mapping[str, float]], target: str, *, ranks: bool = False
) -> dict[str, float]:
    """Return the mean standardised result, or rank, of each expert on the other tasks."""
    found: dict[str, list[float]] = {}
    for task, results in truth.items():
        if task != target:
            values = np.array(list(results.values()))
            units = stats.rankdata(values) / len(values) if ranks else standardised(values)
            for expert, unit in zip(results, units, strict=True):
                found.setdefault(expert, []).append(float(unit))
    return {expert: float(np.mean(units)) for expert, units in found.items()}


def standardised(values: Array) -> Array:
    """Return values minus their mean over their deviation; equal values give zeros."""
    spread = float(values.std())
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)


def bootstrap(differences: Sequence[float]) -> str:
    """Return the mean of paired differences with its 95 % bootstrap interval over tasks."""
    values = np.array(differences)
    draws = np.random.default_rng(SEED).integers(0, len(values), (10_000, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return f"{values.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def show(title: str, rows: Mapping[str, Mapping[str, float]], columns: Sequence[str]) -> None:
    """Print a table."""
    width = max(map(len, rows)) + 2
    print(f"\n{title}\n{'':{width}}" + "".join(f"{c:>10}" for c in columns))
    for name, row in rows.items():
        cells = (f"{row[c]:10.3f}" if c in row else f"{'-':>10}" for c in columns)
        print(f"{name:{width}}" + "".join(cells), flush=True)
