"""From the registry to arrays: which results count, which way is better, and what is alike."""

import dataclasses

import numpy as np
import pytest

from expertise_graph.core.types import Edge, TaskDistance
from expertise_graph.registry.imports.history import import_history
from expertise_graph.registry.imports.options import (
    DistanceOptions,
    HistoryOptions,
    ImportOptions,
    ScoreOptions,
)
from expertise_graph.registry.imports.values import import_distances, import_meta, import_scores
from expertise_graph.retrieval.history import History, read_history, trained_by_declaration
from expertise_graph.retrieval.knowledge import Knowledge
from expertise_graph.retrieval.reliability import NEARNESS
from expertise_graph.retrieval.results import RACE, results_by_task, results_of
from expertise_graph.retrieval.task_similarity import task_distances
from expertise_graph.store.store import Store
from tests.nodes import expert, task

NAN = np.nan


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path)
    yield made
    made.close()


@pytest.fixture
def given(store, tmp_path):
    """Import tables written as text."""

    def bring(read, text, options):
        path = tmp_path / "t.csv"
        path.write_text(text)
        return read(store, path, options)

    return bring


def edge(source, value, *, metric="accuracy", method="fine-tune", seed=None, lower=False):
    return Edge(
        source=source,
        target="t",
        kind="transfer",
        weight=value,
        metric=metric,
        method=method,
        version="1",
        seed=seed,
        meta={"lower_is_better": True} if lower else {},
    )


def test_seeds_are_averaged_and_of_settings_the_best_counts():
    edges = [edge("a", 0.4, seed=0), edge("a", 0.6, seed=1), edge("b", 0.3), edge("b", 0.7), edge("b", 0.2)]
    assert results_of(edges).values == {"a": 0.5, "b": 0.7}


def test_of_losses_the_lowest_counts_and_higher_is_better_once_oriented():
    found = results_of([edge("a", 2.0, metric="loss", lower=True), edge("a", 1.0, metric="loss", lower=True)])
    assert (found.values, found.oriented, found.lower_is_better) == ({"a": 1.0}, {"a": -1.0}, True)


def test_the_metric_of_most_experts_counts():
    edges = [edge("a", 0.1), edge("a", 0.2), edge("a", 9.0, metric="f1"), edge("b", 8.0, metric="f1")]
    assert results_of(edges).values == {"a": 9.0, "b": 8.0}
    assert results_of([edge("a", 0.1, metric="f1"), edge("b", 0.2)]).metric == "accuracy"
    assert results_of([]) is None


def test_a_race_counts_where_there_is_nothing_else():
    edges = [edge("a", 0.9, method=RACE), edge("a", 0.5), edge("b", 0.3, method=RACE)]
    assert results_of(edges).values == {"a": 0.5, "b": 0.3}


def test_results_become_log_odds_and_losses_stay(store, given):
    text = "expert,task,metric,value\na,x,accuracy,0.5\nb,x,accuracy,0.9\na,y,loss,2.5\n"
    given(import_history, text, HistoryOptions(lower_is_better=("loss",)))
    found = read_history(Knowledge(store, None, "image"), [])
    assert found.experts == ("meta:a", "meta:b")
    assert found.tasks == ("task:meta:x", "task:meta:y")
    np.testing.assert_allclose(found.outcomes, [[0.0, -2.5], [np.log(9.0), NAN]], atol=1e-12)
    np.testing.assert_array_equal(found.fractional, [True, False])
    assert {t: r.metric for t, r in results_by_task(store.edges("transfer")).items()} == {
        "task:meta:x": "accuracy",
        "task:meta:y": "loss",
    }


def test_the_experts_asked_for_come_first_and_a_new_task_is_there(store, given):
    store.put_expert(expert("z"))
    store.put_task(task("new"))
    given(import_history, "expert,task,metric,value\na,x,accuracy,0.5\n", HistoryOptions())
    found = read_history(Knowledge(store, None, "image"), [expert("z")], task=task("new"), graph=np.eye(1))
    assert found.experts == ("dir:z", "meta:a")
    assert found.tasks == ("task:meta:x", "task:new")
    np.testing.assert_array_equal(found.outcomes, [[NAN, NAN], [0.0, NAN]])
    np.testing.assert_array_equal(found.graph, np.eye(2))


