"""The graph and what comes back from its exports."""

import json
import math

import networkx as nx
import pytest

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.core.types import Edge
from expertise_graph.registry.graph import build_graph, ego, export, layout, sanitised
from tests.nodes import expert, task

NASTY = {
    "script": "<script>alert('1')</script>",
    "quotes": "\"double\" 'single' `back` &amp; &#65; & < >",
    "beyond the plane": "\U0001d518 😀 \U0010ffff",
    "languages": "Հայերեն 日本語 العربية é e\u0301",
    "long": "x" * 20_000 + "end",
    "spaces": " two  spaces ",
    "brackets": "[ node ] id 5 \\n \\u0041",
    "looks like a number": "007",
    "looks like NaN": "NaN",
    "formula": "=1+1",
    "empty": "",
}
CONTROL = "a\x00b\x07c\x1b[31md\x0be\ufffef\ud800g"
READERS = {"graphml": nx.read_graphml, "gexf": nx.read_gexf, "gml": nx.read_gml}


def edge(source, target, kind="lineage", weight=1.0, **changes):
    return Edge(kind=kind, source=source, target=target, weight=weight, method="m", version="1", **changes)


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def read(path, kind):
    if kind == "json":
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
        return nx.node_link_graph(content, edges="edges")
    return READERS[kind](path)


@pytest.fixture
def zoo():
    experts = [expert(f"e{i}", name=text, params=10**i) for i, text in enumerate(NASTY.values())]
    experts.append(expert("control", name=CONTROL))
    edges = [
        edge("dir:e0", "dir:e1", "similarity", 0.123456789012345, created_at="2026-01-01T00:00:00Z"),
        edge("dir:e0", "dir:e1", "similarity", -0.5, seed=3),
        edge("dir:e1", "dir:e0"),
        edge("dir:e2", "task:t", "transfer", 0.75, metric="accuracy", n=20),
        edge("dir:e2", "task:t", "transfer", math.nan, metric="accuracy"),
        edge("hf:gone/model", "dir:e2"),
        edge("dir:e3", "dir:e3", "similarity", math.inf),
    ]
    return build_graph(experts, [task("t", name=NASTY["script"])], edges)


@pytest.mark.parametrize("kind", ["graphml", "gexf", "gml", "json"])
def test_exports_read_back_as_they_were(zoo, kind, tmp_path):
    path = tmp_path / "graph"
    export(zoo, path, kind)
    again = read(path, kind)
    assert set(again) == set(zoo)
    for i, text in enumerate(NASTY.values()):
        assert again.nodes[f"dir:e{i}"]["name"] == text
        assert int(again.nodes[f"dir:e{i}"]["params"]) == 10**i
        assert again.nodes[f"dir:e{i}"]["kind"] == "expert"
    assert again.nodes["dir:control"]["name"] == "abc[31mdefg"
    assert again.nodes["task:t"]["name"] == NASTY["script"]
    assert again.nodes["hf:gone/model"]["kind"] == "reference"
    assert again.number_of_edges() == 7
    parallel = again["dir:e0"]["dir:e1"].values()
    assert sorted(a["weight"] for a in parallel) == [-0.5, 0.123456789012345]
    assert sorted(a["n"] for a in again["dir:e2"]["task:t"].values() if "n" in a) == [20]
    assert all(math.isfinite(a.get("weight", 0.0)) for *_, a in again.edges(data=True))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["graphml", "gexf", "gml", "json"])
def test_attributes_that_no_format_holds_are_put_into_words(kind, tmp_path):
    graph = nx.MultiDiGraph()
    graph.add_node("a", none=None, some=[1, "x", None], mapping={"k": 2}, bad=math.nan, good=0.25, yes=True)
    graph.add_node("b\x00", some="text", good=2.5, yes=False)
    graph.add_edge("a", "b\x00", weight=-math.inf, tags=("p", "q"))
    before = dict(graph.nodes["a"])
    export(graph, tmp_path / "graph", kind)
    again = read(tmp_path / "graph", kind)
    found = again.nodes["a"]
    assert set(again) == {"a", "b"}
    assert json.loads(found["some"]) == [1, "x", None]
    assert json.loads(found["mapping"]) == {"k": 2}
    assert found["good"] == 0.25
    assert bool(found["yes"]) is True
    assert bool(again.nodes["b"]["yes"]) is False
    assert not {"none", "bad"} & set(found)
    (attributes,) = (a for *_, a in again.edges(data=True))
    assert json.loads(attributes["tags"]) == ["p", "q"]
    assert "weight" not in attributes or attributes["weight"] == 1.0
    assert {k: v for k, v in graph.nodes["a"].items() if k != "bad"} == {
        k: v for k, v in before.items() if k != "bad"
    }


