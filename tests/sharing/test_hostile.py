"""A registry that is damaged, newer, too large or made to harm: one line, and nothing merged."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expertise_graph.core import InvalidInputError
from expertise_graph.sharing.checks import check
from expertise_graph.sharing.files import read_manifest, read_snapshot
from expertise_graph.workspace import Workspace
from tests.materials import counts
from tests.once import once
from tests.program import invoke

KINDS = ("experts", "tasks", "probe_sets", "embeddings", "edges", "scores", "responses", "vectors")


@pytest.fixture(scope="session")
def _graph(_shared_source, tmp_path_factory):
    def make(folder):
        with Workspace(next(_shared_source.glob("*/workspace"))) as workspace:
            workspace.push(folder / "graph")

    return once(tmp_path_factory, "shared-graph", make) / "graph"


@pytest.fixture
def graph(_graph, tmp_path):
    """A pushed folder, which may be damaged."""
    return shutil.copytree(_graph, tmp_path / "graph")


@pytest.fixture
def target(empty):
    """A workspace, which must stay as it is."""
    before = counts(empty)
    yield empty
    assert counts(empty) == before
    with Workspace(empty) as workspace:
        assert workspace.store.ledgers() == {}


def refused(target, graph, *parts):
    invoke("--workspace", target, "pull", graph).failed(*parts)


def file_of(graph, table):
    return next((graph / "data").glob(f"{table}-*"))


def change_manifest(graph, **changes):
    path = graph / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def put_back(graph, path):
    """Name a file that was changed as its content is now, as whoever wants to harm would."""
    content, manifest = path.read_bytes(), json.loads((graph / "manifest.json").read_text())
    sha256 = hashlib.sha256(content).hexdigest()
    rows = manifest["files"].pop(f"data/{path.name}")["rows"]
    new = path.rename(path.with_name(f"{path.name.rsplit('-', 1)[0]}-{sha256[:12]}{path.suffix}"))
    if new.suffix == ".parquet":
        rows = pq.read_metadata(new).num_rows
    manifest["files"][f"data/{new.name}"] = {"sha256": sha256, "bytes": len(content), "rows": rows}
    change_manifest(graph, files=manifest["files"])


def rewritten(graph, table, change):
    """Change the rows of a table, and the manifest with it."""
    path = file_of(graph, table)
    old = pq.read_table(path)
    rows = old.to_pylist()
    rows = change(rows) or rows
    pq.write_table(pa.Table.from_pylist(rows, schema=old.schema), path, compression="none")
    put_back(graph, path)


@pytest.mark.parametrize("table", KINDS)
@pytest.mark.parametrize("where", [0.1, 0.5, 0.95])
def test_one_bit_that_changed_is_noticed(target, graph, table, where):
    path = file_of(graph, table)
    content = bytearray(path.read_bytes())
    content[int(len(content) * where)] ^= 4
    path.write_bytes(content)
    refused(target, graph, "is not whole", path.name, "does not match its checksum")


@pytest.mark.parametrize("table", KINDS)
def test_a_file_that_is_cut_or_missing_is_named(target, graph, table):
    path = file_of(graph, table)
    path.write_bytes(path.read_bytes()[:-7])
    refused(target, graph, "is not whole", path.name, "bytes instead of")
    path.unlink()
    refused(target, graph, "is not whole", path.name, "is missing")


def test_a_manifest_that_is_damaged_cut_or_of_something_else(target, graph):
    path = graph / "manifest.json"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    refused(target, graph, "manifest.json is damaged")
    for content in ("{}", "[]", '{"format": "x", "version": 1}', '{"format": "expertise-graph registry"}'):
        path.write_text(content)
        refused(target, graph)
    for digit in ("0", "f"):
        place = whole.index('"sha256": "') + len('"sha256": "')
        if whole[place] != digit:
            path.write_text(whole[:place] + digit + whole[place + 1 :])
            refused(target, graph, "does not match its checksum")
    path.unlink()
    refused(target, graph, "is not a shared registry")


def test_a_newer_format_says_to_upgrade(target, graph):
    change_manifest(graph, version=2)
    refused(target, graph, "version 2 of the format", "pip install -U expertise-graph")


@pytest.mark.parametrize("name", ["../registry.db", "/etc/passwd", "data/x.pkl", "data/experts-0.parquet"])
def test_a_manifest_that_names_other_files(target, graph, name):
    manifest = json.loads((graph / "manifest.json").read_text())
    entry = {"sha256": "0" * 64, "bytes": 1, "rows": 1}
    change_manifest(graph, files={**manifest["files"], name: entry})
    refused(target, graph, "manifest.json is damaged")


def test_more_than_could_be_read_is_refused_by_the_manifest_alone(target, graph):
    manifest = json.loads((graph / "manifest.json").read_text())
    for name in ("rows", "bytes"):
        files = {n: dict(f) for n, f in manifest["files"].items()}
        files[next(iter(files))][name] = 10**12
        change_manifest(graph, files=files)
        refused(target, graph, "are read")


def test_rows_that_take_more_memory_than_their_file_are_not_unpacked(target, graph):
    """A text of a megabyte stands once in a dictionary, and a million rows mean it."""
    path = file_of(graph, "covariates")
    schema = pq.read_schema(path)
    rows = 1_000_000
    same = {field.name: pa.array(["x" * (1 << 20)]).dictionary_encode() for field in schema}
    index = pa.array(np.zeros(rows, np.int32))
    columns = [pa.DictionaryArray.from_arrays(index, same[f.name].dictionary) for f in schema]
    table = pa.Table.from_arrays(columns, names=schema.names)
    pq.write_table(table, path, compression="none", store_schema=False)
    put_back(graph, path)
    refused(target, graph, "are possible")


def test_a_link_in_place_of_a_file_is_not_followed(target, graph, tmp_path):
    path = file_of(graph, "experts")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    refused(target, graph, "is missing")


def edit(table, **values):
    def change(rows):
        rows[0].update(values)

    return table, change


def with_meta(table, number=0, **values):
    def change(rows):
        rows[number]["meta"] = json.dumps({**json.loads(rows[number]["meta"]), **values})

    return table, change


@pytest.mark.parametrize(
    ("table", "change"),
    [
        edit("experts", source="dir"),
        edit("experts", source="factory", locator="os:system"),
        edit("experts", trusted_code=True),
        edit("experts", source="hf", locator="../../x", revision="0" * 40),
        edit("experts", source="hf", locator="org/name", revision="main"),
        edit("experts", params=-1),
        edit("experts", weights_sha="0"),
        edit("experts", weights_sha="0" * 63 + "\n"),
        edit("experts", created_at="yesterday"),
        edit("experts", name="x" * 5000),
        edit("experts", meta="{"),
        edit("experts", meta="[]"),
        edit("experts", meta='{"a":' * 5000 + "1" + "}" * 5000),
        with_meta("experts", factory="os:system"),
        with_meta("experts", recipe={"version": 2}),
        with_meta("experts", recipe={"version": 2, "max_tokens": True, "prompt": None}),
        with_meta("experts", timm="resnet18"),
        with_meta("experts", input={"transform": "os:system"}),
        ("experts", lambda rows: [*rows, rows[0]]),
        ("experts", lambda rows: rows[1:]),
        edit("tasks", n=-1),
        edit("tasks", id="x"),
        edit("scores", value=float("nan")),
        edit("scores", value=float("inf")),
        edit("scores", value=1e300),
        edit("scores", seed=-1),
        edit("scores", expert="zoo:absent@resnet"),
        edit("scores", task="task:absent"),
        edit("edges", kind="owns"),
        edit("edges", weight=float("nan")),
        with_meta("edges", 0, x=[1]),
        with_meta("edges", 0, x="y" * 5000),
        with_meta("edges", 0, rung="a"),
        edit("embeddings", row=99),
        edit("embeddings", row=-1),
        edit("embeddings", tensor="__proto__"),
        edit("embeddings", method="unheard-of", tensor="embeddings-7"),
        edit("embeddings", kind="owner"),
        edit("responses", key="../../x"),
        edit("responses", row=1 << 40),
    ],
)
def test_a_row_that_this_program_would_not_write(target, graph, table, change):
    rewritten(graph, table, change)
    refused(target, graph)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_vectors_that_are_none(target, graph, number):
    from safetensors.numpy import load_file, save_file

    path = file_of(graph, "vectors")
    tensors = load_file(path)
    tensors["embeddings-1024"][0, 5] = number
    save_file(tensors, path)
    put_back(graph, path)
    refused(target, graph, "vectors that are none")
    tensors["embeddings-1024"] = np.zeros((len(tensors["embeddings-1024"]), 1024), np.float32)
    save_file(tensors, path := file_of(graph, "vectors"))
    put_back(graph, path)
    refused(target, graph, "its vector is none")
    save_file({"embeddings-1024": np.ones((99, 3), np.float64)}, path := file_of(graph, "vectors"))
    put_back(graph, path)
    refused(target, graph, "vectors that are none")


def test_columns_of_another_schema(target, graph):
    path = file_of(graph, "scores")
    table = pq.read_table(path)
    for other in (
        table.drop_columns(["value"]),
        table.append_column("more", pa.array(["x"] * len(table))),
        table.set_column(4, "value", pa.array(["1"] * len(table))),
        table.rename_columns(["__proto__", *table.column_names[1:]]),
    ):
        pq.write_table(other, path, compression="none")
        put_back(graph, path)
        refused(target, graph, "expected are")
        path = file_of(graph, "scores")


def test_texts_that_control_a_terminal_are_shown_without_that(graph, empty):
    rewritten(graph, "tasks", lambda rows: rows[0].update(name="a\x1b[31mred") or rows)
    invoke("--workspace", empty, "pull", graph).worked()
    assert "\x1b" not in invoke("--workspace", empty, "tasks", "ls").worked().out


def test_every_check_has_a_line_that_names_the_row(graph):
    manifest = read_manifest(graph, "here")
    snapshot = read_snapshot(graph, manifest, "here")
    check(snapshot, "here")
    rows = [dict(row) for row in snapshot.tables["scores"]]
    rows[2]["n"] = -3
    broken = dataclasses.replace(snapshot, tables={**snapshot.tables, "scores": rows})
    with pytest.raises(InvalidInputError, match="row 3 of scores: n is -3; nothing was merged"):
        check(broken, "here")


def test_a_file_that_is_no_folder_and_places_that_are_none(empty, tmp_path):
    (tmp_path / "file").write_text("x")
    invoke("--workspace", empty, "pull", tmp_path / "absent").failed("there is no folder")
    invoke("--workspace", empty, "push", tmp_path / "file").failed("is a file")
    invoke("--workspace", empty, "pull", "https://huggingface.co/a/b").failed("ORG/NAME")
    invoke("--workspace", empty, "pull", tmp_path, "--revision", "x").failed("--revision")
    invoke("--workspace", empty, "merge-registry", empty).failed("is this workspace")
    invoke("--workspace", empty, "push", tmp_path / "graph").failed("no expert to share")


def test_a_folder_with_other_files_is_not_written_to(source, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    invoke("--workspace", source, "push", tmp_path / "mine").failed("holds other files (notes.txt)")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    invoke("--workspace", source, "push", source / "embeddings" / "x").failed("part of a workspace")


def test_the_second_who_pushes_is_told_to_pull_first(source, empty, tmp_path):
    invoke("--workspace", source, "push", tmp_path / "graph").worked()
    invoke("--workspace", empty, "register", "zoo:fashion").worked()
    invoke("--workspace", empty, "push", tmp_path / "graph").failed("pull first")
    invoke("--workspace", empty, "pull", tmp_path / "graph").worked()
    invoke("--workspace", empty, "push", tmp_path / "graph").worked()
    invoke("--workspace", source, "push", tmp_path / "graph").failed("pull first")
    merged = invoke("--workspace", source, "pull", tmp_path / "graph", "--json").worked().json
    assert merged["tables"]["experts"]["added"] == 1
    invoke("--workspace", source, "push", tmp_path / "graph").worked()
