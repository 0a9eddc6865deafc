"""The line of one expert: whom it descends from, who descends from it, and what its weights make suspect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from expertise_graph.core import Edge, Expert
from expertise_graph.registry.claims import claims_itself
from expertise_graph.store import Store

# Relatives that are looked up in each direction unless more is asked for: the famous have thousands.
MOST_RELATIVES = 200


@dataclass(frozen=True, kw_only=True)
class Relative:
    """One step of a line.

    Attributes:
        id: of the expert that the step leads to, or the reference of one that is not registered.
        edge: that connects it.
        generation: how many steps away: -1 for parents, 1 for children.
        again: whether the line has led there before, by another way or in a circle; it is not followed again.
    """

    id: str
    edge: Edge
    generation: int
    again: bool = False


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """The line of one expert.

    Attributes:
        expert: that was asked about.
        ancestors: parents, each followed by theirs.
        descendants: children, each followed by theirs.
        suspected: relations that the weights alone suggest, of the expert.
        experts: those in the line that are registered, by id.
        results: what was measured, by id: of a child that a run left by that run, of others by fine-tuning.
        tasks: names of the tasks of the results, by id.
        claims_itself: whether the card of the expert names the expert as its own base model.
        left_out: whether there are more relatives than were looked up.
    """

    expert: Expert
    ancestors: tuple[Relative, ...]
    descendants: tuple[Relative, ...]
    suspected: tuple[Edge, ...]
    experts: Mapping[str, Expert]
    results: Mapping[str, tuple[Edge, ...]]
    tasks: Mapping[str, str]
    claims_itself: bool
    left_out: bool

    @property
    def circular(self) -> bool:
        """Whether the expert is among its own ancestors, by what cards or users say."""
        return any(one.id == self.expert.id for one in self.ancestors)


def lineage_of(store: Store, expert: Expert, *, depth: int | None = None, most: int | None = None) -> Lineage:
    """Return the line of an expert; only the edges of the line are read.

    Args:
        store: the registry.
        expert: any that is registered.
        depth: generations in each direction; None for all.
        most: relatives in each direction; by default `MOST_RELATIVES`.
    """
    most = MOST_RELATIVES if most is None else most
    up, more_up = _walk(store, expert.id, -1, depth, most)
    down, more_down = _walk(store, expert.id, 1, depth, most)
    suspected = store.edges("suspected", expert.id)
    ids = {expert.id, *(one.id for one in (*up, *down))}
    ids |= {end for edge in suspected for end in (edge.source, edge.target)}
    results = _results(store, expert.id, [*up, *down])
    return Lineage(
        expert=expert,
        ancestors=tuple(up),
        descendants=tuple(down),
        suspected=tuple(sorted(suspected, key=lambda edge: -edge.weight)),
        experts={one.id: one for one in store.experts(where={"id": sorted(ids)})},
        results=results,
        tasks=store.names({edge.target for edges in results.values() for edge in edges}),
        claims_itself=claims_itself(expert),
        left_out=more_up or more_down,
    )


def _walk(store: Store, start: str, step: int, depth: int | None, most: int) -> tuple[list[Relative], bool]:
    """Return the relatives in one direction, each before its own, and whether there are more."""
    steps: dict[str, list[Edge]] = {}
    newest, known, generation, more = [start], {start}, 0, False
    while newest and not more and (depth is None or generation < depth):
        edges = store.lineage(children=newest) if step < 0 else store.lineage(parents=newest)
        found: list[str] = []
        for edge in edges:
            near, far = (edge.target, edge.source) if step < 0 else (edge.source, edge.target)
            if sum(map(len, steps.values())) >= most:
                more = True
                break
            steps.setdefault(near, []).append(edge)
            if far not in known:
                known.add(far)
                found.append(far)
        newest, generation = found, generation + 1
    return list(_in_order(steps, start, step)), more


def _in_order(steps: Mapping[str, Iterable[Edge]], start: str, step: int) -> Iterable[Relative]:
    """Yield the steps of a line, depth first; without recursion, as lines may be thousands long."""
    seen, stack = {start}, [(start, 0, iter(_once(steps.get(start, ()), step)))]
    while stack:
        _, generation, edges = stack[-1]
        edge = next(edges, None)
        if edge is None:
            stack.pop()
            continue
        far = edge.source if step < 0 else edge.target
        again = far in seen
        yield Relative(id=far, edge=edge, generation=generation + step, again=again)
        if not again:
            seen.add(far)
            stack.append((far, generation + step, iter(_once(steps.get(far, ()), step))))


def _once(edges: Iterable[Edge], step: int) -> Iterable[Edge]:
    """Return the edges, of those to the same relative only the last, as several runs may leave one each."""
    return {(edge.source if step < 0 else edge.target): edge for edge in edges}.values()


def _results(store: Store, start: str, line: Iterable[Relative]) -> dict[str, tuple[Edge, ...]]:
    """Return what was measured, by expert: the result of the run that left it, else of fine-tuning it."""
    runs = {one.edge.target: one.edge.run for one in line if one.edge.run}
    of_run: dict[str | None, list[Edge]] = {}
    for edge in store.results_of(runs=[run for run in runs.values() if run]):
        of_run.setdefault(edge.run, []).append(edge)
    found = {child: tuple(of_run[run]) for child, run in runs.items() if run in of_run}
    others = {start, *(one.id for one in line)} - found.keys()
    of_expert: dict[str, list[Edge]] = {}
    for edge in store.results_of(experts=sorted(others)):
        if edge.is_claim:
            continue
        of_expert.setdefault(edge.source, []).append(edge)
    return {**found, **{expert: tuple(edges) for expert, edges in of_expert.items()}}
