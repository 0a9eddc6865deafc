"""Workspaces of every version of the schema open, and answer with what was stored in them."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from expertise_graph import Workspace
from tests.compat import material
from tests.program import invoke

VERSIONS = {
    "schema1": 1,
    "schema2": 2,
    "schema3-first": 3,
    "schema3": 3,
    "schema4": 4,
    "schema5": 5,
    "schema6": 6,
    "schema7": 7,
    "schema8": 8,
}
MEASURED = ("schema3-first", "schema3", "schema4", "schema5", "schema6", "schema7", "schema8")
NEWEST = 8
# Who is nearest to the expert in experts/quarter there, and the CKA.
NEAR = {
    "schema3-first": ("letters-from-greek-letters@ad8837a0", 0.8834),
    "schema3": ("letters-from-greek-letters@ad8837a0", 0.8834),
    "schema4": ("letters-from-greek-letters@ad8837a0", 0.8834),
    "schema5": ("greek-letters@f5357737", 0.8788),
    "schema6": ("greek-letters@f5357737", 0.8788),
    "schema7": ("greek-letters@f5357737", 0.8476),
    "schema8": ("greek-letters@f5357737", 0.8476),
}

every = pytest.mark.parametrize("name", VERSIONS)
measured = pytest.mark.parametrize("name", MEASURED)


def on_record(name):
    return material.recorded(material.WORKSPACES / f"{name}.json")


@pytest.fixture
def folder(name, tmp_path):
    return material.workspace(name, tmp_path)


def test_there_is_a_workspace_of_every_version():
    assert {material.version(material.WORKSPACES / n) for n in VERSIONS} == set(range(1, NEWEST + 1))
    assert {p.name for p in material.WORKSPACES.iterdir() if p.is_dir()} == set(VERSIONS)
    assert list(material.WORKSPACES.rglob("registry.db-*")) == []


@every
def test_it_is_brought_up_to_date_once(name, folder):
    """No row is lost or changed by the steps, and the second opening changes nothing at all."""
    before = material.rows(folder)
    assert material.version(folder) == VERSIONS[name]
    invoke("--workspace", folder, "ls").worked()
    after = material.rows(folder)
    assert material.version(folder) >= NEWEST
    assert {*before} <= {*after}
    for table, rows in before.items():
        columns = {column for row in rows for column, _ in row}
        kept = Counter(tuple(c for c in row if c[0] in columns) for row in after[table].elements())
        assert kept == rows, table
    assert not any(after[table] for table in {*after} - {*before})
    invoke("--workspace", folder, "ls").worked()
    assert material.rows(folder) == after


@every
def test_what_was_said_of_it_then_is_said_of_it_now(name, folder):
    """Listings, experts and CKA as the version that made the workspace printed them."""
    made = on_record(name)["made"]
    assert "ls" in made
    for command, said in made.items():
        if name == "schema2" and command.startswith("similar"):
            continue  # that version had no current probe set
        # Near-duplicates were listed one by one.
        every = ["--all"] if command.startswith("similar") else []
        found = invoke("--workspace", folder, *command.split(), *every, "--json").worked().json
        material.same(found, said, 1e-12, grown=True)


@measured
def test_the_graph_has_all_edges(name, folder, tmp_path):
    path = tmp_path / "graph.json"
    invoke("--workspace", folder, "export", "--format", "json", path).worked()
    graph = json.loads(path.read_text(encoding="utf-8"))
    kinds = Counter(edge["kind"] for edge in graph["edges"])
    assert kinds == on_record(name)["edges"] == material.edges(folder)
    assert {node["name"] for node in graph["nodes"] if node["kind"] == "expert"} == {
        expert["name"] for expert in on_record(name)["made"]["ls"]
    }


@measured
def test_what_follows_from_it_is_as_on_record(name, folder):
    """A query that runs nothing, why an expert stands where it stands, and the back-test."""
    for question, found in material.answers(name, folder).items():
        # The chance to be the best is counted in draws: rounding moves some of them.
        material.same(found, on_record(name)["answers"][question], 5e-3, grown=True)


@measured
def test_the_workspace_from_python(name, folder):
    said = on_record(name)["made"]
    expert = material.EXPERT[name]
    with Workspace(folder) as opened:
        assert {(e.id, e.name, e.params) for e in opened.experts()} == {
            (e["id"], e["name"], e["params"]) for e in said["ls"]
        }
        runs = [(r.id, r.status, r.strategy, r.result.get("accuracy"), r.path) for r in opened.runs()]
        near = [(n.expert.id, n.cka) for n in opened.similar(expert)]
        graph = opened.graph()
    listed = [(r["id"], r["status"], r["strategy"], r["accuracy"], r["path"]) for r in said["runs"]]
    assert sorted(runs, key=str) == sorted(listed, key=str)
    if f"similar {expert}" in said:
        wanted = [(n["id"], n["cka"]) for n in said[f"similar {expert}"]]
        assert [i for i, _ in near] == [i for i, _ in wanted]
        assert [c for _, c in near] == pytest.approx([c for _, c in wanted], abs=1e-12)
    assert graph.number_of_edges() == sum(on_record(name)["edges"].values())


@pytest.mark.parametrize("name", ["schema1", "schema2"])
def test_what_an_early_one_lacks_is_made(name, folder):
    """Before the third version no probe set was the current one; making it so gives the same CKA."""
    failed = invoke("--workspace", folder, "similar", "fashion")
    failed.failed("no probe set of modality 'image'")
    used = invoke("--workspace", folder, "probe", "use", "small").worked()
    assert "small is current for image" in used.err
    found = invoke("--workspace", folder, "similar", "fashion", "--all", "--json").worked().json
    said = on_record("schema3-first")["made"]["similar fashion"]
    # Of the first version no features are there: the children, whose folders are gone, have none.
    wanted = [n for n in said if name == "schema2" or n["id"].startswith("zoo:")]
    material.same(found, wanted, 1e-6, grown=True)


@measured
def test_it_can_be_worked_on(name, folder):
    """A new expert is embedded among the old ones, and an old one can be taken out."""
    expert = material.EXPERT[name]
    invoke("--workspace", folder, "register", f"dir:{material.EXPERTS / 'quarter'}").worked()
    near = invoke("--workspace", folder, "similar", "quarter", "-k", "2", "--json").worked().json
    assert len(near) == 2
    assert (near[0]["expert"], near[0]["cka"]) == (NEAR[name][0], pytest.approx(NEAR[name][1], abs=1e-3))
    runs = invoke("--workspace", folder, "runs", "--json").worked().json
    invoke("--workspace", folder, "rm", expert).worked()
    left = [e["name"] for e in invoke("--workspace", folder, "ls", "--json").worked().json]
    assert "quarter" in left
    assert expert not in left
    assert [r["accuracy"] for r in invoke("--workspace", folder, "runs", "--json").worked().json] == [
        r["accuracy"] for r in runs
    ]
