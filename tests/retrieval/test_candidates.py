"""Who may answer: who has seen a task's labels, who stands for whom, who is recalled from a large zoo."""

import networkx as nx
import numpy as np
import pytest

from expertise_graph.core.types import METADATA, Edge, Run
from expertise_graph.retrieval.candidates import SHARED, collapse, draw, learnt_from, recall, trained_on
from tests.nodes import expert, task


def run(on, child):
    return Run(
        id=f"run:{on}-{child}",
        expert="dir:base",
        task=f"task:{on}",
        child=child,
        status="done",
        strategy="lp-ft",
        seed=0,
        path="",
        config={},
        result={},
        started_at="t",
        finished_at="t",
    )


def edge(parent, child, kind="lineage"):
    return Edge(kind=kind, source=parent, target=child, weight=1.0, method="lp-ft", version="1")


def test_children_of_the_task_and_their_descendants_have_seen_it():
    zoo = [expert(name) for name in ("base", "child", "grandchild", "sibling", "alike", "loop")]
    edges = [
        edge("dir:base", "dir:child"),
        edge("dir:base", "dir:sibling"),
        edge("dir:child", "dir:gone"),
        edge("dir:gone", "dir:grandchild"),
        edge("dir:grandchild", "dir:loop"),
        edge("dir:loop", "dir:grandchild"),
        edge("dir:child", "dir:alike", kind="similarity"),
    ]
    runs = [run("pets", "dir:child"), run("birds", "dir:sibling"), run("pets", None)]
    assert trained_on(task("pets"), runs, edges, zoo, seen={}) == {"dir:child", "dir:grandchild", "dir:loop"}
    assert trained_on(task("birds"), runs, edges, zoo, seen={}) == {"dir:sibling"}
    assert trained_on(task("cars"), runs, edges, zoo, seen={}) == set()


def test_who_has_learnt_from_the_items_elsewhere_counts_as_who_was_trained_on_the_task():
    zoo = [expert(name) for name in ("base", "child", "grandchild", "sibling")]
    edges = [
        edge("dir:base", "dir:child"),
        edge("dir:child", "dir:grandchild"),
        edge("dir:base", "dir:sibling"),
    ]
    runs = [run("pets", "dir:child"), run("birds", "dir:sibling")]
    few, many = np.zeros(100, dtype=bool), np.zeros(100, dtype=bool)
    few[: int(100 * SHARED)] = many[90 - int(100 * SHARED) :] = True
    seen = {("task:pets", 0): many, ("task:birds", 0): few, ("task:birds", 1): many}
    assert trained_on(task("pets again"), runs, edges, zoo, seen=seen) == {"dir:child", "dir:grandchild"}
    assert learnt_from("dir:grandchild", runs, edges, seen=seen) == many.sum()
    assert learnt_from("dir:sibling", runs, edges, seen=seen) == few.sum()
    assert learnt_from("dir:base", runs, edges, seen=seen) == 0
    both = [*edges, edge("dir:sibling", "dir:grandchild")]
    assert learnt_from("dir:grandchild", runs, both, seen=seen) == (few | many).sum()


@pytest.mark.parametrize("seed", range(10))
def test_the_search_finds_what_the_lineage_graph_says(seed):
    rng = np.random.default_rng(seed)
    zoo = [expert(str(i)) for i in range(40)]
    pairs = [(f"dir:{a}", f"dir:{b}") for a, b in rng.integers(0, 40, size=(45, 2)) if a != b]
    children = {f"dir:{i}" for i in rng.integers(0, 40, size=3)}
    graph = nx.DiGraph(pairs)
    graph.add_nodes_from(e.id for e in zoo)
    expected = children.union(*(nx.descendants(graph, child) for child in children))
    found = trained_on(
        task("pets"), [run("pets", c) for c in children], [edge(*p) for p in pairs], zoo, seen={}
    )
    assert found == expected
    assert len(children) < len(found) < 40


def test_of_near_duplicates_the_first_stands_for_the_others():
    zoo = [expert(name) for name in "abcd"]
    zoo.append(expert("e", weights_sha=zoo[2].weights_sha))
    similarity = np.eye(5)
    similarity[0, 1] = similarity[1, 0] = 0.9995
    similarity[0, 3] = similarity[3, 0] = 0.99
    kept, stands_for = collapse(zoo, similarity)
    assert kept == [0, 2, 3]
    assert stands_for == {"dir:a": ("dir:b",), "dir:c": ("dir:e",)}


def crowd(n=50):
    return [expert(str(i), source=METADATA if i % 5 == 0 else "dir") for i in range(n)]


def ids(*numbers):
    return {f"dir:{i}" for i in numbers}


def test_a_zoo_that_is_small_enough_is_begun_with_whole():
    zoo = crowd(20)
    assert draw(zoo, set(), excluded=ids(3), size=20, seed=0) == zoo


@pytest.mark.parametrize("seed", range(5))
def test_a_search_begins_with_those_run_then_with_those_that_may_be(seed):
    zoo = crowd()
    drawn = draw(zoo, ids(0, 7), excluded=ids(*range(25)), size=12, seed=seed)
    found = {e.id for e in drawn}
    assert len(drawn) == 12
    assert ids(0, 7) <= found
    assert all(e.runnable and int(e.name) >= 25 for e in drawn if e.name not in ("0", "7"))
    assert [e for e in zoo if e.id in found] == drawn
    assert drawn == draw(zoo, ids(0, 7), excluded=ids(*range(25)), size=12, seed=seed)
    # Of 50, 20 have weights and meet the constraints; with 23 all of them are there.
    assert ids(*(i for i in range(25, 50) if i % 5)) <= {
        e.id for e in draw(zoo, ids(0, 7), excluded=ids(*range(25)), size=23, seed=seed)
    }


def test_draws_differ_by_seed():
    draws = {tuple(e.id for e in draw(crowd(), set(), excluded=set(), size=10, seed=s)) for s in range(8)}
    assert len(draws) == 8


def test_recalled_are_those_run_a_third_by_history_and_the_nearest():
    zoo = crowd()
    near = {f"dir:{i}": i / 50 for i in range(50) if i % 5}
    promise = {f"dir:{i}": -float(i) for i in range(20)}
    found = recall(zoo, ids(30), near=near, promise=promise, size=9)
    assert found == ids(30, 0, 1, 2, 49, 48, 47, 46, 44)
    assert recall(zoo, ids(30), near={}, promise=promise, size=9) == ids(30, *range(8))
    assert recall(zoo, set(), near=near, promise={}, size=3) == ids(49, 48, 47)
    assert recall(zoo, set(), near={}, promise={}, size=99) == {e.id for e in zoo}
