"""The methods against their definitions, entry by entry, and what must hold for any weights."""

import numpy as np
import pytest
import torch

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.merging.methods import FISHER_FLOOR, fisher, greedy_soup, mean, task_arithmetic, ties

SHAPES = {"conv": (4, 3, 3, 3), "norm": (4,), "linear": (5, 4)}


def state(seed, scale=1.0):
    rng = torch.Generator().manual_seed(seed)
    return {name: scale * torch.randn(shape, generator=rng) for name, shape in SHAPES.items()}


def vector(given):
    return np.concatenate([given[name].double().numpy().ravel() for name in SHAPES])


def children(parent, n=3):
    return [{k: parent[k] + 0.1 * move for k, move in state(10 + i).items()} for i in range(n)]


def test_mean_is_the_weighted_mean():
    states = [state(seed) for seed in range(3)]
    expected = (vector(states[0]) + 2 * vector(states[1]) + 5 * vector(states[2])) / 8
    np.testing.assert_allclose(vector(mean(states, [1, 2, 5])), expected, rtol=1e-6)
    np.testing.assert_array_equal(vector(mean([states[0]])), vector(states[0]))
    assert {t.dtype for t in mean(states).values()} == {torch.float32}


@pytest.mark.parametrize(
    "weights", [[1, 2], [1, -1, 1], [0, 0, 0], [1, float("nan"), 1], [1, float("inf"), 1]]
)
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(InvalidInputError, match="do not fit 3 models"):
        mean([state(seed) for seed in range(3)], weights)


def test_task_arithmetic_adds_scaled_task_vectors():
    parent = state(0)
    kids = children(parent)
    moves = sum(vector(kid) - vector(parent) for kid in kids)
    found = task_arithmetic(parent, kids, scale=0.4)
    np.testing.assert_allclose(vector(found), vector(parent) + 0.4 * moves, atol=1e-6)
    np.testing.assert_allclose(
        vector(task_arithmetic(parent, kids, scale=1 / 3)), vector(mean(kids)), atol=1e-6
    )
    np.testing.assert_array_equal(vector(task_arithmetic(parent, kids, scale=0)), vector(parent))
    weighted = task_arithmetic(parent, kids, scale=1.0, weights=[0, 1, 0])
    np.testing.assert_allclose(vector(weighted), vector(kids[1]), atol=1e-6)


def ties_by_hand(parent, kids, density, scale):
    """TIES one entry at a time."""
    start = vector(parent)
    moves = np.array([vector(kid) - start for kid in kids])
    keep = round(density * len(start))
    for row in moves:
        row[np.argsort(-np.abs(row))[keep:]] = 0
    merged = []
    for column in moves.T:
        sign = np.sign(column.sum())
        agreeing = [x for x in column if x != 0 and np.sign(x) == sign]
        merged.append(np.mean(agreeing) if agreeing else 0.0)
    return start + scale * np.array(merged)


@pytest.mark.parametrize(("density", "scale"), [(0.2, 1.0), (0.5, 0.7), (1.0, 1.5)])
def test_ties_against_its_definition(density, scale):
    parent = state(0)
    kids = children(parent, 4)
    found = ties(parent, kids, density=density, scale=scale)
    np.testing.assert_allclose(vector(found), ties_by_hand(parent, kids, density, scale), atol=1e-6)


def test_ties_of_one_child_at_full_density_is_the_child():
    parent = state(0)
    (kid,) = children(parent, 1)
    np.testing.assert_allclose(vector(ties(parent, [kid], density=1.0)), vector(kid), atol=1e-6)
    with pytest.raises(InvalidInputError, match="density is 0"):
        ties(parent, [kid], density=0)


def test_fisher_weights_each_entry_by_what_is_known_of_it():
    states = [state(seed) for seed in range(2)]
    known = [{k: t.square() for k, t in state(20 + seed).items()} for seed in range(2)]
    floor = FISHER_FLOOR * np.mean([vector(k) for k in known])
    trust = [vector(k) + floor for k in known]
    expected = (3 * trust[0] * vector(states[0]) + trust[1] * vector(states[1])) / (3 * trust[0] + trust[1])
    np.testing.assert_allclose(vector(fisher(states, known, [3, 1])), expected, rtol=1e-5, atol=1e-6)


def test_fisher_follows_certainty_and_is_the_mean_without_any():
    states = [state(seed) for seed in range(2)]
    ones = {k: torch.ones_like(t) for k, t in states[0].items()}
    zeros = {k: torch.zeros_like(t) for k, t in states[0].items()}
    np.testing.assert_allclose(vector(fisher(states, [ones, zeros])), vector(states[0]), atol=1e-5)
    np.testing.assert_allclose(vector(fisher(states, [zeros, zeros])), vector(mean(states)), atol=1e-6)
    np.testing.assert_allclose(vector(fisher(states, [ones, ones])), vector(mean(states)), atol=1e-6)


def test_greedy_soup_keeps_what_does_not_harm_best_first():
    states = [{"x": torch.tensor([value])} for value in (0.0, 4.0, 10.0)]
    seen = []

    def score(rows, tried):
        seen.append(rows)
        return -abs(float(tried["x"]) - 3.0)

    alone = [score((row,), s) for row, s in enumerate(states)]
    seen.clear()
    kept, soup, best = greedy_soup(states, alone, score)
    # 4 is best alone (off by 1); with 0 it is 2 (off by 1, no worse); with 10 it would be 4.67.
    assert seen == [(1, 0), (1, 0, 2)]
    assert kept == (1, 0)
    assert float(soup["x"]) == pytest.approx(2.0)
    assert best == pytest.approx(-1.0)


def test_greedy_soup_may_keep_one():
    states = [{"x": torch.tensor([value])} for value in (3.0, 9.0)]
    kept, soup, _ = greedy_soup(states, [0.0, -6.0], lambda rows, tried: -abs(float(tried["x"]) - 3.0))
    assert kept == (0,)
    assert float(soup["x"]) == 3.0


def test_inputs_are_not_changed():
    parent = state(0)
    kids = children(parent)
    before = [vector(s).copy() for s in (parent, *kids)]
    mean(kids)
    task_arithmetic(parent, kids, scale=0.5)
    ties(parent, kids)
    fisher(kids, [state(30 + i) for i in range(3)])
    for s, old in zip((parent, *kids), before, strict=True):
        np.testing.assert_array_equal(vector(s), old)
