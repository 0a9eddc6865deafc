"""A smaller network that meets the limits of a query, where no good expert does."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from expertise_graph import models
from expertise_graph.core import (
    FOOTPRINT,
    Candidate,
    Command,
    Expert,
    ExpertiseError,
    Needs,
    Proposal,
    compact_number,
)
from expertise_graph.training.resizing.architectures import shrink

# Shares of width and depth that are tried, the largest network first.
_SHARES = ((0.5, 1.0), (0.5, 0.5), (0.25, 1.0), (0.25, 0.5))
# Log-odds of accuracy that half the width costs, and what it would cost if nothing were gained over a start
# from scratch: .738 to .669 and to .558 on eight image tasks (benchmarks/into). Half the depth, which was
# not measured, is taken to cost the same.
_COST, _NOTHING_GAINED = 0.33, 0.80
_CLIP = 1e-4


def propose(
    candidates: Sequence[Candidate],
    *,
    best: float,
    fits: Callable[[Expert], bool],
    needs: Callable[[Expert], Needs | None],
    command: Command,
) -> Proposal | None:
    """Return a smaller network from one of the experts, if it promises more than what meets the limits.

    Args:
        candidates: experts that are here and beyond the limits, the best first.
        best: predicted accuracy of the best that meets them, minus infinity where none does.
        fits: whether an expert of that size meets them.
        needs: what its training is likely to take.
        command: a warm start, whose expert and folder are replaced.
    """
    for candidate in candidates:
        try:
            found = _proposed(candidate, fits, needs, command)
        except ExpertiseError:
            # Its architecture cannot be made smaller, or it cannot be loaded.
            continue
        if found is not None and found.predicted > best:
            return found
    return None


def _proposed(
    candidate: Candidate,
    fits: Callable[[Expert], bool],
    needs: Callable[[Expert], Needs | None],
    command: Command,
) -> Proposal | None:
    expert = candidate.expert
    if expert.trusted_code:
        return None
    backbone = models.load(expert)
    for width, depth in _SHARES:
        try:
            small = shrink(backbone, width=width, depth=depth)
        except ExpertiseError:
            continue
        params = sum(p.numel() for p in small.module.parameters())
        costs = models.footprint_of(small.module, like=expert)
        node = dataclasses.replace(
            expert,
            params=params,
            bytes=4 * params,
            dim=small.dim,
            meta={**expert.meta, FOOTPRINT: None if costs is None else costs.as_dict()},
        )
        if fits(node):
            return _as_proposal(candidate, node, (width, depth), needs(node), command)
    return None


def _as_proposal(
    candidate: Candidate, small: Expert, shares: tuple[float, float], needs: Needs | None, command: Command
) -> Proposal:
    (width, depth), expert = shares, candidate.expert
    into = f"shrink:{width:g}" if depth == 1 else f"shrink:width={width:g},depth={depth:g}"
    halvings = -math.log2(width * depth)
    predicted, low = (
        _lowered(value, halvings * cost)
        for value, cost in ((candidate.predicted, _COST), (candidate.low, _NOTHING_GAINED))
    )
    size = "half the width" if shares == (0.5, 1.0) else f"{width:g} of the width, {depth:g} of the depth"
    measured = "as half the width cost eight image tasks" + ("" if halvings == 1 else ", for each halving")
    settings = {**command.settings, "expert": expert.short, "into": into}
    settings["out"] = f"{settings.get('out') or 'runs/run'}-small"
    return Proposal(
        expert=expert,
        into=into,
        params=small.params,
        needs=needs,
        predicted=predicted,
        low=low,
        high=candidate.high,
        reason=(
            f"a network of {size} ({compact_number(small.params)} parameters) started from {expert.name}, "
            f"which is beyond the limits, meets them: predicted {predicted:.2f} "
            f"({low:.2f}-{candidate.high:.2f}), "
            f"{measured}:"
        ),
        command=dataclasses.replace(command, settings=settings),
    )


def _lowered(accuracy: float, cost: float) -> float:
    clipped = min(max(accuracy, _CLIP), 1 - _CLIP)
    return 1 / (1 + math.exp(cost - math.log(clipped / (1 - clipped))))
