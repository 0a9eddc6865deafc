"""Opening registry.db: new, old, newer, foreign, damaged, and where it cannot be written."""

import dataclasses
import os
import sqlite3
from pathlib import Path

import pytest

from expertise_graph.core.errors import NewerSchemaError, NotFoundError, StoreError
from expertise_graph.core.locks import on_network
from expertise_graph.core.types import ProbeSet
from expertise_graph.store.connection import APPLICATION_ID, connect, write
from expertise_graph.store.location import find_workspace
from expertise_graph.store.migrations import SCHEMA_VERSION, migrate
from expertise_graph.store.rows import to_row
from expertise_graph.store.store import Store
from tests.program import invoke
from tests.store.nodes import expert

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/nethome /nethome nfs4 rw 0 0
/dev/sdb1 /nethome/local xfs rw 0 0
server:/shared /mnt/two\\040words cifs rw 0 0
user@host: /mnt/ssh fuse.sshfs rw 0 0
"""


def schema(path: Path) -> list[tuple[str, str]]:
    db = sqlite3.connect(path)
    found = db.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name").fetchall()
    db.close()
    return found


def pragma(path: Path, name: str) -> object:
    db = sqlite3.connect(path)
    value = db.execute(f"PRAGMA {name}").fetchone()[0]
    db.close()
    return value


def older(path: Path, steps: int) -> Path:
    """Write a registry as the version with the first `steps` migrations left it."""
    db = sqlite3.connect(path, isolation_level=None)
    with write(db):
        migrate(db, to=steps)
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        if steps < 7:
            db.execute(
                "CREATE TABLE _sqlite_migrations (id INTEGER PRIMARY KEY, migration_set, name, applied_at)"
            )
    db.close()
    return path


def test_a_new_registry_is_marked_as_ours_and_keeps_a_write_ahead_log(tmp_path):
    Store(tmp_path).close()
    path = tmp_path / "registry.db"
    assert pragma(path, "application_id") == APPLICATION_ID
    assert pragma(path, "user_version") == SCHEMA_VERSION
    assert pragma(path, "journal_mode") == "wal"


def test_connections_enforce_foreign_keys_and_wait_for_locks(tmp_path):
    db = connect(tmp_path / "registry.db")
    assert db.execute("PRAGMA foreign_keys").fetchone()[0] == 1
    assert db.execute("PRAGMA busy_timeout").fetchone()[0] == 30_000
    assert db.execute("PRAGMA trusted_schema").fetchone()[0] == 0
    db.close()


@pytest.mark.parametrize("steps", range(1, SCHEMA_VERSION + 1))
def test_every_older_version_becomes_the_current_one_and_keeps_its_rows(tmp_path, steps):
    new, path = tmp_path / "new", older(tmp_path / "registry.db", steps)
    db = sqlite3.connect(path)
    values = "'x','kept','dir','/x','image','resnet',1,1,1,'mit','a','b','safetensors','[]','[]',0,'{}','t'"
    columns = (
        "id,name,source,locator,modality,architecture,params,bytes,dim,license,weights_sha,"
        "preprocessing_sha,weights_format,datasets,tags,trusted_code,meta,created_at"
    )
    db.execute(f"INSERT INTO experts ({columns}) VALUES ({values})")
    db.commit()
    db.close()
    new.mkdir()
    Store(new).close()
    for _ in range(2):
        store = Store(tmp_path)
        assert [e.name for e in store.experts()] == ["kept"]
        store.close()
        assert schema(path) == schema(new / "registry.db")
        assert pragma(path, "user_version") == SCHEMA_VERSION


def test_experts_without_all_their_neighbours_in_an_older_version_are_noted(tmp_path):
    path = older(tmp_path / "registry.db", 6)
    probe_set = ProbeSet(id="probe:1", name="p", version="1", modality="image", n=4, license="mit")
    db = sqlite3.connect(path)
    db.execute("INSERT INTO probe_sets VALUES ('probe:1', 'p', '1', 'image', 4, 'mit', 't')")
    for i in range(8):
        row = to_row(expert(f"dir:{i}"))
        db.execute(
            f"INSERT INTO experts ({','.join(row)}) VALUES ({','.join('?' * len(row))})", [*row.values()]
        )
        db.execute(
            "INSERT INTO embeddings "
            "(owner, kind, probe_set, method, version, vector, sha256, seed, n, created_at)"
            f" VALUES ('dir:{i}', 'expert', 'probe:1', 'm', '1', x'00', '', 0, 4, 't')"
        )
    # Of two a killed process left too few.
    for i in range(8):
        for j in [j for j in range(8) if j != i][: {2: 4, 5: 0}.get(i, 5)]:
            db.execute(f"INSERT INTO neighbours VALUES ('dir:{i}', 'dir:{j}', 'probe:1', 0.5)")
    db.commit()
    db.close()
    with Store(tmp_path) as store:
        assert dataclasses.replace(store.probe_sets()[0], created_at="") == probe_set
        assert store.unlinked("probe:1") == ["dir:2", "dir:5"]


def test_a_registry_of_a_newer_version_is_refused_and_left_alone(tmp_path):
    Store(tmp_path).close()
    db = sqlite3.connect(tmp_path / "registry.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(NewerSchemaError, match=f"version 99, this program knows up to {SCHEMA_VERSION}"):
        Store(tmp_path)
    assert pragma(tmp_path / "registry.db", "user_version") == 99
    invoke("--workspace", tmp_path, "ls").failed("pip install -U expertise-graph")


@pytest.mark.parametrize("application", [0, 0x4D544554])
def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path, application):
    path = tmp_path / "registry.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (x)")
    db.execute(f"PRAGMA application_id={application}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        Store(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("part", [0.02, 0.3, 0.9])
def test_a_truncated_registry_is_one_clear_error(tmp_path, part):
    store = Store(tmp_path)
    with store.transaction():
        for i in range(200):
            store.put_expert(expert(f"dir:{i}", tags=("x" * 500,)))
    store.close()
    path = tmp_path / "registry.db"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    invoke("--workspace", tmp_path, "ls").failed("registry.db", "backup")


def test_text_in_place_of_a_registry_is_one_clear_error(tmp_path):
    (tmp_path / "registry.db").write_text("not a database, but long enough to be looked at " * 100)
    invoke("--workspace", tmp_path, "ls").failed("registry.db", "not a database")


def test_a_folder_in_place_of_the_registry(tmp_path):
    (tmp_path / "registry.db").mkdir()
    with pytest.raises(StoreError, match="is a folder"):
        Store(tmp_path)


def test_a_workspace_that_is_not_there(tmp_path):
    with pytest.raises(StoreError, match="is not a folder"):
        Store(tmp_path / "missing")
    invoke("--workspace", tmp_path / "missing", "ls").failed("no workspace in", "init")


@pytest.mark.skipif(os.geteuid() == 0, reason="the super-user may write anywhere")
def test_a_folder_without_write_permission(tmp_path):
    Store(tmp_path).close()
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="not writable"):
            Store(tmp_path)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(os.access("/proc/self", os.W_OK) or not Path("/proc/self").is_dir(), reason="needs /proc")
def test_a_read_only_file_system():
    with pytest.raises(StoreError, match="not writable; choose another folder with `workspace=PATH`"):
        Store(Path("/proc/self"))
    invoke("--workspace", "/proc/self", "init").failed("not writable")


def test_workspace_is_the_one_named_then_the_variable_then_the_nearest(tmp_path, monkeypatch):
    named, variable, above = (tmp_path / name for name in ("named", "variable", "above"))
    deep = above / "a" / "b"
    deep.mkdir(parents=True)
    for folder in (named, variable, above):
        folder.mkdir(exist_ok=True)
        Store(folder).close()
    monkeypatch.chdir(deep)
    assert find_workspace() == above
    monkeypatch.setenv("EXPERTISE_GRAPH_HOME", str(variable))
    assert find_workspace() == variable
    assert find_workspace(named) == named
    monkeypatch.setenv("EXPERTISE_GRAPH_HOME", str(tmp_path / "gone"))
    with pytest.raises(NotFoundError, match="gone"):
        find_workspace()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/var/x", False),
        ("/nethome/me/x", True),
        ("/nethome/local/x", False),
        ("/nethomely", False),
        ("/mnt/two words/x", True),
        ("/mnt/ssh/x", True),
    ],
)
def test_network_file_systems_are_told_by_the_deepest_mount(path, expected):
    assert on_network(Path(path), MOUNTS) is expected
