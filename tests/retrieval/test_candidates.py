"""Who has seen a task's labels: the children of its runs and all that descends from them."""

import networkx as nx
import numpy as np
import pytest

from expertise_graph.retrieval.candidates import trained_on
from expertise_graph.types import Edge, Run
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
    assert trained_on(task("pets"), runs, edges, zoo) == {"dir:child", "dir:grandchild", "dir:loop"}
    assert trained_on(task("birds"), runs, edges, zoo) == {"dir:sibling"}
    assert trained_on(task("cars"), runs, edges, zoo) == set()


@pytest.mark.parametrize("seed", range(10))
def test_the_search_finds_what_the_lineage_graph_says(seed):
    rng = np.random.default_rng(seed)
    zoo = [expert(str(i)) for i in range(40)]
    pairs = [(f"dir:{a}", f"dir:{b}") for a, b in rng.integers(0, 40, size=(45, 2)) if a != b]
    children = {f"dir:{i}" for i in rng.integers(0, 40, size=3)}
    graph = nx.DiGraph(pairs)
    graph.add_nodes_from(e.id for e in zoo)
    expected = children.union(*(nx.descendants(graph, child) for child in children))
    found = trained_on(task("pets"), [run("pets", c) for c in children], [edge(*p) for p in pairs], zoo)
    assert found == expected
    assert len(children) < len(found) < 40
