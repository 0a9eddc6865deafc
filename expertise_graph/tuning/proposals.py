"""What is tried before the search asks for anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from expertise_graph.training import TrainConfig
from expertise_graph.tuning.model_selection import promise
from expertise_graph.tuning.settings import SCRATCH
from expertise_graph.tuning.space import ADAPTERS_FROM, Entrant, Space


def proposals_of(
    space: Space, proven: list[TrainConfig], raw: float | None
) -> list[tuple[str, Entrant, TrainConfig]]:
    """Return what to try first: defaults on the best expert, from scratch, the others, what worked elsewhere.

    Where the best expert is expected to be worse than the raw input, from scratch comes before it.

    Args:
        space: the experts, the best first, and the strategies that may be tried.
        proven: settings that did best on similar tasks.
        raw: accuracy of a ridge on the raw input; None where the query predicts no accuracies.
    """
    best, *others = space.entrants
    usual = space.defaults
    found = [("defaults", best, usual)]
    smallest = min(space.entrants, key=lambda e: e.expert.params)
    if SCRATCH in space.strategies and usual.strategy != SCRATCH and smallest.expert.params < ADAPTERS_FROM:
        cold = ("from scratch", smallest, replace(usual, strategy=SCRATCH))
        found.insert(0 if promise(best, raw) > 0 else 1, cold)
    if not usual.way.pretrained:
        others = _of_other_shape(best, others)
    nexts = [("next expert", other, usual) for other in others]
    taught = [("similar task", best, c) for c in proven if c.strategy in space.strategies][:2]
    for pair in zip(nexts, taught, strict=False):
        found += pair
    shorter = min(len(nexts), len(taught))
    found += nexts[shorter:] + taught[shorter:]
    return [(why, e, replace(c, seed=space.seed)) for why, e, c in found]


def _of_other_shape(best: Entrant, others: Sequence[Entrant]) -> list[Entrant]:
    """Return one of each further architecture: from random weights the others would be the same."""
    found = {(e.expert.architecture, e.expert.params): e for e in reversed([best, *others])}
    return [e for e in others if e in found.values()]
