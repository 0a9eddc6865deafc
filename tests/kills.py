"""Kill a command at a moment that can be seen from outside, and look at what it left to be finished."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import time

from tests.program import environment


def kill_when(done, words, cwd, *, after=0.0, more=None):
    """Start a command and kill it as soon as `done()`; tell whether it was still running."""
    process = subprocess.Popen(
        words,
        cwd=cwd,
        env=environment(cwd, more or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not done() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    error = process.communicate()[1]
    assert process.returncode in (-signal.SIGKILL, 0), error
    return process.returncode != 0


def pending(workspace):
    with contextlib.closing(sqlite3.connect(workspace / "registry.db")) as db:
        return db.execute("SELECT kind, subject FROM pending").fetchall()
