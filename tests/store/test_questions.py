"""Questions that the store answers: exactly the rows asked for, by the indices that are there for it."""

import sqlite3

import numpy as np
import pytest

from expertise_graph.core.errors import InvalidInputError, NotFoundError
from expertise_graph.core.types import Edge, Embedding, ProbeSet, Run, Score, TaskDistance
from expertise_graph.store import vectors
from expertise_graph.store.store import Store
from tests.store.nodes import expert, node, task


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as made:
        made.put_probe_set(
            ProbeSet(id="probe:1", name="p", version="1", modality="image", n=4, license="mit")
        )
        yield made


@pytest.fixture
def zoo(store):
    """Four experts with weights and one without, in this order."""
    for name, changes in {
        "c": {"license": "mit", "params": 30, "tags": ("small", "warm-start")},
        "a": {"license": "apache-2.0", "params": 10, "tags": ("small",)},
        "d": {"license": "mit", "params": 20, "modality": "text", "base_model": "dir:a"},
        "b": {"license": "gpl-3.0", "params": 20, "datasets": ("pets",), "base_model": "org/base"},
    }.items():
        store.put_expert(expert(f"dir:{name}", created_at=f"2026-01-0{'cadb'.index(name) + 1}", **changes))
    store.put_expert(node("org/base", created_at="2026-01-05"))
    return store


def embed(store, owner, vector, probe_set="probe:1"):
    store.put_embedding(
        Embedding(owner=owner, kind="expert", probe_set=probe_set, method="m", version="1",
                  vector=np.array(vector), seed=0, n=4)
    )  # fmt: skip


def edge(kind, source, target, **changes):
    return Edge(kind=kind, source=source, target=target, weight=0.5, method="m", version="1", **changes)


def run(name, **changes):
    values = {"expert": "e", "task": "t", "child": None, "status": "done", "strategy": "lp-ft", "seed": 0}
    values |= {"path": "/out", "config": {}, "result": {}, "started_at": name, "finished_at": None}
    return Run(id=f"run:{name}", **(values | changes))


@pytest.mark.parametrize(
    ("modality", "where", "order", "limit", "expected"),
    [
        (None, {}, "created_at", None, "c a d b meta:org/base"),
        ("text", {}, "created_at", None, "d"),
        (None, {"license": "mit"}, "created_at", None, "c d"),
        (None, {"license": ["mit", "gpl-3.0"]}, "name", None, "b c d"),
        (None, {"tags": "small"}, "params", None, "a c"),
        (None, {"tags": "smal"}, "params", None, ""),
        (None, {"datasets": "pets"}, "created_at", None, "b"),
        ("image", {"source": "dir"}, "params", None, "a b c"),
        (None, {"source": "dir"}, "params", 2, "a b"),
        (None, {"base_model": ["dir:a", "org/base"], "license": "mit"}, "id", None, "d"),
        (None, {"id": []}, "id", None, ""),
        (None, {"source": "metadata"}, "id", None, "meta:org/base"),
    ],
)
def test_experts_are_chosen_and_sorted_by_their_fields(zoo, modality, where, order, limit, expected):
    ids = [i if ":" in i else f"dir:{i}" for i in expected.split()]
    assert [e.id for e in zoo.experts(modality, where=where, order=order, limit=limit)] == ids
    if limit is None:
        assert zoo.expert_ids(modality, where=where, order=order) == ids


@pytest.mark.parametrize("given", [{"where": {"licence": "mit"}}, {"order": "name; DROP TABLE experts"}])
def test_fields_that_experts_do_not_have_are_refused(zoo, given):
    with pytest.raises(InvalidInputError, match="experts have no field"):
        zoo.experts(**given)
    with pytest.raises(InvalidInputError, match="experts have no field"):
        zoo.expert_ids(**given)


def test_one_expert_is_there_or_not(zoo):
    assert zoo.known_expert("dir:a").params == 10
    assert zoo.known_expert("dir:x") is None
    with pytest.raises(NotFoundError, match="no expert 'dir:x'"):
        zoo.expert("dir:x")


