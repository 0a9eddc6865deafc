"""The command line as tests use it: in this process for speed, or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from expertise_graph.cli.app import app

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as strict JSON."""
        return json.loads(self.out, parse_constant=_refuse)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def failed(self, *parts: str, code: int = 1) -> None:
        """Check that it ended with `code` and one line on stderr that holds `parts`, after what was read."""
        assert self.code == code, (self.code, self.out, self.err)
        *before, last = self.err.strip().splitlines()
        # What was understood of the data stands before; an error is one line.
        assert not any("rror" in line for line in before), self.err
        missing = [part for part in parts if part not in last]
        assert not missing, self.err

    def worked(self) -> Done:
        assert self.code == 0, (self.code, self.err)
        return self


def invoke(*arguments: object, stdin: str | None = None) -> Done:
    """Run a command in this process; an exception that is not handled comes through."""
    result = CliRunner().invoke(
        app, [str(a) for a in arguments], input=stdin, auto_envvar_prefix="EXPERTISE_GRAPH"
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not strict JSON")


def environment(home: Path, more: Mapping[str, str] = {}) -> dict[str, str]:
    """Variables for a process of its own that neither reads nor writes the user's files."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "EXPERTISE_GRAPH_"))}
    fixed = {
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "EXPERTISE_GRAPH_CACHE": str(home / "cache"),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "EXPERTISE_GRAPH_ISOLATE": "0",
        "EXPERTISE_GRAPH_CATALOGUE": "none",
        "HF_DEACTIVATE_ASYNC_LOAD": "1",
    }
    return {**kept, **fixed, **more}


def program(*arguments: object) -> list[str]:
    """Return the words that start the program in a process of its own."""
    return [sys.executable, "-m", "expertise_graph", *map(str, arguments)]


def run(*arguments: object, cwd: Path, more: Mapping[str, str] = {}) -> Done:
    """Run a command in a process of its own."""
    done = subprocess.run(
        program(*arguments),
        cwd=cwd,
        env=environment(cwd / "home", more),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
