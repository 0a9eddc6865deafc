"""Kill commands again and again at random moments, then let them end; run by test_crash.py.

Children are forked from one process that has loaded all modules which the command loads, so that a kill
falls into its work and no child spends seconds on imports. Prints one JSON object: how many kills hit, and
what the last run of each command said.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from expertise_graph.cli.app import app
from expertise_graph.training import trainer  # noqa: F401


def fork(arguments: list[str], out: Path) -> int:
    """Start a command in a child process that writes into `out`, and return its id."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        for number in (1, 2):
            os.dup2(os.open(f"{out}.{number}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        code = 0
        try:
            app(arguments, auto_envvar_prefix="EXPERTISE_GRAPH")
        except SystemExit as end:
            code = int(end.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
        Path(f"{out}.modules").write_text(json.dumps(list(sys.modules)))
        os._exit(code)
    return child


def import_what_was_imported(out: Path) -> None:
    """Import what the last child that ended had imported.

    The command itself is not run here: a process with threads must not be forked.
    """
    for name in json.loads(Path(f"{out}.modules").read_text()):
        # Some are made by others and cannot be imported by their name.
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def timed(arguments: list[str], out: Path) -> float:
    """Run a command to its end and return the seconds it took."""
    began = time.perf_counter()
    _, status = os.waitpid(fork(arguments, out), 0)
    if status != 0:
        raise SystemExit(f"{arguments} ended with {status}: {Path(f'{out}.2').read_text()}")
    return time.perf_counter() - began


def kill(arguments: list[str], out: Path, after: float) -> bool:
    """Kill a command after some seconds; tell whether it was still running."""
    child = fork(arguments, out)
    time.sleep(after)
    if os.waitpid(child, os.WNOHANG)[0]:
        return False
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def start_over(command: dict[str, Any], out: Path) -> None:
    """Undo what a command did, once it got to its end, so that there is something to kill again."""
    for reset in command["reset"]:
        timed(reset, out)
    for path in command["forget"]:
        shutil.rmtree(path, ignore_errors=True)


def main(plan: Path) -> None:
    given = json.loads(plan.read_text())
    chance, hits, said = random.Random(given["seed"]), 0, plan.with_suffix(".said")
    for command in given["commands"]:
        timed(command["rehearsal"], said)
        import_what_was_imported(said)
        # Only now does it take as long as what is killed.
        seconds = timed(command["arguments"], said)
        start_over(command, said)
        for _ in range(command["kills"]):
            if kill(command["arguments"], said, chance.uniform(0.0, seconds)):
                hits += 1
            else:
                start_over(command, said)
        timed(command["arguments"], said)
    print(json.dumps({"hits": hits, "said": Path(f"{said}.1").read_text()}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
