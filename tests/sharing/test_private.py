"""What a pushed folder does not hold: paths, names of people and machines, tokens, data, code."""

from __future__ import annotations

import json
import socket

import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from expertise_graph.core import Edge
from expertise_graph.sharing.privacy import Cleaner
from expertise_graph.workspace import Workspace
from tests import program
from tests.sharing.conftest import MARKER

USER, TOKEN = "zzsecretuserzz", "hf_zzsecrettokenzz"
# A name of two letters stands in any file.
HOST = [name for name in [socket.gethostname()] if len(name) > 4]


@pytest.fixture
def folder(source, pets, tmp_path):
    """A folder pushed from a workspace in which paths stand wherever a text may stand."""
    hidden = str(source.parent)
    with Workspace(source) as workspace:
        store, expert = workspace.store, workspace.expert("emoji")
        store.put_covariates(
            expert.id,
            {"folder": f"{hidden}/x", "note": f"made in {hidden}", "size": 3.0},
            f"{hidden}/meta.csv",
        )
        local = workspace.expert("greek-letters")
        meta = {
            **local.meta,
            "aliases": [{"name": "x", "source": "dir", "locator": hidden, "revision": None}],
        }
        base = f"{hidden}/base"
        row = {"base_model": base, "datasets": json.dumps([f"{hidden}/data"]), "meta": json.dumps(meta)}
        store.db.table("experts").update(local.id, row)
        task = workspace.tasks()[0].task
        store.db.table("tasks").update(
            task.id, {"classes": json.dumps([f"{hidden}/{c}" for c in task.classes]), "name": f"~/{MARKER}"}
        )
        store.put_edges(
            [
                Edge(
                    kind="transfer",
                    source=expert.id,
                    target=task.id,
                    weight=0.5,
                    metric="accuracy",
                    method="race",
                    version="1",
                    seed=3,
                    run="run:0",
                    meta={
                        "note": f"failed: {hidden}",
                        "origin": f"{hidden}/r.csv",
                        "epochs": 2,
                        "into": base,
                    },
                )
            ]
        )
        store.put_edges(
            [
                Edge(
                    kind="suspected",
                    source=expert.id,
                    target=local.id,
                    weight=0.1,
                    method="weights",
                    version="1",
                )
            ]
        )
    more = {"USER": USER, "LOGNAME": USER, "HF_TOKEN": TOKEN}
    words = ("--workspace", source, "push", tmp_path / "graph")
    assert program.run(*words, cwd=source.parent, more=more).worked().out.startswith("pushed to")
    return tmp_path / "graph"


def test_no_byte_says_where_or_whose_it_is(folder, source):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".md", ".png", ".parquet", ".safetensors"}
    home = source.parent / "home"
    for path in files:
        content = path.read_bytes()
        for secret in (MARKER, USER, TOKEN, *HOST, str(home), str(source), str(folder), "/tmp"):
            assert secret.encode() not in content, (path.name, secret)
            assert secret not in path.name


def test_a_search_of_the_bytes_sees_what_the_tables_hold(folder):
    """Nothing is compressed or encoded out of sight: what stands in a cell stands in the bytes."""
    path = next((folder / "data").glob("experts-*"))
    for row in pq.read_table(path).to_pylist():
        assert row["name"].encode() in path.read_bytes()


def test_what_replaces_a_path_keeps_its_numbers(folder):
    rows = {
        path.name.rsplit("-", 1)[0]: pq.read_table(path).to_pylist()
        for path in (folder / "data").glob("*.parquet")
    }
    values = {row["name"]: json.loads(row["value"]) for row in rows["covariates"]}
    assert values["size"] == 3.0
    assert values["folder"].startswith("path:")
    (race,) = [row for row in rows["edges"] if row["method"] == "race"]
    assert "suspected" not in {row["kind"] for row in rows["edges"]}
    assert (race["weight"], json.loads(race["meta"])) == (0.5, {"epochs": 2})
    (local,) = [row for row in rows["experts"] if row["name"] == "greek-letters"]
    assert (local["source"], local["locator"]) == ("metadata", local["id"])
    assert "aliases" not in json.loads(local["meta"])


def test_vectors_are_all_that_is_kept_of_inputs(folder, source):
    tensors = load_file(next((folder / "data").glob("vectors-*")))
    assert {name: array.shape[1] for name, array in tensors.items()} == {
        "embeddings-1024": 1024,
        "responses": 1024,
    }
    arrays = list((source / "embeddings" / "features").rglob("*.safetensors"))
    assert len(tensors["responses"]) < len(arrays)


def test_a_token_that_stands_in_a_name_is_replaced(source, tmp_path):
    with Workspace(source) as workspace:
        workspace.store.put_covariates(workspace.expert("emoji").id, {TOKEN: 1.0}, "file")
    done = program.run(
        "--workspace", source, "push", tmp_path / "graph", cwd=source, more={"HF_TOKEN": TOKEN}
    )
    assert done.code == 0
    content = b"".join(p.read_bytes() for p in (tmp_path / "graph").rglob("*") if p.is_file())
    assert TOKEN.encode() not in content


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("sentence-transformers/all-MiniLM-L6-v2", True),
        ("hf:org/name", True),
        ("https://huggingface.co/org/name", True),
        ("and/or", True),
        ("3 / 4", True),
        ("/data/pets", False),
        ("~/pets", False),
        ("../pets", False),
        ("C:\\pets", False),
        ("\\\\server\\pets", False),
        ("file: /data/pets.csv", False),
        ("dir:/data/pets", False),
        ("in '/data/pets'", False),
    ],
)
def test_what_counts_as_a_path(text, kept, tmp_path):
    cleaner = Cleaner(tmp_path, "salt", anonymous=False)
    assert (cleaner.text(text) == text) is kept
    assert kept or cleaner.text(text) == f"path:{cleaner.digest(text)}"


def test_hashes_of_names_cannot_be_guessed_from_the_names(tmp_path):
    one, other = (Cleaner(tmp_path, salt, anonymous=True) for salt in ("a", "b"))
    assert one.name("cat") == Cleaner(tmp_path, "a", anonymous=True).name("cat")
    assert len({one.name("cat"), other.name("cat"), one.name("dog")}) == 3
