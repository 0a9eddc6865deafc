"""Merging as published, as functions on states: float32 tensors by name, the same names in all.

Inputs are not changed. Names and shapes are taken to agree, see `states.check_alike`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from expertise_graph.core import InvalidInputError
from expertise_graph.merging.states import State

# Share of each task vector that TIES keeps by default: the authors' (arXiv:2306.01708). More keeps noise in
# which children disagree, less loses what they learnt.
DENSITY = 0.2

# Added to all information, as a fraction of its mean: where no model knows anything the plain mean results.
# Larger pulls every entry towards the plain mean, 0 divides by 0.
FISHER_FLOOR = 1e-6


def mean(states: Sequence[State], weights: Sequence[float] | None = None) -> State:
    """Return the weighted mean of n states: sum_i w_i theta_i / sum_i w_i.

    Args:
        states: n states.
        weights: n numbers of at least 0, by default equal ones.

    Raises:
        InvalidInputError: for no state, or weights that do not fit.

    Example:
        >>> mean([{"a": torch.tensor([1.0])}, {"a": torch.tensor([4.0])}], [2, 1])
        {'a': tensor([2.])}

    References:
        Wortsman et al., arXiv:2203.05482, section 2, the uniform soup.
    """
    shares = normalised(weights, len(states))
    return {
        key: sum_of([share * s[key].double() for share, s in zip(shares, states, strict=True)]).float()
        for key in states[0]
    }


def normalised(weights: Sequence[float] | None, n: int) -> list[float]:
    """Return n weights that add up to one.

    Raises:
        InvalidInputError: when there are none, or they are negative, not finite, all zero or not n.
    """
    if n == 0:
        raise InvalidInputError("there is nothing to average: give at least one model")
    given = [1.0] * n if weights is None else [float(w) for w in weights]
    valid = len(given) == n and all(0 <= w < float("inf") for w in given)
    if not valid or not 0 < sum(given) < float("inf"):
        shown = ",".join(f"{w:g}" for w in given)
        raise InvalidInputError(
            f"the weights {shown} do not fit {n} models: give {n} numbers of at least 0, not all 0"
        )
    return [w / sum(given) for w in given]


def greedy_soup(
    states: Sequence[State], alone: Sequence[float], evaluate: Callable[[tuple[int, ...], State], float]
) -> tuple[tuple[int, ...], State, float]:
    """Average the states that make the average no worse, best first.

    Args:
        states: n states.
        alone: the score of each by itself, higher is better; of equal ones the earlier comes first.
        evaluate: the score of an average, given its rows and itself, on held-out items that are not
            those of the final test.

    Returns:
        The rows that were kept in the order of their joining, their mean, and its score.

    References:
        Wortsman et al., arXiv:2203.05482, recipe 1.
    """
    order = sorted(range(len(states)), key=lambda i: alone[i], reverse=True)
    kept: tuple[int, ...] = (order[0],)
    best = alone[order[0]]
    soup = mean([states[order[0]]])
    for row in order[1:]:
        rows = (*kept, row)
        tried = mean([states[i] for i in rows])
        score = evaluate(rows, tried)
        if score >= best:
            kept, best, soup = rows, score, tried
    return kept, soup, best


def task_arithmetic(
    parent: State, states: Sequence[State], *, scale: float, weights: Sequence[float] | None = None
) -> State:
    """Return the parent plus the scaled sum of what each child learnt.

    theta = theta_0 + scale * sum_i w_i (theta_i - theta_0), with w_i = 1 unless given.

    References:
        Ilharco et al., arXiv:2212.04089, section 4, addition of task vectors.
    """
    factors = [1.0] * len(states) if weights is None else [float(w) for w in weights]
    if len(factors) != len(states):
        raise InvalidInputError(f"{len(factors)} weights were given for {len(states)} models")
    merged = State()
    for key, start in parent.items():
        moves = [f * (s[key].double() - start.double()) for f, s in zip(factors, states, strict=True)]
        merged[key] = (start.double() + scale * sum_of(moves)).float()
    return merged


def ties(parent: State, states: Sequence[State], *, density: float = DENSITY, scale: float = 1.0) -> State:
    """Return the parent plus the scaled mean of those moves that agree in sign with the majority.

    Of each task vector (theta_i - theta_0, all tensors together) the fraction `density` that is
    largest in magnitude is kept. Each entry's sign is that of the sum over the children; the mean
    is over the children whose kept entry has that sign.

    Args:
        parent: theta_0.
        states: the children.
        density: fraction of entries kept, in (0, 1].
        scale: lambda.

    Raises:
        InvalidInputError: for a density outside of (0, 1].

    References:
        Yadav et al., arXiv:2306.01708, algorithm 1: trim, elect sign, disjoint merge.
    """
    if not 0 < density <= 1:
        raise InvalidInputError(f"density is {density:g}: give a fraction above 0 and at most 1")
    start = _flat(parent)
    kept = torch.stack([_trim(_flat(state) - start, density) for state in states])
    elected = kept.sum(dim=0).sign()
    agree = (kept.sign() == elected) & (elected != 0)
    moved = (kept * agree).sum(dim=0) / agree.sum(dim=0).clamp(min=1)
    return _shaped(start + scale * moved, parent)


def fisher(
    states: Sequence[State], information: Sequence[State], weights: Sequence[float] | None = None
) -> State:
    """Return the mean of the states, each entry weighted by its diagonal Fisher information.

    theta_j = sum_i w_i F_ij theta_ij / sum_i w_i F_ij. A floor of a millionth of the mean
    information of all models is added to every F, so that an entry that no model knows anything
    about is the plain mean. A tensor without information is the plain mean as well.

    Args:
        states: n states.
        information: n states with entries of at least 0.
        weights: n numbers, by default equal ones.

    References:
        Matena and Raffel, arXiv:2111.09832, equation 3.
    """
    shares = normalised(weights, len(states))
    total = sum(float(t.double().sum()) for known in information for t in known.values())
    count = sum(t.numel() for known in information for t in known.values())
    floor = FISHER_FLOOR * total / max(count, 1) or 1.0
    merged = State()
    for key in states[0]:
        trust = [
            share
            * (known[key].double() + floor if key in known else torch.tensor(floor, dtype=torch.float64))
            for share, known in zip(shares, information, strict=True)
        ]
        summed = sum_of([t * s[key].double() for t, s in zip(trust, states, strict=True)])
        merged[key] = (summed / sum_of(trust)).float()
    return merged


def sum_of(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum of at least one tensor."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total


def _trim(vector: torch.Tensor, density: float) -> torch.Tensor:
    """Return the vector with all but its largest entries set to zero."""
    count = max(1, round(density * vector.numel()))
    largest = vector.abs().topk(count).indices
    trimmed = torch.zeros_like(vector)
    trimmed[largest] = vector[largest]
    return trimmed


def _flat(state: State) -> torch.Tensor:
    return torch.cat([state[key].double().flatten() for key in sorted(state)])


def _shaped(vector: torch.Tensor, like: State) -> State:
    keys = sorted(like)
    parts = vector.split([like[key].numel() for key in keys])
    return {key: part.view(like[key].shape).float() for key, part in zip(keys, parts, strict=True)}
