"""What users bring along: nodes known by name, covariates, distances, and its way to a real expert."""

import dataclasses
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from expertise_graph.core.errors import InvalidInputError, NotFoundError
from expertise_graph.core.types import Edge, Score, TaskDistance
from expertise_graph.store.migrations import SCHEMA_VERSION
from expertise_graph.store.store import Store
from tests.store.nodes import expert, node, task
from tests.store.test_connection import older, pragma

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path)
    yield made
    made.close()


def result(source, target, weight=0.5, **changes) -> Edge:
    values = {"kind": "transfer", "metric": "accuracy", "method": "imported", "version": "1", **changes}
    return Edge(source=source, target=target, weight=weight, **values)


def score(owner, target, value=1.0) -> Score:
    values = {"estimator": "logme", "version": "imported", "n": 0, "seed": 0, "seconds": 0.0}
    return Score(expert=owner, task=target, value=value, **values)


def test_a_metadata_only_expert_is_told_from_one_with_weights():
    assert not node("org/x").runnable
    assert node("org/x").short == "org/x"
    assert expert("dir:1").runnable
    assert expert("dir:1").short == "1@aaaaaaaa"


def test_nodes_that_are_there_stay_as_they_are(store):
    store.put_expert(node("x", params=7))
    store.put_task(dataclasses.replace(task("t"), n=9))
    store.add_nodes([node("x"), node("y")], [task("t"), task("u")])
    assert [(e.name, e.params) for e in store.experts()] == [("x", 7), ("y", 0)]
    assert [(t.name, t.n) for t in store.tasks()] == [("t", 9), ("u", 0)]


