"""Lineage: ancestors and descendants, who has learnt from a task, and which kind of model an expert is."""

import dataclasses
import hashlib

import networkx as nx
import numpy as np
import pytest

from expertise_graph.core.types import CARD_METHOD as LINEAGE_METHOD
from expertise_graph.core.types import Edge, Run
from expertise_graph.registry.lineage import KINDS, LEAKAGE_SHARE, kind_of, learnt_from, trained_on
from expertise_graph.store.store import Store
from tests.nodes import expert, task


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path)
    yield opened
    opened.close()


def edge(parent, child, kind="lineage"):
    return Edge(kind=kind, source=parent, target=child, weight=1.0, method="lp-ft", version="1")


def lineage(parent, child, method, **meta):
    return dataclasses.replace(edge(parent, child), method=method, meta=meta)


def put_run(store, on, child, seed=0):
    store.put_run(
        Run(
            id=f"run:{on}-{child}-{seed}",
            expert="dir:base",
            task=f"task:{on}",
            child=child,
            status="done",
            strategy="lp-ft",
            seed=seed,
            path="",
            config={},
            result={},
            started_at="t",
            finished_at="t",
        )
    )


def test_ancestors_follow_lineage_upwards_only(store):
    store.put_edges(
        [
            edge("grandparent", "parent"),
            edge("parent", "child"),
            edge("other", "child"),
            edge("child", "grandchild"),
            edge("stranger", "child", "similarity"),
            edge("child", "task:t", "transfer"),
        ]
    )
    assert store.with_ancestors(["child"]) == {"child", "grandparent", "parent", "other"}
    assert store.with_ancestors(iter(["grandchild"])) == {
        "grandchild",
        "grandparent",
        "parent",
        "other",
        "child",
    }
    for alone in ("grandparent", "task:t", "never seen"):
        assert store.with_ancestors([alone]) == {alone}
    assert store.with_descendants(["parent", "stranger"]) == {"parent", "stranger", "child", "grandchild"}
    assert store.with_descendants([]) == store.with_ancestors([]) == set()


def test_a_cycle_of_lineage_does_no_harm(store):
    store.put_edges([edge("a", "b"), edge("b", "c"), edge("c", "a"), edge("c", "d"), edge("s", "s")])
    assert store.with_ancestors(["a"]) == {"a", "b", "c"}
    assert store.with_ancestors(["d"]) == store.with_descendants(["a"]) == {"a", "b", "c", "d"}
    assert store.with_ancestors(["s"]) == store.with_descendants(["s"]) == {"s"}


def test_children_of_the_task_and_their_descendants_have_seen_it(store):
    store.put_edges(
        [
            edge("dir:base", "dir:child"),
            edge("dir:base", "dir:sibling"),
            edge("dir:child", "dir:gone"),
            edge("dir:gone", "dir:grandchild"),
            edge("dir:grandchild", "dir:loop"),
            edge("dir:loop", "dir:grandchild"),
            edge("dir:child", "dir:alike", kind="similarity"),
        ]
    )
    for on, child in (("pets", "dir:child"), ("birds", "dir:sibling"), ("pets", None)):
        put_run(store, on, child)
    line = {"dir:child", "dir:gone", "dir:grandchild", "dir:loop"}
    assert trained_on(store, task("pets"), seen={}) == line
    assert trained_on(store, task("birds"), seen={}) == {"dir:sibling"}
    assert trained_on(store, task("cars"), seen={}) == set()


