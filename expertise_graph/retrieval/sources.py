"""Where the results behind an answer are from, and what the answer would be without each place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from expertise_graph.core import SELF_REPORTED, Candidate, Edge, EvidenceSource
from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.posterior import Posterior, infer
from expertise_graph.retrieval.scale import accuracy_of
from expertise_graph.retrieval.search import ExpertSearch

HERE = "measured here"


def sources_of(
    search: ExpertSearch, posterior: Posterior, listed: Sequence[Candidate]
) -> tuple[EvidenceSource, ...]:
    """Return the places that results on other tasks are from, those that move the answer most first.

    The answer is worked out once more without the results of each, everything else as it is.

    Args:
        search: finished.
        posterior: that the answer is made of.
        listed: the candidates of the answer.
    """
    history = search.pool.history
    row = {e: i for i, e in enumerate(history.experts)}
    column = {t: j for j, t in enumerate(history.tasks)}
    by_origin: dict[str, list[Edge]] = defaultdict(list)
    for edge in search.known.results():
        if edge.source in row and edge.target in column and column[edge.target] != search.pool.target:
            origin = SELF_REPORTED if edge.is_claim else str(edge.meta.get("origin") or HERE)
            by_origin[origin].append(edge)
    full = accuracy_of(posterior.mean)
    place = {e.id: i for i, e in enumerate(search.pool.experts)}
    shown = [place[c.expert.id] for c in listed if c.expert.id in place]
    allowed = np.array([e.id not in search.excluded for e in search.pool.experts])
    found = []
    for origin, edges in by_origin.items():
        left = _without(history, [(row[e.source], column[e.target], e.is_claim) for e in edges])
        without = replace(search, pool=replace(search.pool, history=left))
        mean = infer(without).mean
        found.append(
            EvidenceSource(
                origin=origin,
                results=len(edges),
                experts=len({edge.source for edge in edges}),
                tasks=len({edge.target for edge in edges}),
                change=float(np.abs(accuracy_of(mean) - full)[shown].mean()) if shown else 0.0,
                first_without=search.pool.experts[int(np.argmax(np.where(allowed, mean, -np.inf)))].name,
            )
        )
    return tuple(sorted(found, key=lambda source: (-source.change, source.origin)))


def _without(history: History, places: Sequence[tuple[int, int, bool]]) -> History:
    """Return a history without some results, given by row, column, and whether they are only claimed."""
    outcomes = history.outcomes.copy()
    claims = None if history.claims is None else history.claims.copy()
    for row, column, claimed in places:
        if not claimed:
            outcomes[row, column] = np.nan
        elif claims is not None:
            claims[row, column] = np.nan
    return replace(history, outcomes=outcomes, claims=claims)
