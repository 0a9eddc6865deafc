"""Several processes on one registry: nothing lost, nothing refused, backups whole."""

import sqlite3
import subprocess
import sys
import threading

import pytest

from expertise_graph.core.errors import StoreError
from expertise_graph.store import connection
from expertise_graph.store.store import Store
from tests.program import environment
from tests.store.nodes import expert

COUNT = """
import sys
from pathlib import Path
from expertise_graph.store import Store
store = Store(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    with store.transaction():
        store.set_state("count", str(int(store.state("count") or 0) + 1))
        store.set_state(f"count of {sys.argv[3]}", str(int(store.state(f"count of {sys.argv[3]}") or 0) + 1))
"""
# Rows in pairs: a copy that holds one without the other was not taken at one moment.
PAIRS = """
import sys
from pathlib import Path
from expertise_graph.store import Store
from tests.store.nodes import expert
store = Store(Path(sys.argv[1]))
for i in range(400):
    with store.transaction():
        store.put_expert(expert(f"dir:{i}-left"))
        store.put_expert(expert(f"dir:{i}-right"))
    if i == 20:
        print("under way", flush=True)
"""


def start(code, *arguments, home):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_six_processes_make_one_registry_and_count_together_without_losing_one(tmp_path):
    workers = [start(COUNT, tmp_path, 100, i, home=tmp_path) for i in range(6)]
    errors = [worker.communicate(timeout=120)[1] for worker in workers]
    assert errors == [""] * 6
    store = Store(tmp_path)
    assert store.state("count") == "600"
    assert [store.state(f"count of {i}") for i in range(6)] == ["100"] * 6
    store.close()


def test_a_backup_while_another_process_writes_is_whole(tmp_path):
    store = Store(tmp_path)
    worker = start(PAIRS, tmp_path, home=tmp_path)
    assert worker.stdout.readline() == "under way\n"
    seen = []
    for i in range(5):
        copy = tmp_path / f"backup-{i}" / "registry.db"
        copy.parent.mkdir()
        store.backup(copy)
        assert sorted(p.name for p in copy.parent.iterdir()) == ["registry.db"]
        db = sqlite3.connect(copy)
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        names = {row[0] for row in db.execute("SELECT name FROM experts")}
        db.close()
        sides = [{n.split("-")[0] for n in names if n.endswith(side)} for side in ("left", "right")]
        assert sides[0] == sides[1]
        seen.append(len(sides[0]))
    assert seen == sorted(seen)
    assert seen[0] >= 20
    assert worker.communicate(timeout=60)[1] == ""
    store.close()
    restored = Store(tmp_path / "backup-4")
    assert len(restored.experts()) == 2 * seen[-1]
    restored.put_expert(expert("dir:after"))
    restored.close()


def test_a_lock_that_is_never_released_is_one_clear_error(tmp_path):
    store, other = Store(tmp_path), sqlite3.connect(tmp_path / "registry.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.db.execute("PRAGMA busy_timeout=50")
    with pytest.raises(StoreError, match=r"in use by another program.*nothing was changed"):
        store.put_expert(expert("dir:1"))
    other.execute("ROLLBACK")
    other.close()
    store.put_expert(expert("dir:1"))
    assert len(store.experts()) == 1
    store.close()


@pytest.mark.parametrize("lock", ["BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_registry_that_another_process_is_making_is_waited_for(lock, tmp_path):
    other = sqlite3.connect(tmp_path / "registry.db", isolation_level=None, check_same_thread=False)
    other.execute(lock)
    other.execute("SELECT count(*) FROM sqlite_master").fetchone()
    release = threading.Timer(0.5, other.execute, ["COMMIT"])
    release.start()
    store = Store(tmp_path)
    assert store.experts() == []
    store.close()
    release.join()
    other.close()


def test_a_registry_that_stays_locked_is_no_damaged_one(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.2)
    other = sqlite3.connect(tmp_path / "registry.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"is in use by another program: try again when it is done"):
        Store(tmp_path)
    other.close()
