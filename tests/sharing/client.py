"""Commands one after another in one process: the client of the Hub reads where that is at its import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.program import ROOT, Done, environment, invoke


class Client:
    """A process that runs commands, each with a token of its own or with none."""

    def __init__(self, home: Path, variables: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.sharing.client"],
            cwd=ROOT,
            env=environment(home, variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: object, token: str | None = None) -> Done:
        """Run a command."""
        self._process.stdin.write(json.dumps([token, *map(str, words)]) + "\n")
        self._process.stdin.flush()
        return Done(*json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=60)


def main() -> None:
    """Answer the commands that come in, one a line."""
    for line in sys.stdin:
        token, *words = json.loads(line)
        os.environ.pop("HF_TOKEN", None)
        if token:
            os.environ["HF_TOKEN"] = token
        done = invoke(*words)
        sys.stdout.write(json.dumps([done.code, done.out, done.err]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
