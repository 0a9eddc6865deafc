"""The few experts to try together: against every set, and by what surprises together."""

from itertools import combinations

import numpy as np
import pytest

from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.predict import complementary, outcome_draws

NAN = np.nan


def greedy(mean, draws, k):
    """Try every expert at each step."""
    chosen = []
    for _ in range(k):
        rest = [e for e in range(draws.shape[1]) if e not in chosen]
        chosen.append(max(rest, key=lambda e: (draws[:, [*chosen, e]].max(axis=1).mean(), mean[e])))
    return chosen


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 3, 6])
def test_each_choice_raises_the_expected_best_the_most(seed, k):
    draws = np.random.default_rng(seed).normal(size=(50, 6))
    mean = draws.mean(axis=0)
    assert complementary(mean, draws, k) == greedy(mean, draws, k)


@pytest.mark.parametrize("seed", range(10))
def test_the_set_is_nearly_as_good_as_the_best_of_all_sets(seed):
    rng = np.random.default_rng(seed)
    draws = rng.normal(size=(80, 8)) + rng.normal(size=8)
    value = {s: draws[:, s].max(axis=1).mean() for s in combinations(range(8), 3)}
    found = draws[:, complementary(draws.mean(axis=0), draws, 3)].max(axis=1).mean()
    worst, best = min(value.values()), max(value.values())
    assert (found - worst) / (best - worst) > 1.0 - 1.0 / np.e
    assert found <= best + 1e-12


def test_a_twin_of_the_first_is_not_the_second():
    first = np.array([1.0, 0.0, 1.0, 0.0])
    draws = np.stack([first, first, 0.8 * (1.0 - first)], axis=1)
    assert complementary(draws.mean(axis=0), draws, 2) == [0, 2]


def test_equals_are_taken_by_their_mean_and_all_if_asked():
    draws = np.ones((3, 4))
    assert complementary(np.array([0.0, 2.0, 1.0, 3.0]), draws, 2) == [3, 1]
    assert sorted(complementary(np.zeros(4), draws, 9)) == [0, 1, 2, 3]


def history(outcomes, fractional=True):
    experts, tasks = outcomes.shape
    return History(
        experts=tuple(map(str, range(experts))),
        tasks=tuple(map(str, range(tasks))),
        outcomes=outcomes,
        fractional=np.full(tasks, fractional),
    )


def draws_of(given, mean, seed=0):
    n = len(mean)
    return outcome_draws(given, 0, mean=mean, covariance=0.3 * np.eye(n) + 0.2, noise=0.1, seed=seed)


def test_with_little_history_draws_are_those_of_the_posterior():
    given = history(np.random.default_rng(0).normal(size=(5, 4)))
    mean = np.arange(5.0)
    found = np.concatenate([draws_of(given, mean, seed) for seed in range(40)])
    np.testing.assert_allclose(found.mean(axis=0), mean, atol=0.03)
    expected = 0.3 * np.eye(5) + 0.2 + 0.1 * np.eye(5)
    np.testing.assert_allclose(np.cov(found.T), expected, atol=0.03)


def test_with_enough_history_experts_that_surprise_together_do_so_in_the_draws():
    rng = np.random.default_rng(1)
    outcomes = rng.normal(size=(6, 20))
    outcomes[1] = outcomes[0] + 0.05 * rng.normal(size=20)
    found = draws_of(history(outcomes), np.zeros(6))
    assert found.shape == (19, 6)
    correlation = np.corrcoef(found.T)
    assert correlation[0, 1] > 0.95
    assert np.abs(correlation[0, 2:]).max() < 0.8


@pytest.mark.parametrize("fractional", [True, False])
def test_tasks_count_by_what_is_to_be_gained_on_them(fractional):
    outcomes = np.random.default_rng(2).normal(size=(8, 12))
    outcomes[:, 5] *= 0.01
    spread = draws_of(history(outcomes, fractional), np.zeros(8)).std(axis=1)
    assert spread[4] < 0.1 * np.median(spread)


@pytest.mark.parametrize("fractional", [True, False])
def test_the_targets_results_and_untried_experts_change_no_draw(fractional):
    rng = np.random.default_rng(3)
    outcomes = rng.normal(size=(7, 12))
    changed = outcomes.copy()
    changed[:, 0] = -5.0 * outcomes[:, 0] ** 2
    mean = rng.normal(size=7)
    one = draws_of(history(outcomes, fractional), mean)
    np.testing.assert_array_equal(one, draws_of(history(changed, fractional), mean))
    more = np.vstack([outcomes, np.full((1, 12), NAN)])
    wider = draws_of(history(more, fractional), np.append(mean, 0.0))
    np.testing.assert_allclose(wider[:, :7], one, atol=1e-9)