def test_who_has_learnt_from_the_items_elsewhere_counts_as_trained_on_the_task(store):
    store.put_edges(
        [
            edge("dir:base", "dir:child"),
            edge("dir:child", "dir:grandchild"),
            edge("dir:base", "dir:sibling"),
        ]
    )
    put_run(store, "pets", "dir:child")
    put_run(store, "birds", "dir:sibling")
    few, many = np.zeros(100, dtype=bool), np.zeros(100, dtype=bool)
    few[: int(100 * LEAKAGE_SHARE)] = many[90 - int(100 * LEAKAGE_SHARE) :] = True
    seen = {("task:pets", 0): many, ("task:birds", 0): few, ("task:birds", 1): many}
    assert trained_on(store, task("pets again"), seen=seen) == {"dir:child", "dir:grandchild"}
    digests = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(100)]
    for (on, seed), items in seen.items():
        store.put_task(task(on.removeprefix("task:")))
        store.put_seen(on, seed, [digest for digest, used in zip(digests, items, strict=True) if used])

    def learnt(*experts):
        return learnt_from(store, [f"dir:{name}" for name in experts], digests).tolist()

    assert learnt("grandchild") == many.tolist()
    assert learnt("sibling") == few.tolist()
    assert learnt("base") == learnt("unknown") == learnt() == 100 * [False]
    assert learnt("grandchild", "sibling") == (few | many).tolist()
    store.put_edges([edge("dir:sibling", "dir:grandchild")])
    assert learnt("grandchild") == (few | many).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_lineage_by_sql_is_what_networkx_finds(store, seed):
    rng = np.random.default_rng(seed)
    pairs = [(f"dir:{a}", f"dir:{b}") for a, b in rng.integers(0, 40, size=(45, 2)) if a != b]
    children = {f"dir:{i}" for i in rng.integers(0, 40, size=3)}
    graph = nx.DiGraph(pairs)
    graph.add_nodes_from(f"dir:{i}" for i in range(40))
    store.put_edges(edge(*pair) for pair in pairs)
    for child in children:
        put_run(store, "pets", child)
    below = children.union(*(nx.descendants(graph, child) for child in children))
    above = children.union(*(nx.ancestors(graph, child) for child in children))
    assert trained_on(store, task("pets"), seen={}) == below
    assert store.with_ancestors(children) == above
    assert len(children) < len(below) < 40


@pytest.mark.parametrize(
    ("changes", "edges", "kind"),
    [
        ({}, [], "original"),
        ({"tags": ("from-scratch",)}, [], "original"),
        ({"base_model": "org/base"}, [], "fine-tune"),
        ({"tags": ("warm-start",)}, [], "fine-tune"),
        ({}, [lineage("dir:p", "dir:x", "lp-ft")], "fine-tune"),
        ({}, [lineage("dir:p", "dir:x", LINEAGE_METHOD)], "fine-tune"),
        ({}, [lineage("dir:x", "dir:child", "lp-ft")], "original"),
        ({}, [lineage("dir:p", "dir:x", "merge"), lineage("dir:q", "dir:x", "merge")], "merge"),
        ({}, [lineage("dir:p", "dir:x", "lora")], "adapter"),
        ({}, [lineage("dir:p", "dir:x", LINEAGE_METHOD, base_model_relation="quantized")], "quantised"),
        ({"meta": {"base_model_relation": "finetune"}}, [], "fine-tune"),
        ({"meta": {"base_model_relation": "adapter"}, "base_model": "org/base"}, [], "adapter"),
        (
            {"base_model": "org/base", "tags": ("base_model:org/base", "base_model:merge:org/base")},
            [],
            "merge",
        ),
        ({"base_model": "org/base", "tags": ("peft",)}, [], "adapter"),
        ({"base_model": "org/base", "tags": ("merge", "mergekit")}, [], "merge"),
        ({"base_model": "org/base", "tags": ("base_model:quantized:org/base",)}, [], "quantised"),
        ({"base_model": "org/base", "tags": ("base_model:adapter:org/base-gptq",)}, [], "adapter"),
        ({"tags": ("4-bit", "text")}, [], "quantised"),
        ({"weights_format": "gguf"}, [], "quantised"),
        ({"architecture": "resnet-int8"}, [], "quantised"),
        ({"architecture": "pointnet8"}, [], "original"),
        ({"meta": {"quantization_config": {"bits": 4}}}, [lineage("dir:p", "dir:x", "lp-ft")], "quantised"),
        ({"meta": {"quantization_config": None}}, [], "original"),
        ({"name": "pets-from-llama-int8"}, [lineage("dir:p", "dir:x", "lp-ft")], "fine-tune"),
        (
            {"base_model": "org/base", "meta": {"base_model_relation": "quantized"}, "tags": ("peft",)},
            [],
            "quantised",
        ),
    ],
)
def test_the_kind_of_an_expert(changes, edges, kind):
    node = expert("x", **changes)
    assert kind_of(node, edges) == kind
    assert kind in KINDS
