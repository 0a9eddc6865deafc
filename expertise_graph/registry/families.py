"""Families: experts that lineage connects, be it stated or suspected, in whatever direction."""

from __future__ import annotations

from collections.abc import Iterable

from expertise_graph.core import Edge, Expert
from expertise_graph.registry.claims import claims_of, reference_of
from expertise_graph.store import Store


class Families:
    """Which nodes are connected: a union-find over relations (Tarjan 1975)."""

    def __init__(self, edges: Iterable[Edge] = ()) -> None:
        self._above: dict[str, str] = {}
        for edge in edges:
            self.join(edge.source, edge.target)

    def of(self, node: str) -> str:
        """Return the node that stands for the family of one."""
        path = []
        while (above := self._above.get(node, node)) != node:
            path.append(node)
            node = above
        self._above.update(dict.fromkeys(path, node))
        return node

    def join(self, one: str, other: str) -> None:
        """Make one family of two."""
        self._above[self.of(one)] = self.of(other)


def families_of(store: Store, experts: Iterable[Expert]) -> dict[str, str]:
    """Return what stands for the family of each expert, by id: the same for two that are connected.

    Claims that the weights speak against connect nobody; experts with the same weights are one family. Models
    that are not registered belong to the base models that are on record for them.
    """
    joined = Families(store.family_edges())
    given, first = list(experts), dict[str, str]()
    for expert in given:
        if expert.runnable:
            joined.join(expert.id, first.setdefault(expert.weights_sha, expert.id))
            joined.join(expert.id, f"{expert.source}:{expert.locator}")
        else:
            for name in (expert.name, *claims_of(expert)):
                joined.join(expert.id, reference_of(name))
    return {expert.id: joined.of(expert.id) for expert in given}
