"""The few experts to try together: against every set, and by what surprises together."""

from itertools import combinations

import numpy as np
import pytest

from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.predict import complementary, listing, outcome_draws, predict, tied


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


def test_draws_of_results_are_those_of_the_posterior_and_its_luck():
    mean, worth = np.arange(5.0), 0.3 * np.eye(5) + 0.2
    found = np.concatenate([outcome_draws(mean, worth, 0.1, seed) for seed in range(40)])
    np.testing.assert_allclose(found.mean(axis=0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(found.T), worth + 0.1 * np.eye(5), atol=0.03)
    np.testing.assert_array_equal(outcome_draws(mean, worth, 0.1, 3), outcome_draws(mean, worth, 0.1, 3))


def test_experts_that_surprised_together_elsewhere_are_not_chosen_twice():
    rng = np.random.default_rng(1)
    group = np.arange(12) % 2
    outcomes = rng.normal(size=(2, 30))[group] + 0.2 * rng.normal(size=(12, 30))
    names = [tuple(map(str, range(n))) for n in outcomes.shape]
    found = predict(History(experts=names[0], tasks=names[1], outcomes=outcomes), 0)
    correlation = np.corrcoef(outcome_draws(found.mean, found.covariance, found.noise, 0).T)
    alike = group[:, None] == group[None, :]
    np.fill_diagonal(alike, False)
    assert correlation[alike].min() > 0.4
    assert correlation[group == 0][:, group == 1].max() < 0.2
    draws = outcome_draws(np.zeros(12), found.covariance, found.noise, 0)
    assert set(group[complementary(np.zeros(12), draws, 2)]) == {0, 1}


def twins(rng, *, behind):
    """Return means and draws of six experts that fail together and, behind them, two that do not."""
    draws = rng.normal(size=(4000, 1)) + 0.1 * rng.normal(size=(4000, 8))
    draws[:, 6:] = rng.normal(size=(4000, 2)) - behind
    return np.append(np.linspace(0.05, 0.0, 6), [-behind, -behind - 0.01]), draws


def test_the_first_five_are_the_first_and_equals_that_do_not_fail_with_it():
    mean, draws = twins(np.random.default_rng(0), behind=0.2)
    order = np.argsort(-listing(mean, draws), kind="stable").tolist()
    assert order[0] == 0
    assert {6, 7} <= set(order[:5])
    assert order[:5] == sorted(order[:5])
    assert order[5:] == sorted(order[5:])


def test_what_is_clearly_worse_than_the_first_is_not_raised():
    mean, draws = twins(np.random.default_rng(0), behind=2.0)
    assert not tied(draws, 0)[6:].any()
    np.testing.assert_array_equal(listing(mean, draws), mean)


def test_equal_predictions_stay_equal_where_nothing_is_known():
    draws = np.random.default_rng(0).normal(size=(512, 40))
    np.testing.assert_array_equal(listing(np.zeros(40), draws), np.zeros(40))
    np.testing.assert_array_equal(listing(np.zeros(1), draws[:, :1]), np.zeros(1))
    np.testing.assert_array_equal(listing(np.arange(3.0), np.ones((512, 3))), np.arange(3.0))


def test_doubt_about_the_level_of_a_task_and_about_single_experts_raises_nobody():
    rng = np.random.default_rng(4)
    mean = np.linspace(0.3, 0.0, 20)
    width = np.where(np.arange(20) < 15, 0.3, 1.5)
    draws = mean + width * rng.normal(size=(4000, 20))
    for common in (0.0, 5.0):
        found = listing(mean, draws + common * rng.normal(size=(4000, 1)))
        np.testing.assert_array_equal(np.argsort(-found, kind="stable")[5:].max(), 19)
        assert found[15:].max() < found[0]
        assert not set(np.argsort(-found, kind="stable")[:5]) & set(range(15, 20))


def test_an_expert_of_another_kind_is_among_the_first_five():
    """Five alike are best on 24 of 40 tasks, five others on the rest."""
    rng = np.random.default_rng(2)
    kind, side = np.repeat([0, 1], 5), rng.permutation(np.repeat([-1.0, 1.0], [16, 24]))
    outcomes = np.stack([side, -side])[kind] + 0.1 * rng.normal(size=(10, 40))
    names = [tuple(map(str, range(n))) for n in outcomes.shape]
    hits = []
    for task in range(40):
        found = predict(History(experts=names[0], tasks=names[1], outcomes=outcomes), task)
        draws = outcome_draws(found.mean, found.covariance, found.noise, 0)
        first = np.argsort(-listing(found.mean, draws), kind="stable")[:5]
        hits.append((outcomes[first, task].max(), outcomes[np.argsort(-found.mean)[:5], task].max()))
    hedged, plain = np.mean(hits, axis=0)
    assert hedged > plain + 0.5