def test_tasks_whose_names_say_the_same_data_are_of_the_same_data(store, given):
    store.put_task(task("pets"))
    rows = ["expert,task,metric,value"]
    others = ["cars", "data", "x/data", "7", "a/7", "images", "all/images"]
    rows += [f"a,{name},accuracy,0.5" for name in ("lab/Pets", "PETS@zero-shot", *others)]
    given(import_history, "\n".join(rows), HistoryOptions(modality="image"))
    found = read_history(Knowledge(store, None, "image"), [], task=task("Pets", n=7))
    called = store.names(found.tasks) | {task("Pets", n=7).id: "Pets"}
    data = {called[t]: name for t, name in zip(found.tasks, found.data, strict=True)}
    assert data["lab/Pets"] == data["PETS@zero-shot"] == data["Pets"] == "pets"
    assert {data[name] for name in others} == {""}
    other = read_history(Knowledge(store, None, "image"), [], task=task("Pets", modality="text"))
    assert other.data[other.tasks.index("task:Pets")] == ""


def test_an_empty_registry_gives_empty_arrays(store):
    found = read_history(Knowledge(store, None, "image"), [])
    assert (found.experts, found.tasks, found.outcomes.shape) == ((), (), (0, 0))


def test_scores_are_arrays_by_estimator_and_order_the_tasks(store, given):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(12, 3))
    values[:, 1] = values[:, 0] + 0.1 * rng.normal(size=12)
    rows = [
        f"e{i:02},t{j},logme,{float(values[i, j])!r}"
        for i in range(12)
        for j in range(3)
        if (i, j) != (11, 2)
    ]
    given(import_scores, "\n".join(["expert,task,estimator,value", *rows]), ScoreOptions())
    found = read_history(Knowledge(store, None, "image"), [])
    np.testing.assert_array_equal(found.scores["logme"][:11], values[:11])
    assert np.isnan(found.scores["logme"][11, 2])
    alike = found.likeness["scores"]
    assert alike[0, 1] == pytest.approx(np.corrcoef(values[:, 0], values[:, 1])[0, 1] * 12 / 16)
    expected = max(np.corrcoef(values[:11, 0], values[:11, 2])[0, 1] * 11 / 15, 0.0)
    assert alike[0, 2] == pytest.approx(expected)
    np.testing.assert_array_equal(np.diag(alike), np.ones(3))


def test_distances_become_likeness_above_the_usual(store, given):
    given(import_distances, "task,other,distance\nx,y,1\nx,z,2\ny,z,3\nz,y,5\n", DistanceOptions())
    rows = (
        "expert,task,metric,value\na,x,accuracy,0.5\na,y,accuracy,0.5\na,z,accuracy,0.5\na,w,accuracy,0.5\n"
    )
    given(import_history, rows, HistoryOptions())
    found = read_history(Knowledge(store, None, "image"), [])
    names = [t.removeprefix("task:meta:") for t in found.tasks]
    w, x, y, z = (names.index(name) for name in "wxyz")
    # Both directions have the mean of both; the unit is the median distance.
    kernel = np.exp(-np.square(np.array([1.0, 2.0, 4.0]) / 2.0))
    expected = (kernel - kernel.mean()) / (1.0 - kernel.mean())
    alike = found.likeness["distance"]
    np.testing.assert_allclose([alike[x, y], alike[z, x], alike[y, z]], expected)
    np.testing.assert_array_equal(np.diag(alike), np.ones(4))
    assert np.isnan(alike[w, [x, y, z]]).all()
    np.testing.assert_array_equal(alike, alike.T)


def test_distances_that_are_all_equal_or_zero_tell_nothing_alike(store, given):
    given(import_distances, "task,other,distance\nx,y,0\nx,z,0\ny,z,0\n", DistanceOptions())
    rows = "\n".join(f"a,{t},accuracy,0.5" for t in "xyz")
    given(import_history, f"expert,task,metric,value\n{rows}\n", HistoryOptions())
    found = read_history(Knowledge(store, None, "image"), [])
    assert np.isfinite(found.likeness["distance"]).all()


def test_an_experts_source_is_as_near_as_its_data(store, given):
    given(import_distances, "task,other,distance\nsource,x,1\nsource,y,2\nother,x,7\n", DistanceOptions())
    rows = [f"{e},{t},accuracy,0.5" for e in "abc" for t in "xy"]
    given(import_history, "\n".join(["expert,task,metric,value", *rows]), HistoryOptions())
    about = "expert,trained,kind\na,source,q\nb,other,q\nc,unheard-of,q\n"
    given(import_meta, about, ImportOptions())
    found = read_history(Knowledge(store, None, "image"), [])
    np.testing.assert_array_equal(found.scores[NEARNESS], [[-1.0, -2.0], [-7.0, NAN], [NAN, NAN]])
    # It is no score of features: tasks are not alike for it.
    assert "scores" not in found.likeness