def test_sanitised_keeps_every_edge_between_the_same_nodes(zoo):
    clean = sanitised(zoo)
    assert sorted((s, t) for s, t in clean.edges()) == sorted((s, t) for s, t in zoo.edges())


def test_export_is_whole_or_not_at_all(zoo, tmp_path):
    with pytest.raises(InvalidInputError, match=r"graphml, gexf, gml, json\..*'graphml'"):
        export(zoo, tmp_path / "g", "grafml")
    with pytest.raises(InvalidInputError, match="there is no folder"):
        export(zoo, tmp_path / "missing" / "g", "json")
    (tmp_path / "g").write_text("old")
    with pytest.raises(InvalidInputError, match="exists already"):
        export(zoo, tmp_path / "g", "json")
    assert (tmp_path / "g").read_text() == "old"
    export(zoo, tmp_path / "g", "json", force=True)
    assert len(read(tmp_path / "g", "json")) == len(zoo)


def test_nodes_say_what_they_are(zoo):
    assert zoo.nodes["task:t"] == {"kind": "task", "name": NASTY["script"], "modality": "image", "n": 20}
    assert zoo.nodes["hf:gone/model"] == {"kind": "reference", "name": "hf:gone/model"}
    assert zoo.nodes["dir:e1"]["architecture"] == "resnet"
    first = zoo["dir:e0"]["dir:e1"][0]
    assert (first["kind"], first["method"]) == ("similarity", "m")
    assert not {"metric", "seed", "n"} & set(first)


def test_ego_reaches_as_far_as_its_radius_in_either_direction():
    chain = [edge("a", "b"), edge("b", "c"), edge("d", "c"), edge("d", "e")]
    chain.append(edge("b", "c", "similarity", 0.5))
    graph = build_graph([expert("lonely")], [], chain)
    assert set(ego(graph, "b")) == {"a", "b", "c"}
    assert set(ego(graph, "b", 2)) == {"a", "b", "c", "d"}
    assert set(ego(graph, "b", 9)) == {"a", "b", "c", "d", "e"}
    assert set(ego(graph, "dir:lonely", 3)) == {"dir:lonely"}
    near = ego(graph, "b")
    assert near.number_of_edges("b", "c") == 2
    near.remove_node("b")
    assert "b" in graph


def test_layout_is_the_same_each_time_and_puts_kin_together():
    cliques = [
        edge(f"{g}{i}", f"{g}{j}", "similarity", 0.9) for g in "ab" for i in range(6) for j in range(i)
    ]
    graph = build_graph([], [], [*cliques, edge("a0", "b0", "similarity", 0.05)])
    places = layout(graph)
    assert places == layout(graph)
    assert set(places) == set(graph)
    inside = math.dist(places["a1"], places["a2"])
    assert inside < math.dist(places["a1"], places["b1"])


def test_layout_takes_any_number_of_nodes():
    assert layout(build_graph([], [], [])) == {}
    ring = build_graph([], [], [edge(f"n{i}", f"n{(i + 1) % 600}") for i in range(600)])
    places = layout(ring)
    assert len(set(places.values())) == 600
    assert all(math.isfinite(x) and math.isfinite(y) for x, y in places.values())
    steps = [math.dist(places[f"n{i}"], places[f"n{(i + 1) % 600}"]) for i in range(600)]
    across = [math.dist(places[f"n{i}"], places[f"n{(i + 300) % 600}"]) for i in range(600)]
    assert sum(steps) < 0.5 * sum(across)