def test_a_prefix_is_of_an_id_of_a_name_or_of_name_and_hash(zoo):
    zoo.put_expert(expert("hf:org/bird@1", name="bird", weights_sha="cafe" + "0" * 60))
    zoo.put_expert(expert("hf:org/bird@2", name="bird", weights_sha="cabe" + "0" * 60))
    assert zoo.find_expert("bird@caf").id == "hf:org/bird@1"
    assert zoo.find_expert("bird@cabe0000").id == "hf:org/bird@2"
    for text in ("bird", "bir", "bird@", "bird@ca", "hf:org/b"):
        with pytest.raises(NotFoundError, match=f"'{text}' names 2 experts: bird@cafe0000, bird@cabe0000"):
            zoo.find_expert(text)
    for text in ("bird@cafe00000", "birds", "BIRD", "%", "org/base@"):
        with pytest.raises(NotFoundError, match="no expert "):
            zoo.find_expert(text)


def test_names_are_of_those_asked_for(zoo):
    zoo.put_task(task("pets"))
    assert zoo.names(["dir:a", "task:meta:pets", "meta:org/base", "unknown"]) == {
        "dir:a": "a@aaaaaaaa",
        "task:meta:pets": "pets",
        "meta:org/base": "org/base",
    }
    assert len(zoo.names()) == 6
    assert zoo.names([]) == {}


def test_edges_by_what_they_join_and_who_left_them(store):
    first = edge("transfer", "dir:a", "task:1", run="run:1")
    second = edge("transfer", "dir:b", "task:1")
    third = edge("lineage", "dir:a", "dir:b")
    fourth = edge("similarity", "dir:c", "dir:a", probe_set="probe:1")
    store.put_edges([first, second, third, fourth])

    def ends(**given):
        return [(e.source, e.target) for e in store.edges(**given)]

    assert ends(node="dir:a") == [("dir:a", "task:1"), ("dir:a", "dir:b"), ("dir:c", "dir:a")]
    assert ends(kind="transfer", node="dir:a") == [("dir:a", "task:1")]
    assert ends(source="dir:a", target="dir:b") == [("dir:a", "dir:b")]
    assert ends(target="task:1") == [("dir:a", "task:1"), ("dir:b", "task:1")]
    assert ends(run="run:1") == [("dir:a", "task:1")]
    assert ends(kind="transfer", imported=True) == [("dir:b", "task:1")]
    assert ends(kind="transfer", imported=False) == [("dir:a", "task:1")]
    assert ends(node="nobody") == []
    store.drop_edges("similarity", "probe:1", ["dir:a", "dir:b"])
    assert [e.kind for e in store.edges()] == ["transfer", "transfer", "lineage"]


def test_runs_by_task_child_folder_and_status(store):
    for made in (run("1"), run("2", task="u", child="dir:c"), run("3", status="failed", path="/other")):
        store.put_run(made)
    assert store.run("run:2").child == "dir:c"
    assert store.run("run:9") is None
    assert [r.id for r in store.runs()] == ["run:1", "run:2", "run:3"]
    assert [r.id for r in store.runs(task="t", status="done")] == ["run:1"]
    assert [r.id for r in store.runs(child="dir:c")] == ["run:2"]
    assert [r.id for r in store.runs(path="/other")] == ["run:3"]


def test_scores_distances_covariates_and_tasks_by_what_they_are_of(zoo):
    zoo.add_nodes(tasks=[task("t"), task("u")])
    values = {"estimator": "logme", "n": 9, "seed": 0, "seconds": 0.1}
    zoo.put_scores(
        Score(expert=f"dir:{e}", task=f"task:meta:{t}", version=v, value=1.0, **values)
        for e, t, v in (("a", "t", "1"), ("a", "u", "2"), ("b", "t", "2"))
    )
    assert [s.expert for s in zoo.scores("task:meta:t")] == ["dir:a", "dir:b"]
    assert [s.task for s in zoo.scores(expert="dir:a")] == ["task:meta:t", "task:meta:u"]
    assert [(s.expert, s.task) for s in zoo.scores("task:meta:t", version="2")] == [("dir:b", "task:meta:t")]
    zoo.put_distances(
        TaskDistance(task="task:meta:t", other="task:meta:u", value=1.0, method=m) for m in ("x", "y")
    )
    assert [d.method for d in zoo.distances("y")] == ["y"]
    for name in "ab":
        zoo.put_covariates(f"dir:{name}", {"n": 1.0, "data": name}, "f.csv")
    assert zoo.covariates(["dir:b", "dir:c"]) == {"dir:b": {"n": 1.0, "data": "b"}}
    assert zoo.covariates(names=["data"]) == {"dir:a": {"data": "a"}, "dir:b": {"data": "b"}}
    assert [t.name for t in zoo.tasks(modality="image")] == ["t", "u"]
    assert zoo.tasks(locator="/nowhere") == []