def test_covariates_are_kept_by_name_and_replaced_by_name(store):
    store.add_nodes([node("x"), node("y")])
    store.put_covariates("meta:x", {"dataset": "imagenet", "accuracy": 0.5}, "a.csv")
    store.put_covariates("meta:x", {"accuracy": np.float32(0.75), "n": 3}, "b.csv")
    store.put_covariates("meta:y", {"formula": "=1+1"}, "a.csv")
    assert store.covariates() == {
        "meta:x": {"accuracy": 0.75, "dataset": "imagenet", "n": 3.0},
        "meta:y": {"formula": "=1+1"},
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_covariate_that_is_not_finite_is_refused_with_all_that_came_with_it(store, value):
    store.add_nodes([node("x")])
    with pytest.raises(InvalidInputError, match="'b' of meta:x"):
        store.put_covariates("meta:x", {"a": 1.0, "b": value}, "a.csv")
    assert store.covariates() == {}


def test_distances_are_kept_by_direction_and_method(store):
    store.add_nodes(tasks=[task("t"), task("u")])
    ends = {"task": "task:meta:t", "other": "task:meta:u"}
    store.put_distances([TaskDistance(**ends, value=2.0, method="a")])
    store.put_distances(
        [TaskDistance(**ends, value=3.0, method="a"), TaskDistance(**ends, value=4.0, method="b")]
    )
    back = TaskDistance(task=ends["other"], other=ends["task"], value=5.0, method="a")
    store.put_distances([back])
    found = [(d.task[-1], d.other[-1], d.value, d.method) for d in store.distances()]
    assert found == [("t", "u", 3.0, "a"), ("u", "t", 5.0, "a"), ("t", "u", 4.0, "b")]
    assert all(d.created_at for d in store.distances())


def test_covariates_and_distances_need_their_nodes(store):
    with pytest.raises(sqlite3.IntegrityError):
        store.put_covariates("meta:x", {"a": 1.0}, "a.csv")
    with pytest.raises(sqlite3.IntegrityError):
        store.put_distances([TaskDistance(task="task:1", other="task:2", value=1.0, method="a")])


def test_removing_an_expert_removes_its_covariates_and_keeps_its_history(store):
    store.add_nodes([node("x"), node("y")], [task("t")])
    for name in ("x", "y"):
        store.put_covariates(f"meta:{name}", {"a": 1.0}, "a.csv")
        store.put_edges([result(f"meta:{name}", "task:meta:t")])
    store.remove_expert("meta:x")
    assert list(store.covariates()) == ["meta:y"]
    assert [e.source for e in store.edges()] == ["meta:x", "meta:y"]


def test_history_moves_to_another_expert_and_its_own_values_stay(store):
    store.add_nodes([node("x"), node("y"), expert("dir:1")], [task("t"), task("u")])
    store.put_edges([result("meta:x", "task:meta:t", 0.1), result("meta:y", "task:meta:t", 0.2)])
    store.put_scores([score("meta:x", "task:meta:t", 1.0), score("meta:x", "task:meta:u", 2.0)])
    store.put_scores([score("dir:1", "task:meta:t", 9.0)])
    store.put_covariates("meta:x", {"a": "imported", "b": 1.0}, "a.csv")
    store.put_covariates("dir:1", {"a": "its own"}, "b.csv")
    store.move_history("meta:x", "dir:1")
    assert {e.id for e in store.experts()} == {"meta:y", "dir:1"}
    assert [(e.source, e.weight) for e in store.edges()] == [("dir:1", 0.1), ("meta:y", 0.2)]
    assert {(s.expert, s.task[-1], s.value) for s in store.scores()} == {
        ("dir:1", "t", 9.0),
        ("dir:1", "u", 2.0),
    }
    assert store.covariates() == {"dir:1": {"a": "its own", "b": 1.0}}


def test_the_same_result_under_both_ids_is_kept_once(store):
    store.add_nodes([node("x"), expert("dir:1")], [task("t")])
    store.put_edges([result("dir:1", "task:meta:t", 0.1), result("dir:1", "task:meta:t", 0.1, run="run:1")])
    store.put_edges([result("meta:x", "task:meta:t", 0.1), result("meta:x", "task:meta:t", 0.2, seed=1)])
    store.move_history("meta:x", "dir:1")
    assert [(e.weight, e.seed, e.run) for e in store.edges()] == [
        (0.1, None, None),
        (0.1, None, "run:1"),
        (0.2, 1, None),
    ]


def test_moving_history_is_whole_or_not_at_all(store):
    store.add_nodes([node("x"), expert("dir:1")], [task("t")])
    store.put_edges([result("meta:x", "task:meta:t")])
    store.put_covariates("meta:x", {"a": 1.0}, "a.csv")
    store.db.execute("CREATE TRIGGER no BEFORE DELETE ON experts BEGIN SELECT RAISE(ABORT, 'refused'); END")
    with pytest.raises(sqlite3.IntegrityError, match="refused"):
        store.move_history("meta:x", "dir:1")
    assert [e.source for e in store.edges()] == ["meta:x"]
    assert list(store.covariates()) == ["meta:x"]


def test_a_metadata_only_expert_is_refused_where_weights_are_needed(store):
    store.add_nodes([node("org/x"), node("resnet"), expert("dir:1")])
    assert store.find_runnable("dir:1").id == "dir:1"
    with pytest.raises(InvalidInputError, match="expertise-graph register hf:org/x "):
        store.find_runnable("org/x")
    with pytest.raises(InvalidInputError, match="'resnet' is known from imported metadata only"):
        store.find_runnable("resnet")


def test_tasks_are_found_by_id_name_and_unique_beginning(store):
    store.add_nodes(tasks=[task("cats"), task("cars"), dataclasses.replace(task("cats"), id="task:5")])
    assert store.find_task("cars").id == "task:meta:cars"
    assert store.find_task("task:meta:cats").name == "cats"
    assert store.find_task("task:5").name == "cats"
    with pytest.raises(NotFoundError, match="'cats' names 2 tasks: task:5, task:meta:cats"):
        store.find_task("cats")
    with pytest.raises(NotFoundError, match="Did you mean 'cars'"):
        store.find_task("carz")


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_an_older_registry_takes_imports_and_keeps_its_history(tmp_path, steps):
    path = older(tmp_path / "registry.db", steps)
    if steps == 3:
        db = sqlite3.connect(path)
        db.execute(
            "INSERT INTO edges (kind, source, target, weight, method, version, meta, created_at) "
            "VALUES ('transfer', 'dir:1', 'task:1', 0.5, 'lp-ft', '1', '{}', 't')"
        )
        db.commit()
        db.close()
    for value in (1.0, 2.0):
        store = Store(tmp_path)
        store.add_nodes([node("x")], [task("t"), task("u")])
        store.put_covariates("meta:x", {"a": value}, "a.csv")
        store.put_distances(
            [TaskDistance(task="task:meta:t", other="task:meta:u", value=value, method="imported")]
        )
        assert store.covariates() == {"meta:x": {"a": value}}
        assert [d.value for d in store.distances()] == [value]
        assert [e.weight for e in store.edges()] == ([0.5] if steps == 3 else [])
        store.close()


def test_the_starter_registry_of_an_earlier_version_opens(tmp_path):
    shutil.copyfile(ROOT / "registry.db", tmp_path / "registry.db")
    assert pragma(tmp_path / "registry.db", "user_version") in range(3, SCHEMA_VERSION + 1)
    store = Store(tmp_path)
    assert len(store.experts()) > 5
    assert all(e.runnable for e in store.experts())
    assert store.covariates() == {}
    assert pragma(tmp_path / "registry.db", "user_version") == SCHEMA_VERSION
    store.close()
