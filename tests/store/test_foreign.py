"""A registry from elsewhere, or damaged: nothing in it is run, and one bad cell does not end the work."""

import shutil
import sqlite3

import numpy as np
import pytest
from safetensors.numpy import save_file

from expertise_graph.core.errors import StoreError
from expertise_graph.core.types import Embedding, ProbeSet, Run, Task
from expertise_graph.features import probe_sets
from expertise_graph.store import rows
from expertise_graph.store.store import Store
from expertise_graph.workspace import Workspace
from tests import materials
from tests.program import invoke
from tests.registry.test_neighbours import assert_right
from tests.store.nodes import expert


def change(folder, *statements):
    db = sqlite3.connect(folder / "registry.db", isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()


@pytest.fixture(autouse=True)
def said_once():
    """What is said once a process is said once a test."""
    rows.tell.cache_clear()


@pytest.fixture(scope="module")
def _three_registered(_initialised, tmp_path_factory):
    """A workspace with three networks, which lie beside it; not to be written to."""
    folder = shutil.copytree(_initialised, tmp_path_factory.mktemp("three") / "workspace")
    models = [materials.resnet(folder.parent / f"m{i}", i) for i in range(3)]
    with Workspace(folder) as opened:
        for model in models:
            opened.register(f"dir:{model}")
    return folder, models


@pytest.fixture
def three(_three_registered, tmp_path, monkeypatch):
    """A copy of that workspace, which is the current folder, and the networks."""
    folder = shutil.copytree(_three_registered[0], tmp_path / "three")
    monkeypatch.chdir(folder)
    return folder, _three_registered[1]


HOSTILE = {
    "trigger": ["CREATE TRIGGER evil AFTER INSERT ON events BEGIN DELETE FROM runs; END"],
    "view in place of a table": ["DROP TABLE runs", "CREATE VIEW runs AS SELECT * FROM edges"],
    "view": ["CREATE VIEW more AS SELECT 1"],
    "virtual table": ["CREATE VIRTUAL TABLE evil USING fts5(x)"],
    "other definition": [
        "DROP TABLE covariates",
        "CREATE TABLE covariates (expert TEXT, name DEFAULT (hex(randomblob(9))), value, origin, created_at)",
    ],
    "unique index": ["CREATE UNIQUE INDEX one ON experts (modality)"],
    "table that holds rows back": ["CREATE TABLE hold (x REFERENCES experts (id) ON DELETE RESTRICT)"],
    "missing table": ["DROP TABLE scores"],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_this_program_did_not_make_is_refused_in_one_line(tmp_path, name):
    with Store(tmp_path) as store:
        store.put_run(Run(id="run:1", expert="e", task="t", child=None, status="done", strategy="s", seed=0,
                          path="/o", config={}, result={}, started_at="t", finished_at=None))  # fmt: skip
    change(tmp_path, *HOSTILE[name])
    before = (tmp_path / "registry.db").read_bytes()
    for command in (("ls",), ("rm", "x"), ("runs",)):
        done = invoke("--workspace", tmp_path, *command)
        done.failed("registry.db")
        assert "did not make" in done.err or "is not as this program made it" in done.err
    assert (tmp_path / "registry.db").read_bytes() == before


def test_the_way_out_that_the_line_names_works(tmp_path):
    Store(tmp_path).close()
    change(tmp_path, *HOSTILE["trigger"])
    with pytest.raises(StoreError, match=r"has a trigger 'evil'.*DROP TRIGGER evil"):
        Store(tmp_path)
    change(tmp_path, "DROP TRIGGER evil")
    Store(tmp_path).close()


@pytest.mark.parametrize("name", ["../../../escaped", "..", "", "x\0y"])
def test_an_id_that_leads_elsewhere_names_no_file(blank, name):
    """The id of a probe set is part of two paths: of its file, and of its index."""
    crafted = ProbeSet(id=f"probe:{name}", name="p", version="1", modality="image", n=4, license="mit")
    before = sorted(blank.parent.rglob("*"))
    with Workspace() as opened:
        opened.store.put_probe_set(crafted)
        probe_sets.make_current(opened.store, crafted)
    invoke("register", f"dir:{materials.resnet(blank / 'm0', 0)}").failed("no part of an id")
    made = {p for p in blank.parent.rglob("*") if p not in before}
    assert not [p for p in made if not p.is_relative_to(blank)]
    assert not list((blank / "embeddings").rglob("*escaped*"))


@pytest.mark.parametrize("name", ["../../x", "faiss/../../x"])
def test_the_name_of_an_index_leads_nowhere_else(blank, name):
    with Workspace() as opened:
        opened.store.set_state("vector_index", name)
    invoke("register", f"dir:{materials.resnet(blank / 'm0', 0)}").failed("no part of an id")


def test_an_empty_file_beside_arrays_is_a_lost_registry(blank):
    invoke("register", f"dir:{materials.resnet(blank / 'm0', 0)}").worked()
    for log in ("registry.db-wal", "registry.db-shm"):
        (blank / log).unlink(missing_ok=True)
    (blank / "registry.db").write_bytes(b"")
    for command in (("ls",), ("init",), ("register", "zoo:emoji")):
        invoke("--workspace", blank, *command).failed("is empty, and", "embeddings is not", "backup")
    assert (blank / "registry.db").read_bytes() == b""


def test_an_empty_file_alone_is_a_new_registry(tmp_path):
    (tmp_path / "registry.db").write_bytes(b"")
    invoke("--workspace", tmp_path, "ls").worked()
    invoke("--workspace", tmp_path, "init").worked()
    assert invoke("--workspace", tmp_path, "probe", "ls", "--json").worked().json


CELLS = {
    ("tags", "'[1, 2'"),
    ("tags", "'{}'"),
    ("datasets", "'[1, 2]'"),
    ("meta", "'[]'"),
    ("meta", "x'00ff'"),
    ("params", "'many'"),
}


@pytest.mark.parametrize(("column", "value"), sorted(CELLS))
def test_a_damaged_cell_leaves_out_its_row_only(tmp_path, column, value):
    with Store(tmp_path) as store:
        for i in range(3):
            store.put_expert(expert(f"dir:{i}", tags=("t",)))
    change(tmp_path, f"UPDATE experts SET {column} = {value} WHERE id = 'dir:1'")
    listed = invoke("--workspace", tmp_path, "ls", "--json").worked()
    assert [e["id"] for e in listed.json] == ["dir:0", "dir:2"]
    assert f"{column} of the expert dir:1 is damaged" in listed.err
    assert len(listed.err.splitlines()) == 1
    left = ["dir:0", "dir:2"] if column == "tags" else ["dir:0", "dir:1", "dir:2"]
    assert invoke("--workspace", tmp_path, "ls", "--tag", "t", "-q").worked().lines == left
    shown = invoke("--workspace", tmp_path, "show", "dir:1")
    shown.failed(column, "is damaged", "expertise-graph rm", "register it again")
    invoke("--workspace", tmp_path, "rm", "dir:1").worked()
    rows.tell.cache_clear()
    assert invoke("--workspace", tmp_path, "ls").worked().err == ""


def test_a_damaged_expert_is_worked_around_and_registered_again(three):
    folder, models = three
    change(folder, "UPDATE experts SET meta = 'x' WHERE name = 'm1'")
    invoke("similar", "m0", "-k", "2").worked()
    data = materials.pictures(folder / "data", 2, 6)
    assert len(invoke("query", data, "--budget", "2", "--json").worked().json["candidates"]) == 2
    invoke("register", f"dir:{models[1]}").worked()
    rows.tell.cache_clear()
    listed = invoke("ls", "--json").worked()
    assert {e["name"] for e in listed.json} == {"m0", "m1", "m2"}
    assert listed.err == ""


def test_cells_of_other_tables_are_named_too(tmp_path, capsys):
    with Store(tmp_path) as store:
        store.put_expert(expert("dir:1"))
        store.put_covariates("dir:1", {"a": 1.0, "b": 2.0}, "a.csv")
        for i in (1, 2):
            task = {"name": "t", "modality": "image", "classes": ("a",), "n": 2, "locator": "/t"}
            store.put_task(Task(id=f"task:{i}", **task))
            store.put_seen(f"task:{i}", 0, ["ab" * 32])
    change(
        tmp_path,
        "UPDATE covariates SET value = '{' WHERE name = 'a'",
        "UPDATE tasks SET classes = 'x' WHERE id = 'task:1'",
        "UPDATE seen SET items = x'0102' WHERE task = 'task:1'",
        "UPDATE events SET detail = 'x'",
        "INSERT OR REPLACE INTO state VALUES ('generation', 'x')",
    )
    with Store(tmp_path) as store:
        assert store.covariates() == {"dir:1": {"b": 2.0}}
        assert [t.id for t in store.tasks()] == ["task:2"]
        assert list(store.seen(["ab" * 32])) == [("task:2", 0)]
        assert store.events() == []
        assert store.generation() == 0
    said = capsys.readouterr().err
    for part in ("covariate a of dir:1", "classes of the task task:1", "items that runs on task:1", "detail"):
        assert part in said


DAMAGED_VECTORS = {
    "bytes": "zeroblob(4096)",
    "length": "x'0000803f'",
    "text": "'text'",
    "nothing": "x''",
}


@pytest.mark.parametrize("name", DAMAGED_VECTORS)
def test_a_damaged_vector_is_made_again(three, name, capsys):
    folder, models = three
    change(
        folder,
        f"UPDATE embeddings SET vector = {DAMAGED_VECTORS[name]} WHERE owner = "
        "(SELECT id FROM experts WHERE name = 'm2')",
    )
    # Whoever needs all vectors meets it.
    for index in (folder / "embeddings" / "index").iterdir():
        index.unlink()
    other = materials.resnet(folder / "other", 9)
    done = invoke("register", f"dir:{other}").worked()
    assert "is damaged and was left out; register the expert again" in done.err
    invoke("register", f"dir:{models[2]}").worked()
    with Workspace() as opened:
        assert_right(opened)
        assert len(opened.similar("m2", 9)) == 3


def test_a_vector_with_its_own_checksum_that_is_no_vector(tmp_path, capsys):
    blob = np.array([np.nan, 1.0], "<f4").tobytes()
    sha = rows.sha256_of_bytes(blob)
    with Store(tmp_path) as store:
        store.put_probe_set(
            ProbeSet(id="probe:1", name="p", version="1", modality="image", n=4, license="mit")
        )
        for i in range(3):
            store.put_embedding(Embedding(owner=f"dir:{i}", kind="expert", probe_set="probe:1", method="m",
                                          version="1", vector=np.array([1.0, i]), seed=0, n=4))  # fmt: skip
        store.db.execute("UPDATE embeddings SET vector = ?, sha256 = ? WHERE owner = 'dir:1'", [blob, sha])
        assert store.vectors("probe:1")[1] == ["dir:0", "dir:2"]
        assert store.count_vectors("probe:1") == 2
    assert "the embedding of dir:1 is damaged" in capsys.readouterr().err


def test_vectors_of_another_length_than_their_method_makes_are_damaged(tmp_path, capsys):
    """However many they are: what is registered again stays."""
    with Store(tmp_path) as store:
        store.put_probe_set(
            ProbeSet(id="probe:1", name="p", version="1", modality="image", n=4, license="mit")
        )
        for i, length in enumerate([3, 3, 3, 1024]):
            ends = {"owner": f"dir:{i}", "kind": "expert", "probe_set": "probe:1"}
            how = {"method": "cka-sketch", "version": "1", "seed": 0, "n": 4}
            store.put_embedding(Embedding(**ends, **how, vector=np.ones(length)))
        assert store.vectors("probe:1")[1] == ["dir:3"]
    assert "the embedding of dir:0 is damaged" in capsys.readouterr().err


NOTES = {
    "nothing": {},
    "a folder that is none": {"folder": [1], "identity": {}, "origin": {}, "task": None, "run": None},
    "an origin that is none": {"folder": "x", "identity": {}, "origin": "x", "task": None, "run": None},
}


@pytest.mark.parametrize("name", NOTES)
def test_a_damaged_note_of_what_was_begun_is_one_line_and_forgotten(blank, name):
    model = materials.resnet(blank / "m0", 0)
    with Workspace() as opened:
        opened.store.put_pending("model", "run:x", NOTES[name])
        opened.store.db.execute("UPDATE pending SET owner = ''")
    said = invoke("register", f"dir:{model}").worked().err
    assert "what was begun cannot be finished: " in said
    assert "run its command again" in said
    with Workspace() as opened:
        assert opened.store.abandoned() == []


def test_row_numbers_that_no_index_takes_end_no_removal(three):
    folder, _ = three
    change(folder, "UPDATE embeddings SET id = -id")
    invoke("rm", "m0").worked()


def test_features_of_other_inputs_are_not_compared(three):
    """Those of an earlier version, which kept no key with them."""
    folder, _ = three
    for path in (folder / "embeddings" / "features").rglob("*.safetensors"):
        save_file({"features": np.ones((5, 2), np.float32)}, path)
    invoke("rm", "m0").worked()
    invoke("similar", "m1").worked()


@pytest.mark.parametrize("value", ["x", "nan", "-1", "[]"])
def test_a_damaged_number_that_only_saves_time_is_worked_out_again(blank, value):
    invoke("register", f"dir:{materials.resnet(blank / 'm0', 0)}").worked()
    data = materials.pictures(blank / "data", 2, 6)
    first = invoke("query", data, "--json").worked().json
    change(blank, f"UPDATE state SET value = '{value}' WHERE name LIKE 'baseline%'")
    assert invoke("query", data, "--json").worked().json["baseline"] == first["baseline"]


def test_where_only_others_are_embedded_none_is_ranked(blank):
    models = [materials.resnet(blank / f"m{i}", i) for i in range(2)]
    invoke("register", f"dir:{models[0]}", "--license", "mit").worked()
    invoke("register", f"dir:{models[1]}", "--license", "gpl-3.0").worked()
    change(blank, "DELETE FROM embeddings WHERE owner = (SELECT id FROM experts WHERE name = 'm0')")
    done = invoke("query", materials.pictures(blank / "data", 2, 6), "--license", "mit")
    done.failed("none of 1 expert has an embedding", "probe use")


@pytest.mark.parametrize("value", ["x", "-1", "\u00b2", "9" * 5000, "9" * 30])
def test_a_generation_that_is_no_number_counts_from_the_beginning(tmp_path, value):
    with Store(tmp_path) as store:
        store.set_state("generation", value)
        assert store.generation() == 0