def test_covariates_that_name_the_task_say_who_saw_its_labels(store, given):
    given(import_history, "expert,task,metric,value\na,x,accuracy,0.5\nb,x,accuracy,0.4\n", HistoryOptions())
    about = "expert,source_task,dataset\na,x,none\nb,y,x\n"
    given(import_meta, about, ImportOptions())
    there = next(t for t in store.tasks() if t.name == "x")
    assert trained_by_declaration(store.covariates(), there) == {"meta:a"}


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        ("pets", True),
        ("Pets", True),
        ("cars; pets", True),
        ("cars, pets, flowers", True),
        ("cars|pets", True),
        ("['cars', 'pets']", True),
        ("task:pets;cars", True),
        ("my pets", False),
        ("petshop; cars", False),
        ("cars;;", False),
        (3.0, False),
        ("", False),
    ],
)
def test_trained_on_may_hold_many_data_sets(told, seen):
    found = trained_by_declaration({"a": {"trained_on": told}, "b": {"size": "pets"}}, task("pets"))
    assert found == ({"a"} if seen else set())


@pytest.mark.parametrize("name", ["salt, pepper", "a+b", "[x]"])
def test_a_name_with_such_marks_is_found_whole(name):
    assert trained_by_declaration({"a": {"source_task": name}}, task("t", name=name)) == {"a"}


def test_task_embeddings_are_a_likeness(store, given):
    rows = "expert,task,metric,value\na,x,accuracy,0.5\na,y,accuracy,0.5\na,z,accuracy,0.5\n"
    given(import_history, rows, HistoryOptions())
    vectors = {"task:meta:x": np.array([1.0, 0.0]), "task:meta:y": np.array([0.6, 0.8])}
    alike = read_history(Knowledge(store, None, "image"), [], vectors=vectors).likeness["embedding"]
    assert alike[0, 1] == pytest.approx(0.6)
    assert np.isnan(alike[0, 2])
    np.testing.assert_array_equal(np.diag(alike), np.ones(3))


def test_hiding_leaves_the_original_alone():
    outcomes = np.arange(6.0).reshape(3, 2)
    history = History(experts=("a", "b", "c"), tasks=("x", "y"), outcomes=outcomes)
    np.testing.assert_array_equal(history.without(1).outcomes, [[0, NAN], [2, NAN], [4, NAN]])
    hidden = history.without_experts(np.array([True, False, False]))
    np.testing.assert_array_equal(hidden.outcomes, [[NAN, NAN], [2, 3], [4, 5]])
    np.testing.assert_array_equal(history.outcomes, np.arange(6.0).reshape(3, 2))


def test_only_fractions_are_accuracies():
    history = History(
        experts=("a",), tasks=("x", "y"), outcomes=np.array([[0.1, -3.0]]), fractional=np.array([True, False])
    )
    np.testing.assert_array_equal(history.accuracies(1), [[0.1, NAN]])
    images = dataclasses.replace(history, fractional=None, modalities=("image", "text"))
    np.testing.assert_array_equal(images.accuracies(0), [[0.1, NAN]])
    np.testing.assert_array_equal(images.accuracies(1), [[NAN, -3.0]])


def test_the_items_metric_and_modality_of_a_result_are_read(store, given):
    header = "expert,task,metric,value,n,seed\n"
    given(import_history, header + "a,x,accuracy,0,5,0\nb,x,accuracy,.5,,0\n", HistoryOptions())
    store.put_expert(expert("z", modality="text"))
    text = header + "z,y,r2,.9,40,0\nz,w,accuracy,.9,40,0\nz,w,accuracy,.5,60,1\n"
    given(import_history, text, HistoryOptions())
    given(import_scores, "expert,task,estimator,value\nz,w,ridge_accuracy,.8\n", ScoreOptions())
    found = read_history(Knowledge(store, None, "image"), [])
    assert found.tasks == ("task:meta:w", "task:meta:x", "task:meta:y")
    assert (found.metrics, found.modalities) == (("accuracy", "accuracy", "r2"), ("text", "unknown", "text"))
    row = [found.experts.index(name) for name in ("meta:a", "meta:b", "dir:z")]
    np.testing.assert_array_equal(found.tested[row], [[NAN, 5, NAN], [NAN, 200, NAN], [100, NAN, 40]])
    np.testing.assert_array_equal(found.probed[row[2]], [200, NAN, NAN])
    # Seeds count by their items, and none of five is half an item of five.
    assert found.outcomes[row[2], 0] == pytest.approx(np.log(0.66 / 0.34))
    assert found.outcomes[row[0], 1] == pytest.approx(np.log(0.5 / 5.5))
    np.testing.assert_array_equal(found.accuracies(1)[:, [0, 2]], np.full((3, 2), NAN))


def test_distances_that_cannot_be_added_up_are_not_known():
    def given(other, value):
        return TaskDistance(task="a", other=other, value=value, method="m")

    found = task_distances([given("b", 1e308), given("b", 1e308), given("c", 2.0), given("c", 4.0)], "abc")
    np.testing.assert_array_equal(found, [[np.nan, np.nan, 3.0], [np.nan] * 3, [3.0, np.nan, np.nan]])
