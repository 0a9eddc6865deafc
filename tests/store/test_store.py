"""What is put into the registry comes out the same, whole, and with its history."""

import dataclasses
import sqlite3
import time

import numpy as np
import pytest

from expertise_graph.core.errors import InvalidInputError, NotFoundError
from expertise_graph.core.types import Edge, Embedding, ProbeSet, Run, Score, Task
from expertise_graph.store.store import Store
from tests.store.nodes import expert

PROBES = ProbeSet(id="probe:1", name="p", version="1", modality="image", n=4, license="mit")
TASK = Task(id="task:1", name="t", modality="image", classes=("a", "b"), n=9, locator="/t")


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path)
    made.put_probe_set(PROBES)
    yield made
    made.close()


def embedding(owner, vector=(1.0, 2.0), **changes):
    values = {"kind": "expert", "probe_set": "probe:1", "method": "m", "version": "1", "seed": 0, "n": 4}
    return Embedding(owner=owner, vector=np.array(vector), **{**values, **changes})


def edge(kind, source, target, **changes):
    return Edge(kind=kind, source=source, target=target, weight=0.5, method="m", version="1", **changes)


def test_an_expert_comes_back_field_by_field(store):
    given = expert(
        "hf:o/n@1", name="naïve 🙂 'x'", revision="1", license="mit", base_model="b", datasets=("d", "e"),
        tags=("t",), trusted_code=True, meta={"input": {"size": 8, "mean": [0.5]}},
    )  # fmt: skip
    store.put_expert(given)
    found = store.expert(given.id)
    assert dataclasses.replace(found, created_at="") == given
    assert found.created_at.startswith("20")


def test_putting_a_node_again_replaces_all_but_its_creation_time(store):
    store.put_expert(expert("dir:1", license="mit"))
    first = store.expert("dir:1").created_at
    time.sleep(0.005)
    store.put_expert(expert("dir:1", license="unknown", tags=("new",)))
    assert len(store.experts()) == 1
    assert (store.expert("dir:1").license, store.expert("dir:1").tags) == ("unknown", ("new",))
    assert store.expert("dir:1").created_at == first
    store.put_task(TASK)
    before = store.tasks()[0].created_at
    time.sleep(0.005)
    store.put_task(dataclasses.replace(TASK, locator="/moved"))
    assert [(t.locator, t.created_at) for t in store.tasks()] == [("/moved", before)]


def test_numpy_scalars_are_stored_as_numbers(store):
    store.put_expert(expert("dir:1", params=np.int64(7), bytes=np.int32(9), dim=np.int64(3)))
    store.put_edges([edge("similarity", "a", "b", seconds=np.float32(0.5), n=np.int64(3))])
    kinds = store.db.execute("SELECT typeof(params), typeof(bytes), typeof(dim) FROM experts").fetchone()
    assert kinds == ("integer",) * 3
    assert store.db.execute("SELECT typeof(seconds), typeof(n) FROM edges").fetchone() == (
        "real",
        "integer",
    )
    assert (store.expert("dir:1").params, store.edges()[0].seconds) == (7, 0.5)


def test_vectors_come_back_as_float32_with_owners_in_order(store):
    for i in range(3):
        store.put_embedding(embedding(f"dir:{i}", (i + 1.0, 0.1)))
    rows, owners, matrix = store.vectors("probe:1")
    assert owners == ["dir:0", "dir:1", "dir:2"]
    assert len(set(rows)) == 3
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, np.array([[1, 0.1], [2, 0.1], [3, 0.1]], np.float32))


def test_a_replaced_vector_has_a_row_number_never_used_before(store):
    store.put_embedding(embedding("dir:0"))
    before, generation = store.vectors("probe:1")[0], store.generation()
    store.put_embedding(embedding("dir:0", (5.0, 5.0)))
    after, _, matrix = store.vectors("probe:1")
    assert after[0] > before[0]
    assert matrix.tolist() == [[5.0, 5.0]]
    assert store.generation() != generation


@pytest.mark.parametrize("vector", [(np.nan, 1.0), (np.inf, 1.0), (0.0, 0.0), ((1.0,), (2.0,))])
def test_vectors_that_are_no_direction_are_refused(store, vector):
    with pytest.raises(InvalidInputError, match="finite, non-zero"):
        store.put_embedding(embedding("dir:0", vector))
    assert store.vectors("probe:1")[1] == []