def test_vectors_of_some_in_batches_and_of_whom_there_are_none(zoo, monkeypatch):
    monkeypatch.setattr(vectors, "_BATCH", 2)
    for i, name in enumerate("cab"):
        embed(zoo, f"dir:{name}", (1.0, float(i)))
    rows, owners, matrix = zoo.vectors("probe:1", owners=["dir:b", "dir:c", "dir:x"])
    assert owners == ["dir:c", "dir:b"]
    assert matrix.tolist() == [[1.0, 0.0], [1.0, 2.0]]
    assert zoo.vector_owners(rows) == dict(zip(rows, owners, strict=True))
    batches = list(zoo.vectors_after("probe:1", -1))
    assert [o for _, o, _ in batches] == [["dir:c", "dir:a"], ["dir:b"]]
    assert [o for _, o, _ in zoo.vectors_after("probe:1", rows[0])] == [["dir:a", "dir:b"]]
    assert zoo.vector_rows("probe:1") == [r for ids, _, _ in batches for r in ids]
    assert zoo.count_vectors("probe:1") == 3
    assert zoo.has_embedding("dir:a", "probe:1")
    assert not zoo.has_embedding("dir:d", "probe:1")
    assert zoo.without_embedding("probe:1", "image") == []
    assert [e.id for e in zoo.without_embedding("probe:1", "text")] == ["dir:d"]


def test_neighbours_of_one_and_whose_are_far(zoo):
    for name in "abc":
        embed(zoo, f"dir:{name}", (1.0, 2.0))
    lists = {"dir:a": [("dir:b", 0.2), ("dir:c", 0.9)], "dir:b": [("dir:c", 0.8)]}
    zoo.put_neighbours("probe:1", lists, linked=["dir:a"])
    assert zoo.neighbours_of("dir:a", "probe:1") == [("dir:c", 0.9), ("dir:b", 0.2)]
    assert zoo.neighbours_of("dir:c", "probe:1") == []
    assert zoo.neighbours("probe:1", ["dir:b"]) == {"dir:b": [("dir:c", 0.8)]}
    assert zoo.unlinked("probe:1") == ["dir:b", "dir:c"]
    (row, owner, cka), = zoo.with_far_neighbours("probe:1", 0.5)  # fmt: skip
    assert (zoo.vector_owners([row])[row], owner, cka) == ("dir:a", "dir:a", 0.2)
    assert [o for _, o, _ in zoo.with_far_neighbours("probe:1", 0.8)] == ["dir:a", "dir:b"]
    # Who loses a neighbour needs another one; who is gone needs none.
    zoo.remove_expert("dir:c")
    assert zoo.unlinked("probe:1") == ["dir:a", "dir:b"]


def test_what_is_asked_of_one_node_is_looked_up_by_an_index(zoo):
    """However large the registry: no plan goes through all rows of a table."""
    plans = []
    zoo.db.conn.set_trace_callback(plans.append)
    zoo.find_expert("dir:a")
    zoo.find_expert("d@aaa")
    zoo.edges(node="dir:a")
    zoo.runs(child="dir:a")
    zoo.runs(task="t")
    zoo.names(["dir:a"])
    zoo.covariates(["dir:a"])
    zoo.neighbours_of("dir:a", "probe:1")
    zoo.with_ancestors(["dir:a"])
    zoo.has_embedding("dir:a", "probe:1")
    zoo.count_vectors("probe:1")
    zoo.experts(where={"base_model": ["dir:a"]})
    zoo.experts(where={"source": "metadata", "name": ["a"]})
    zoo.db.conn.set_trace_callback(None)
    tables = ("experts", "tasks", "edges", "runs", "covariates", "neighbours", "embeddings")
    assert len(plans) >= 13
    for statement in plans:
        steps = [row[3] for row in zoo.db.execute(f"EXPLAIN QUERY PLAN {statement}")]
        assert not [s for s in steps if s in {f"SCAN {table}" for table in tables}], (statement, steps)


def test_a_store_closes_itself_and_has_one_record_of_its_version(tmp_path):
    with Store(tmp_path) as opened:
        assert opened.expert_ids() == []
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened.expert_ids()
    db = sqlite3.connect(tmp_path / "registry.db")
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    db.close()
    assert {t for t in tables if "migration" in t} == set()
