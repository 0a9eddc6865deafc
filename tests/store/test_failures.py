"""Errors of the database say what is behind them: only real damage asks for a backup."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from expertise_graph.core.errors import StoreError
from expertise_graph.store import connection
from expertise_graph.store.connection import connect
from expertise_graph.store.store import Store
from tests import materials, mounts
from tests.program import environment, invoke, program
from tests.store.nodes import expert
from tests.store.test_connection import older

FULL = """
import resource, sys
from pathlib import Path
from expertise_graph.core import StoreError
from expertise_graph.store import Store
from tests.store.nodes import expert
with Store(Path(sys.argv[1])) as store:
    store.put_expert(expert("dir:kept"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        with store.transaction():
            for i in range(4000):
                store.put_expert(expert(f"dir:{i}", tags=("x" * 500,)))
    except StoreError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
"""
FEW = """
import os, resource, sys
from pathlib import Path
from expertise_graph.core import StoreError
from expertise_graph.store import Store
open_now = len(os.listdir("/proc/self/fd"))
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + int(sys.argv[2]), most))
try:
    with Store(Path(sys.argv[1])) as store:
        store.set_state("a", "b")
        print("enough")
except StoreError as error:
    print(error)
"""

needs_mounts = pytest.mark.skipif(not mounts.possible(), reason="mounts are not allowed here")


def script(code, *arguments, home):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of Linux")
@pytest.mark.slow
def test_a_full_disk_is_named_and_the_registry_stays_as_it_was(tmp_path):
    said = script(FULL, tmp_path, home=tmp_path)
    assert "the disk is full; free some space" in said
    assert "nothing was changed" in said
    assert "backup" not in said
    with Store(tmp_path) as store:
        assert [e.id for e in store.experts()] == ["dir:kept"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of Linux")
@pytest.mark.parametrize("left", [-1, 0, 1])
def test_too_few_descriptors_are_named(tmp_path, left):
    Store(tmp_path).close()
    said = script(FEW, tmp_path, left, home=tmp_path)
    assert "too many files are open; raise the limit (ulimit -n)" in said
    assert "backup" not in said


@needs_mounts
def test_a_disk_that_is_full_in_the_middle_of_a_verb(blank, tmp_path):
    model = materials.resnet(tmp_path / "m0", 1)
    invoke("register", f"dir:{model}").worked()
    other = materials.resnet(tmp_path / "m1", 2)
    done = mounts.full(blank, program("--workspace", blank, "register", f"dir:{other}"), cwd=tmp_path)
    assert done.code == 1
    assert "disk is full" in done.err or "No space left on device" in done.err
    assert "backup" not in done.err
    assert "Traceback" not in done.err
    assert [e["name"] for e in invoke("ls", "--json").worked().json] == ["m0"]
    invoke("register", f"dir:{other}").worked()


VERBS = """
import json, sys
from tests.program import invoke
workspace, asked, other = sys.argv[1:]
def verb(*words):
    done = invoke("--workspace", workspace, *words)
    return [done.code, done.out, done.err]
print(json.dumps({
    "ls": verb("ls", "--json"),
    "show": verb("show", "emoji", "--json"),
    "similar": verb("similar", "emoji", "--json"),
    "query": verb("query", asked, "--budget", "2", "--json"),
    "new query": verb("query", other, "--budget", "1", "--json"),
    "rm": verb("rm", "emoji"),
    "register": verb("register", "zoo:emoji"),
}))
"""


@pytest.mark.slow
@needs_mounts
def test_a_read_only_workspace_is_read_and_says_so_where_it_is_written(workspace, tmp_path):
    asked, other = materials.pictures(tmp_path / "a", 3, 6), materials.pictures(tmp_path / "b", 2, 5)
    before = invoke("query", asked, "--budget", "2", "--json").worked().json
    script = [sys.executable, "-c", VERBS, str(workspace), str(asked), str(other)]
    done = mounts.read_only(workspace, script, cwd=tmp_path).worked().json
    for verb in ("ls", "show", "similar", "query", "new query"):
        assert done[verb][0] == 0, done[verb]
    assert done["ls"][1] == invoke("ls", "--json").out
    found = json.loads(done["query"][1])["candidates"]
    assert [c["expert"] for c in found] == [c["expert"] for c in before["candidates"]]
    # Data that were never asked about are answered too; nothing of it is kept.
    assert json.loads(done["new query"][1])["candidates"]
    for verb in ("rm", "register"):
        code, _, err = done[verb]
        assert code == 1
        assert "not writable" in err
        assert "nothing was changed" in err
        assert "backup" not in err


@needs_mounts
@pytest.mark.parametrize("steps", [4, 7])
def test_a_read_only_registry_of_an_earlier_version_is_read(tmp_path, steps):
    folder = tmp_path / "w"
    folder.mkdir()
    before = older(folder / "registry.db", steps).read_bytes()
    assert (
        mounts.read_only(folder, program("--workspace", folder, "ls", "--json"), cwd=tmp_path).worked().json
        == []
    )
    assert (folder / "registry.db").read_bytes() == before


@needs_mounts
@pytest.mark.parametrize("shared_memory", [True, False])
def test_what_is_in_the_log_of_a_read_only_registry_is_read(tmp_path, shared_memory):
    """A process that was killed leaves a write-ahead log, which cannot be written back there."""
    folder = tmp_path / "w"
    folder.mkdir()
    store = Store(folder)
    store.put_expert(expert("dir:logged"))
    (tmp_path / "copy").mkdir()
    for file in folder.iterdir():
        if shared_memory or not file.name.endswith("-shm"):
            shutil.copy(file, tmp_path / "copy")
    assert (tmp_path / "copy" / "registry.db-wal").stat().st_size > 0
    store.close()
    command = program("--workspace", tmp_path / "copy", "ls", "-q")
    assert mounts.read_only(tmp_path / "copy", command, cwd=tmp_path).worked().out == "dir:logged\n"


def test_a_page_that_is_damaged_is_damage_wherever_it_is_met(tmp_path):
    with Store(tmp_path) as store, store.transaction():
        for i in range(300):
            store.put_expert(expert(f"dir:{i}", tags=("x" * 500,)))
    path = tmp_path / "registry.db"
    content = bytearray(path.read_bytes())
    content[20 * 4096 : 40 * 4096] = os.urandom(20 * 4096)
    path.write_bytes(content)
    done = invoke("--workspace", tmp_path, "ls")
    done.failed("registry.db is damaged", "restore it from a backup")


def test_a_registry_on_a_network_file_system_keeps_no_write_ahead_log(tmp_path):
    """Its journal is part of the file: one that was moved there is changed as it is opened."""
    path = tmp_path / "registry.db"
    for network, mode in ((False, "wal"), (True, "delete"), (False, "delete")):
        db = connect(path, network=network)
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == mode
        db.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["registry.db"]


def test_a_registry_in_use_is_not_taken_off_its_log(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.2)
    path = tmp_path / "registry.db"
    other = connect(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="in use by another program"):
        connect(path, network=True)
    other.execute("ROLLBACK")
    other.close()
