"""The graph of experts and tasks as networkx sees it: views, neighbourhoods, export."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import (
    Edge,
    Expert,
    InvalidInputError,
    Task,
    check_output,
    did_you_mean,
    replacing,
    setting,
    write_json,
)
from expertise_graph.registry.lineage import origin_of, relation_of

Graph: TypeAlias = nx.MultiDiGraph

# From this many nodes on the layout is computed on whole matrices: for 600 nodes it takes .6 s and for 1,500
# 3.4 s, where networkx takes 5.3 and 17.6 s. Below it networkx is fast, and draws small graphs better.
_LARGE = 500


def build_graph(experts: Iterable[Expert], tasks: Iterable[Task], edges: Iterable[Edge]) -> Graph:
    """Return the multigraph: experts and tasks as nodes, one edge for each relation.

    Nodes that only edges know (a removed expert, a base model elsewhere) are kept as `reference`. What the
    user said to be no lineage is no relation.
    """
    graph = nx.MultiDiGraph()
    for expert in experts:
        graph.add_node(expert.id, **_expert_attributes(expert))
    for task in tasks:
        graph.add_node(task.id, kind="task", name=task.name, modality=task.modality, n=task.n)
    for edge in edges:
        if edge.kind == "unset":
            continue
        for end in (edge.source, edge.target):
            if end not in graph:
                graph.add_node(end, kind="reference", name=end)
        graph.add_edge(edge.source, edge.target, **_edge_attributes(edge))
    return graph


def ego(graph: Graph, node: str, radius: int = 1) -> Graph:
    """Return the part of the graph within `radius` edges of `node`, in either direction."""
    near = nx.ego_graph(graph.to_undirected(as_view=True), node, radius=radius)
    return graph.subgraph(near.nodes).copy()


def layout(graph: Graph) -> dict[str, tuple[float, float]]:
    """Return a position (x, y) for each node; the same graph has the same picture."""
    plain = nx.Graph()
    plain.add_nodes_from(graph)
    for source, target, attributes in graph.edges(data=True):
        plain.add_edge(source, target, weight=max(0.05, float(attributes["weight"])))
    distance = 1.6 / max(1.0, len(plain) ** 0.5)
    if len(plain) < _LARGE:
        positions = nx.spring_layout(plain, seed=0, k=distance, iterations=200)
    else:
        positions = dict(zip(plain, _spring(nx.to_numpy_array(plain), distance), strict=True))
    return {node: (float(x), float(y)) for node, (x, y) in positions.items()}


def _spring(weights: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
    """Return positions (N, 2) by the forces of Fruchterman and Reingold 1991, in [-1, 1]."""
    positions = np.random.default_rng(0).uniform(-1.0, 1.0, size=(len(weights), 2))
    for step in np.linspace(0.2, 0.002, 100):
        x, y = (axis[:, None] - axis[None, :] for axis in positions.T)
        apart = np.sqrt(x**2 + y**2).clip(0.01)
        force = distance**2 / apart**2 - weights * apart / distance
        move = np.stack([(force * x).sum(axis=1), (force * y).sum(axis=1)], axis=1)
        positions += step * move / np.linalg.norm(move, axis=1, keepdims=True).clip(0.01)
    positions -= positions.mean(axis=0)
    return np.asarray(positions / np.abs(positions).max())


def _expert_attributes(expert: Expert) -> dict[str, Any]:
    return {
        "kind": "expert",
        "name": expert.name,
        "modality": expert.modality,
        "architecture": expert.architecture,
        "params": expert.params,
        "license": expert.license,
        "source": expert.source,
    }


def _edge_attributes(edge: Edge) -> dict[str, Any]:
    of_lineage = edge.kind in ("lineage", "suspected")
    values = {
        "kind": edge.kind,
        "origin": origin_of(edge) if of_lineage else None,
        "relation": relation_of(edge) if edge.kind == "lineage" else None,
        "distance": edge.meta.get("distance") if of_lineage else None,
        "weight": edge.weight,
        "method": edge.method,
        "metric": edge.metric,
        "seed": edge.seed,
        "n": edge.n,
        "created_at": edge.created_at,
    }
    return {name: value for name, value in values.items() if value is not None}


def sanitised(graph: Graph) -> Graph:
    """Return a copy whose attributes every writer takes: no None, list, NaN or control character."""
    clean = nx.MultiDiGraph()
    for node, attributes in graph.nodes(data=True):
        clean.add_node(_text(node), **_attributes(attributes))
    for source, target, attributes in graph.edges(data=True):
        clean.add_edge(_text(source), _text(target), **_attributes(attributes))
    return clean


def _attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in attributes.items() if _value(value) is not None}


def _value(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return _text(value if isinstance(value, str) else json.dumps(value, default=str))


def _text(text: str) -> str:
    """Return `text` without characters that XML cannot hold."""
    return "".join(c for c in text if _is_xml(ord(c)))


def _is_xml(code: int) -> bool:
    return code in (9, 10) or 0x20 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or code >= 0x10000


def _write_json(graph: Graph, path: Path) -> None:
    write_json(path, nx.node_link_data(graph, edges="edges"))


def _write_gml(graph: Graph, path: Path) -> None:
    # GML keys are letters and digits only.
    for attributes in (*(a for _, a in graph.nodes(data=True)), *(a for *_, a in graph.edges(data=True))):
        for name in [n for n in attributes if "_" in n]:
            attributes[name.replace("_", "")] = attributes.pop(name)
    nx.write_gml(graph, path)


FORMATS: dict[str, Callable[[Graph, Path], None]] = {
    "graphml": nx.write_graphml,
    "gexf": nx.write_gexf,
    "gml": _write_gml,
    "json": _write_json,
}


def export(graph: Graph, path: Path, kind: str | None = None, *, force: bool = False) -> None:
    """Write the graph to `path`, whole or not at all.

    Args:
        graph: what to write.
        path: the file.
        kind: graphml, gexf, gml or json; by default that of the suffix.
        force: whether a file that is there is replaced.

    Raises:
        InvalidInputError: for an unknown format or suffix, or a path that may not be written.
    """
    possible = ", ".join(FORMATS)
    if kind is None:
        kind = path.suffix.lower().removeprefix(".")
        if kind not in FORMATS:
            raise InvalidInputError(
                f"the suffix of {path} is not that of a format: end it in .{possible.replace(', ', ', .')}, "
                f"or set {setting('format')} to one of {possible}"
            )
    elif kind not in FORMATS:
        raise InvalidInputError(f"no format {kind!r}; there are: {possible}.{did_you_mean(kind, FORMATS)}")
    check_output(path, None, force=force)
    with replacing(path) as temporary:
        FORMATS[kind](sanitised(graph), temporary)
