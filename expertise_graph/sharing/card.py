"""What people read of a shared registry: a card and a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from expertise_graph.core import METADATA, Edge, Expert, Task, compact_number, inline
from expertise_graph.models import dataset_card
from expertise_graph.registry import Graph, build_graph
from expertise_graph.sharing.format import CARD, DATA, PICTURE, TABLES, Snapshot

Draw = Callable[[Graph, Path], None]
"""Writes a picture of a graph to a file."""

# Nodes of the picture: more names than this cover each other.
_DRAWN = 40
# Experts that the card lists.
_LISTED = 20
# Results of the Hub's viewer are read table by table; the keys of responses say nothing to people.
_NOT_SHOWN = "responses"

_HOW = """
Merge it into a workspace of expertise-graph, and ask that about your data:

```
expertise-graph pull {place}
expertise-graph query ./my-images
```

What is measured in that workspace stays; what is pulled is marked as being from here. `origin` in the tables
says where a number is from: `measured` by who pushed this, `imported` from a file of theirs, `self-reported`
by a model card, or `ORG/NAME@commit` of another registry that they had pulled it from.
`expertise-graph verify` runs some of the experts again, and compares.
"""
_ANONYMOUS = "Names of tasks and classes are replaced by hashes."


def write_card(snapshot: Snapshot, folder: Path, place: str, *, anonymous: bool, draw: Draw | None) -> None:
    """Write README.md, and the picture that it shows.

    Args:
        snapshot: what is shared.
        folder: where to.
        place: what the registry is called by those who pull it.
        anonymous: whether names were replaced.
        draw: writes the picture; None for none.
    """
    if draw is not None:
        draw(_graph(snapshot), folder / PICTURE)
    rows = {
        name.replace("_", " "): f"{len(snapshot.tables[name]):,}" for name in TABLES if name != _NOT_SHOWN
    }
    prose = [
        *([_ANONYMOUS, ""] if anonymous else []),
        *([f"![The graph: experts in blue, tasks in red]({PICTURE})", ""] if draw else []),
        _HOW.format(place=place),
        *_experts(snapshot),
    ]
    card = dataset_card(
        title="A registry of pretrained models and of what they transfer to",
        tags=sorted({row["modality"] for row in snapshot.tables["experts"]}),
        tables={name: f"{DATA}/{name}-*.parquet" for name in TABLES if name != _NOT_SHOWN},
        rows=rows,
        prose=prose,
    )
    (folder / CARD).write_text(card, encoding="utf-8")


def _experts(snapshot: Snapshot) -> list[str]:
    """Return the first experts as a table of Markdown."""
    experts = snapshot.tables["experts"]
    lines = ["| expert | from | modality | parameters | licence |", "|---|---|---|---|---|"]
    for row in experts[:_LISTED]:
        source = "known by name" if row["source"] == METADATA else f"{row['source']}:{row['locator']}"
        cells = (row["name"], source, row["modality"], compact_number(row["params"]), row["license"])
        lines.append(f"| {' | '.join(map(inline, cells))} |")
    more = len(experts) - _LISTED
    return [*lines, *(["", f"And {more:,} more in `{DATA}/`."] if more > 0 else [])] if experts else []


def _graph(snapshot: Snapshot) -> Graph:
    """Return the part of the graph with the nodes that have the most relations."""
    edges = [_node(Edge, row) for row in snapshot.tables["edges"]]
    degree = Counter(end for edge in edges for end in (edge.source, edge.target))
    experts = [_node(Expert, row) for row in snapshot.tables["experts"]]
    tasks = [_node(Task, row) for row in snapshot.tables["tasks"]]
    nodes = sorted((n.id for n in (*experts, *tasks)), key=lambda n: (-degree[n], n))
    kept = set(nodes[:_DRAWN])
    return build_graph(
        [e for e in experts if e.id in kept],
        [t for t in tasks if t.id in kept],
        [e for e in edges if {e.source, e.target} <= kept],
    )


def _node(kind: Any, row: Mapping[str, Any]) -> Any:
    """Return the frozen dataclass of a row."""
    names = {field.name for field in fields(kind)}
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items() if k in names})
