"""A lock names its owner, dies with it, and is not taken from who may still be at work."""

import json
import os
import signal
import subprocess
import sys

import pytest

from expertise_graph.core import InvalidInputError, locked, process_name
from expertise_graph.core.processes import is_gone
from tests.program import environment

HOLD = """
import sys, time
from pathlib import Path
from expertise_graph.core import locked
with locked(Path(sys.argv[1]), "the folder"):
    print("held", flush=True)
    time.sleep(60)
"""
TURNS = """
import sys, time
from pathlib import Path
from expertise_graph.core import InvalidInputError, locked
lock, count = Path(sys.argv[1]), Path(sys.argv[1] + ".count")
done = 0
while done < 50:
    try:
        with locked(lock, "x"):
            before = int(count.read_text() or 0)
            time.sleep(0.0005)
            count.write_text(str(before + 1))
            done += 1
    except InvalidInputError:
        time.sleep(0.0005)
"""


def start(code, path):
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.Popen(command, env=environment(path.parent), stdout=subprocess.PIPE, text=True)


def test_the_owner_is_named_and_a_killed_one_holds_nothing(tmp_path):
    path = tmp_path / "lock"
    with start(HOLD, path) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InvalidInputError) as refused, locked(path, "the folder"):
            pass
        assert f"the folder is in use by process {holder.pid} on " in str(refused.value)
        holder.send_signal(signal.SIGKILL)
    assert path.exists()
    with locked(path, "the folder"):
        assert json.loads(path.read_text())["process"] == process_name()
    assert not path.exists()


def test_one_process_does_not_hold_it_twice(tmp_path):
    with locked(tmp_path / "lock", "x"):
        match = f"process {os.getpid()} on"
        with pytest.raises(InvalidInputError, match=match), locked(tmp_path / "lock", "x"):
            pass
        assert (tmp_path / "lock").exists()


def test_processes_take_turns_and_none_is_lost(tmp_path):
    path = tmp_path / "lock"
    (tmp_path / "lock.count").write_text("0")
    workers = [start(TURNS, path) for _ in range(4)]
    for worker in workers:
        worker.communicate(timeout=120)
        assert worker.returncode == 0
    assert (tmp_path / "lock.count").read_text() == "200"
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "{", '{"process": 3}', "x" * 9000])
def test_a_file_that_names_nobody_is_taken_over(tmp_path, content):
    (tmp_path / "lock").write_text(content)
    with locked(tmp_path / "lock", "x"):
        pass
    assert not (tmp_path / "lock").exists()


def test_only_processes_of_this_machine_are_known_to_be_gone():
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    machine = process_name().split("-")[0]
    assert is_gone(process_name()) is False
    assert is_gone(f"{machine}-{ended.pid}") is True
    assert is_gone(f"00000000-{ended.pid}") is None
    assert is_gone(f"{machine}-x") is None