def test_a_transaction_is_written_whole_or_not_at_all(store):
    with pytest.raises(InvalidInputError), store.transaction():
        _half_way(store)
    assert store.experts() == []
    assert store.vectors("probe:1")[1] == []
    assert store.events() == []
    assert store.generation() == 0
    with store.transaction():
        store.put_expert(expert("dir:1"))
    assert len(store.experts()) == 1


def _half_way(store):
    store.put_expert(expert("dir:1"))
    store.put_embedding(embedding("dir:1"))
    store.put_embedding(embedding("dir:2", (0.0, 0.0)))


def test_relations_to_what_is_not_there_are_refused(store):
    with pytest.raises(sqlite3.IntegrityError):
        store.put_neighbours("probe:1", {"dir:1": [("dir:2", 0.5)]})
    with pytest.raises(sqlite3.IntegrityError):
        store.put_embedding(embedding("dir:1", probe_set="probe:2"))


def test_removing_an_expert_keeps_what_was_measured_with_it(store):
    for i in (1, 2):
        store.put_expert(expert(f"dir:{i}"))
        store.put_embedding(embedding(f"dir:{i}", (float(i), 1.0)))
    store.put_task(TASK)
    store.put_neighbours("probe:1", {"dir:1": [("dir:2", 0.5)], "dir:2": [("dir:1", 0.5)]})
    store.put_edges(
        [edge("similarity", "dir:1", "dir:2", probe_set="probe:1"), edge("lineage", "dir:1", "dir:2")]
    )
    store.put_edges([edge("transfer", "dir:1", "task:1", metric="accuracy", run="run:1")])
    values = {"estimator": "logme", "version": "1", "value": 1.0, "n": 9, "seed": 0, "seconds": 0.1}
    store.put_scores([Score(expert=e, task="task:1", **values) for e in ("dir:1", "dir:2")])
    store.remove_expert("dir:1")
    assert [e.id for e in store.experts()] == ["dir:2"]
    assert store.vectors("probe:1")[1] == ["dir:2"]
    assert store.neighbours("probe:1") == {}
    assert [s.expert for s in store.scores("task:1")] == ["dir:2"]
    assert sorted(e.kind for e in store.edges()) == ["lineage", "transfer"]
    assert [e["kind"] for e in store.events()] == ["expert", "expert", "rm"]


def test_scores_computed_again_replace_the_old_value(store):
    store.put_expert(expert("dir:1"))
    store.put_task(TASK)
    values = {"expert": "dir:1", "task": "task:1", "estimator": "logme", "version": "1", "n": 9, "seed": 0}
    for value in (1.0, 2.0):
        store.put_scores([Score(**values, value=value, seconds=0.1)])
    assert [s.value for s in store.scores("task:1")] == [2.0]


def test_runs_are_replaced_by_id_and_keep_their_content(store):
    values = {"id": "run:1", "expert": "e", "task": "t", "strategy": "lp-ft", "seed": 3, "path": "/out"}
    common = {**values, "config": {"epochs": 2}, "started_at": "2026-01-01"}
    store.put_run(Run(**common, child=None, status="running", result={}, finished_at=None))
    done = Run(**common, child="c", status="done", result={"accuracy": 0.5}, finished_at="2026-01-02")
    store.put_run(done)
    assert store.runs() == [done]


def test_experts_are_found_by_id_name_short_name_and_unique_beginning(store):
    store.put_expert(expert("hf:org/cats@1", name="cats", weights_sha="1" * 64))
    store.put_expert(expert("hf:org/dogs@2", name="dogs", weights_sha="2" * 64))
    for text in ("hf:org/cats@1", "cats", "cats@11111111", "hf:org/c", "cats@1"):
        assert store.find_expert(text).name == "cats"
    with pytest.raises(NotFoundError, match="names 2 experts: cats@11111111, dogs@22222222"):
        store.find_expert("hf:org/")
    with pytest.raises(NotFoundError, match="Did you mean 'cats'"):
        store.find_expert("catz")


def test_a_single_value_is_kept_under_its_name(store):
    assert store.state("x") is None
    store.set_state("x", "1")
    store.set_state("x", "2")
    assert store.state("x") == "2"
