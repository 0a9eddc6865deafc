"""Ranking metrics against direct definitions, values of others' implementations, and simulation."""

import itertools

import numpy as np
import pytest

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.retrieval import ranking_metrics as evaluate

RNG = np.random.default_rng(0)
TRUTH = np.array([0.2, 0.9, 0.5, 0.7, 0.4, 0.6])
PREDICTED = np.array([0.1, 0.6, 0.7, 0.2, 0.3, 0.5])


def naive_tau(x, y, by):
    """Return the weighted tau by its definition, pair by pair; `by` are the ranks."""
    pairs = list(itertools.combinations(range(len(x)), 2))
    weights = [1 / (1 + by[i]) + 1 / (1 + by[j]) for i, j in pairs]
    dx = [np.sign(x[i] - x[j]) for i, j in pairs]
    dy = [np.sign(y[i] - y[j]) for i, j in pairs]
    top = sum(w * a * b for w, a, b in zip(weights, dx, dy, strict=True))
    left = sum(w * a * a for w, a in zip(weights, dx, strict=True))
    right = sum(w * b * b for w, b in zip(weights, dy, strict=True))
    return top / np.sqrt(left * right)


@pytest.mark.parametrize("tied", [False, True])
def test_weighted_tau_is_its_definition(tied):
    for _ in range(10):
        x, y = RNG.normal(size=(2, 12))
        if tied:
            x, y = x.round(), y.round()
        ranks = []
        for first, second in ((x, y), (y, x)):
            order = sorted(range(12), key=lambda i: (-first[i], -second[i]))
            ranks.append([order.index(i) for i in range(12)])
        expected = (naive_tau(x, y, ranks[0]) + naive_tau(x, y, ranks[1])) / 2
        assert evaluate.weighted_tau(x, y) == pytest.approx(expected, abs=1e-9)


# scipy.stats.weightedtau, version 1.17.1, with its defaults.
@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [(PREDICTED, TRUTH, 0.2544217687074829), ([12, 2, 1, 12, 2], [1, 4, 7, 1, 0], -0.5669496815368272)],
)
def test_weighted_tau_agrees_with_scipy(x, y, expected):
    assert evaluate.weighted_tau(np.array(x, float), np.array(y, float)) == pytest.approx(expected, abs=1e-12)


def test_pearson_is_numpys():
    x, y = RNG.normal(size=(2, 30))
    assert evaluate.pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)
    assert evaluate.pearson(np.ones(4), y[:4]) == 0.0


def test_perfect_reversed_and_constant_predictions():
    assert evaluate.weighted_tau(TRUTH, TRUTH) == pytest.approx(1.0)
    assert evaluate.weighted_tau(-TRUTH, TRUTH) == pytest.approx(-1.0)
    assert evaluate.weighted_tau(np.zeros(6), TRUTH) == 0.0
    assert evaluate.ndcg(TRUTH, TRUTH) == pytest.approx(1.0)
    assert evaluate.regret(TRUTH, TRUTH, k=1) == 0.0
    assert evaluate.regret(-TRUTH, TRUTH, k=1) == pytest.approx(0.7 / 0.9)


def test_the_first_picks_by_hand():
    assert evaluate.regret(PREDICTED, TRUTH, k=1) == pytest.approx(1 - 0.5 / 0.9)
    assert evaluate.regret(PREDICTED, TRUTH, k=2) == 0.0
    assert evaluate.gain(PREDICTED, TRUTH, k=1, baseline=0.45) == pytest.approx(0.05)
    assert evaluate.best_of_first(PREDICTED, TRUTH, k=99) == pytest.approx(0.9)


def test_ties_count_half_way():
    tied = np.array([1.0, 1.0, 0.0])
    truth = np.array([0.8, 0.4, 0.9])
    assert evaluate.best_of_first(tied, truth, k=1) == pytest.approx(0.6)
    assert evaluate.best_of_first(tied, truth, k=2) == pytest.approx(0.8)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 2, 5])
def test_values_at_random_are_what_simulation_gives(k):
    draws = [RNG.permutation(6).astype(float) for _ in range(4000)]
    simulated = np.mean([evaluate.regret(d, TRUTH, k=k) for d in draws])
    assert evaluate.regret_at_random(TRUTH, k=k) == pytest.approx(simulated, abs=0.01)
    simulated = np.mean([evaluate.gain(d, TRUTH, k=k, baseline=0.5) for d in draws])
    assert evaluate.gain_at_random(TRUTH, k=k, baseline=0.5) == pytest.approx(simulated, abs=0.01)
    assert evaluate.ndcg_at_random(TRUTH) == pytest.approx(
        np.mean([evaluate.ndcg(d, TRUTH) for d in draws]), abs=0.01
    )


def test_ndcg_with_ties_is_the_mean_over_their_orders():
    tied = np.array([2.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    values = []
    for first in itertools.permutations(range(3)):
        for last in itertools.permutations(range(2)):
            broken = tied.copy()
            broken[1:4] += np.array(first) / 10
            broken[4:] += np.array(last) / 10
            values.append(evaluate.ndcg(broken, TRUTH))
    assert evaluate.ndcg(tied, TRUTH) == pytest.approx(np.mean(values), abs=1e-12)


def test_constant_truths_are_always_ranked_well():
    assert evaluate.ndcg(PREDICTED, np.ones(6)) == 1.0
    assert evaluate.regret(PREDICTED, np.ones(6), k=1) == 0.0


def test_coverage_counts_the_ends():
    assert evaluate.coverage([0.0, 0.5, 0.0], [0.5, 0.6, 0.1], [0.5, 0.5, 0.2]) == pytest.approx(2 / 3)


def test_bootstrap_covers_the_mean_as_often_as_it_says():
    hits = 0
    for seed in range(200):
        sample = np.random.default_rng(seed).normal(0.3, 1.0, 30)
        low, high = evaluate.bootstrap_interval(sample, seed=seed, level=0.8, draws=1000)
        hits += low <= 0.3 <= high
    assert 140 <= hits <= 175
    assert evaluate.bootstrap_interval([1, 2, 3], seed=1) == evaluate.bootstrap_interval([1, 2, 3], seed=1)


@pytest.mark.parametrize(
    ("predicted", "truth"),
    [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, np.nan], [1.0, 2.0]), ([[1.0]], [[1.0]])],
)
def test_what_cannot_be_compared_is_refused(predicted, truth):
    with pytest.raises(InvalidInputError):
        evaluate.pearson(predicted, truth)


def test_relative_metrics_need_a_positive_best():
    with pytest.raises(InvalidInputError, match="positive"):
        evaluate.regret([1.0, 2.0], [-1.0, 0.0], k=1)
    with pytest.raises(InvalidInputError, match="k is 0"):
        evaluate.regret([1.0, 2.0], [1.0, 2.0], k=0)
