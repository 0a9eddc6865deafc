#!/usr/bin/env python3
"""Time both rankers in turn on the same models and rows, each time in a process of its own."""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
RUNS = {"ours": ["ours.py"], "theirs": ["theirs.py"]}
PACKAGES = ("transformer-ranker", "torch", "transformers", "datasets", "numpy")

Result = dict[str, float]


def measure(what: str, folder: Path, threads: str) -> Result:
    """Return the seconds of one run, and print them."""
    script, *options = RUNS[what]
    environment = {
        **os.environ,
        **dict.fromkeys(THREADS, threads),
        "HF_HUB_OFFLINE": "1",
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, str(HERE / script), str(folder), *options]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    order = ", ".join(result.pop("order"))
    figures = ", ".join(f"{name} {value:.2f}" for name, value in result.items())
    print(f"{what:7} load {os.getloadavg()[0]:.1f} | {figures} | {order}", flush=True)
    found: Result = result
    return found


def summary(results: dict[str, list[Result]], kind: str) -> None:
    """Print medians with their spread, wall time or that of the processors, and the ratios."""
    suffix = "" if kind == "wall" else "_cpu"
    middle = {}
    for what, runs in results.items():
        for name in ("first", "second"):
            values = sorted(run[name + suffix] for run in runs)
            middle[what, name] = statistics.median(values)
            spread = f"({values[0]:.2f} to {values[-1]:.2f})"
            print(f"{kind:10} {what:7} {name:7} {middle[what, name]:8.2f} s {spread}")
    ratios = {name: middle["theirs", name] / middle["ours", name] for name in ("first", "second")}
    for name, ratio in ratios.items():
        print(f"{kind:10} ratio   {name:7} {ratio:8.1f}")
    if kind == "wall":
        cells = {w: f"{middle[w, 'first']:.1f} s, {middle[w, 'second']:.2f} s" for w in RUNS}
        print(
            f"claim: 7 text models on 1,000 rows: the first answer, asked again | {cells['ours']} | "
            f"transformer-ranker {cells['theirs']} ({ratios['first']:.1f} x, {ratios['second']:.0f} x)"
        )


def main() -> None:
    """Run both, several times in turn, and print what came out."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--times", type=int, default=3)
    arguments.add_argument("--threads", default="2", help="of each process (default 2)")
    given = arguments.parse_args()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {given.threads} threads, {platform.python_version()}"
    )
    print(versions)
    results: dict[str, list[Result]] = {what: [] for what in RUNS}
    for _ in range(given.times):
        for what, runs in results.items():
            runs.append(measure(what, given.folder, given.threads))
    for kind in ("wall", "processors"):
        summary(results, kind)


if __name__ == "__main__":
    main()
