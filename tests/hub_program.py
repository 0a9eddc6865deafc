"""Commands of the real client against the hub of `tests.hub_server`, in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.hub_server import HubServer
from tests.program import ROOT, environment

# Several commands in one process: loading the libraries takes longer than they do.
SCRIPT = """
import json, sys
from tests.program import invoke
done = [invoke(*arguments) for arguments in json.loads(sys.argv[1])]
print("\\n" + json.dumps([[d.code, d.out, d.err] for d in done]))
"""

Commands = Callable[..., list[tuple[int, str, str]]]


def commands_in(workspace: Path, hub: HubServer, home: Path, *, seconds: float = 120) -> Commands:
    """Return what runs commands in a workspace, all in one process, and returns (code, out, err) of each."""

    def commands(*given: list[str], **more: str) -> list[tuple[int, str, str]]:
        variables = {**hub.environment(home / "hf"), **more}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, json.dumps(given)],
            cwd=workspace,
            env=environment(home, variables) | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [tuple(row) for row in json.loads(done.stdout.splitlines()[-1])]

    return commands
