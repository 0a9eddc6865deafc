"""Constraints of a query, and which experts each keeps out of the answer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from expertise_graph.core import (
    Edge,
    Expert,
    Needs,
    NotFoundError,
    Progress,
    Query,
    byte_size,
    exact_number,
    listed,
    setting,
    silent,
)
from expertise_graph.registry import KINDS, kind_of, speaks
from expertise_graph.retrieval.knowledge import is_known_model

Latency = Callable[[Expert], float | None]
"""Milliseconds for one input on this machine, estimated for an expert that is not here; None if unknown."""

NeedsOf = Callable[[Expert], Needs | None]
"""What fine-tuning takes on this machine; None for an expert whose size is not known."""

_OF_SIZE = ("max_params", "max_bytes", "max_memory", "max_minutes")

MEASURING = "measuring latency"


def violations(
    expert: Expert,
    query: Query,
    *,
    latency: Latency,
    kind: str,
    needs: NeedsOf | None = None,
    free: float = math.inf,
) -> tuple[str, ...]:
    """Return the constraints that keep an expert out, as settings with their values.

    What is unknown about an expert does not meet a constraint on it. The latency is asked for only
    when nothing else keeps the expert out, because it has to be measured.

    Args:
        expert: a candidate.
        query: only its constraints count.
        latency: milliseconds for one input.
        kind: of the expert, see `kind_of`.
        needs: what fine-tuning it takes; without it only the constraints on that are not looked at.
        free: bytes of memory that are free on this machine.
    """
    found = (
        *_too_large(expert, query),
        *(() if needs is None else _too_much(expert, query, needs, free)),
        *_wrong_terms(expert, query),
        *_wrong_form(expert, query, kind),
    )
    if found or query.max_latency is None:
        return found
    milliseconds = latency(expert)
    met = milliseconds is not None and milliseconds <= query.max_latency
    return () if met else (setting("max_latency", f"{query.max_latency:g}"),)


def _too_much(expert: Expert, query: Query, needs: NeedsOf, free: float) -> Iterator[str]:
    """Yield the constraints on what fine-tuning takes that an expert does not meet.

    Experts that are here may be run whatever their fine-tuning takes, unless a limit is given.
    """
    looked_at = query.fits and is_known_model(expert)
    if not looked_at and query.max_memory is None and query.max_minutes is None:
        return
    found = needs(expert)
    memory, minutes = (math.inf, math.inf) if found is None else (found.memory, found.minutes)
    if looked_at and memory > free:
        yield setting("fits")
    if query.max_memory is not None and memory > query.max_memory:
        yield setting("max_memory", byte_size(query.max_memory).replace(" ", ""))
    if query.max_minutes is not None and minutes > query.max_minutes:
        yield setting("max_minutes", f"{query.max_minutes:g}")


def within_limits(expert: Expert, query: Query, needs: NeedsOf) -> bool:
    """Tell whether an expert is no larger than a query allows, by its size and what fine-tuning it takes."""
    return not any((*_too_large(expert, query), *_too_much(expert, query, needs, math.inf)))


def is_about_size(constraint: str) -> bool:
    """Tell whether a constraint, as `violations` names it, is a limit that a smaller network may meet."""
    return any(constraint.startswith(setting(name, "")[:-1]) for name in _OF_SIZE)


def _too_large(expert: Expert, query: Query) -> Iterator[str]:
    if query.max_params is not None and not 0 < expert.params <= query.max_params:
        yield setting("max_params", exact_number(query.max_params))
    if query.max_bytes is not None and not 0 < expert.bytes <= query.max_bytes:
        yield setting("max_bytes", query.max_bytes)


def _wrong_terms(expert: Expert, query: Query) -> Iterator[str]:
    if query.licenses and expert.license not in query.licenses:
        yield setting("licenses", ", ".join(query.licenses))
    if expert.license in query.excluded_licenses:
        yield setting("excluded_licenses", expert.license)
    if query.languages and not any(speaks(expert, language) for language in query.languages):
        yield setting("languages", ", ".join(query.languages))
    yield from (setting("tags", tag) for tag in query.tags if tag not in expert.tags)


def _wrong_form(expert: Expert, query: Query, kind: str) -> Iterator[str]:
    if query.min_dim is not None and expert.dim < query.min_dim:
        yield setting("min_dim", query.min_dim)
    if query.max_dim is not None and not 0 < expert.dim <= query.max_dim:
        yield setting("max_dim", query.max_dim)
    if query.kinds and kind not in query.kinds:
        yield setting("kinds", ", ".join(query.kinds))


@dataclass(frozen=True)
class Filtered:
    """The experts that meet all constraints, and by which the others are kept out.

    Attributes:
        kept: in the order given.
        excluded: constraints by expert id.
    """

    kept: list[Expert]
    excluded: dict[str, tuple[str, ...]]

    def alone(self) -> dict[str, list[str]]:
        """Return for each constraint the ids of the experts that it alone keeps out.

        The latency of an expert that another constraint keeps out is not known.
        """
        found: dict[str, list[str]] = {name: [] for names in self.excluded.values() for name in names}
        for expert, names in self.excluded.items():
            if len(names) == 1:
                found[names[0]].append(expert)
        return found


def apply_constraints(
    experts: Iterable[Expert],
    query: Query,
    *,
    latency: Latency,
    lineage: Iterable[Edge],
    needs: NeedsOf | None = None,
    free: float = math.inf,
    progress: Progress = silent,
) -> Filtered:
    """Separate the experts that meet the constraints of a query from those that do not.

    Args:
        experts: the candidates.
        query: only its constraints count.
        latency: asked for experts that meet all other constraints, if there is one on it.
        lineage: the lineage edges of the registry.
        needs: what fine-tuning an expert takes.
        free: bytes of memory that are free on this machine.
        progress: called for each expert whose latency is asked for.

    Raises:
        NotFoundError: when constraints leave nothing, with what each costs.
    """
    zoo = list(experts)
    kinds = _kinds(zoo, lineage) if query.kinds else dict.fromkeys((e.id for e in zoo), KINDS[0])
    unmeasured = dataclasses.replace(query, max_latency=None)
    found = {
        e.id: violations(e, unmeasured, latency=latency, kind=kinds[e.id], needs=needs, free=free)
        for e in zoo
    }
    to_measure = [e for e in zoo if not found[e.id]] if query.max_latency is not None else []
    milliseconds: dict[str, float | None] = {}
    # Those that are here tell how long the others may take.
    for done, expert in enumerate(sorted(to_measure, key=lambda e: not e.runnable), 1):
        milliseconds[expert.id] = latency(expert)
        found[expert.id] = violations(
            expert, query, latency=lambda e: milliseconds[e.id], kind=kinds[expert.id]
        )
        progress(MEASURING, done, len(to_measure))
    kept = [e for e in zoo if not found[e.id]]
    result = Filtered(kept, {e: names for e, names in found.items() if names})
    if zoo and not kept:
        raise NotFoundError(_nothing_left(result, milliseconds.values()) + _possible(zoo, query))
    return result


def _kinds(experts: Iterable[Expert], lineage: Iterable[Edge]) -> dict[str, str]:
    incoming: dict[str, list[Edge]] = {}
    for edge in lineage:
        incoming.setdefault(edge.target, []).append(edge)
    return {e.id: kind_of(e, incoming.get(e.id, ())) for e in experts}


def _possible(zoo: Iterable[Expert], query: Query) -> str:
    """Return the tags and licences there are, where one was asked for that no expert has."""
    tags, licenses = {tag for e in zoo for tag in e.tags}, {e.license for e in zoo}
    there = []
    if not tags.issuperset(query.tags):
        there.append(f"tags there are: {listed(sorted(tags), 10) or 'none'}")
    if query.licenses and licenses.isdisjoint(query.licenses):
        there.append(f"licences there are: {listed(sorted(licenses), 10)}")
    return "".join(f"; {line}" for line in there)


def _nothing_left(found: Filtered, milliseconds: Iterable[float | None]) -> str:
    """Return the line that says how many experts would be there without each constraint."""
    alone = found.alone()
    # That memory is looked at goes without saying where it excludes none by itself.
    named = {name: ids for name, ids in alone.items() if ids or name != setting("fits")}
    counts = [f"{name} alone excludes {len(ids)}" for name, ids in named.items()]
    measured = list(milliseconds)
    if measured:
        fastest = min((ms for ms in measured if ms is not None), default=None)
        counts.append(
            "none of the others can be run" if fastest is None else f"the fastest takes {fastest:.3g} ms"
        )
    advice = "relax one" if any(alone.values()) else "every expert fails several, so relax more than one"
    return f"none of {len(found.excluded)} experts meets the constraints; {', '.join(counts)}; {advice}"
