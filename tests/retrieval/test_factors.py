"""Correlations, the common factor and the likeness of tasks against direct definitions and planted ones."""

import numpy as np
import pytest

from expertise_graph.retrieval.factors import correlations, fit_factors, one_factor, positive
from expertise_graph.retrieval.scale import standardised_columns

NAN = np.nan


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_correlations_are_those_over_common_experts_shrunk_by_four(share):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 5))
    values[rng.random(values.shape) < share] = NAN
    found, weight = correlations(values)
    for i in range(5):
        for j in range(5):
            both = ~np.isnan(values[:, i]) & ~np.isnan(values[:, j])
            n = both.sum()
            if i != j:
                plain = np.corrcoef(values[both, i], values[both, j])[0, 1]
                assert found[i, j] == pytest.approx(plain * n / (n + 4))
                assert weight[i, j] == pytest.approx(n / (n + 4))
    np.testing.assert_array_equal(np.diag(found), np.ones(5))
    np.testing.assert_array_equal(np.diag(weight), np.zeros(5))


def test_three_common_experts_tell_nothing():
    values = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0], [4.0, NAN]])
    found, weight = correlations(values)
    np.testing.assert_array_equal(found, np.eye(2))
    np.testing.assert_array_equal(weight, np.zeros((2, 2)))


@pytest.mark.parametrize("values", [np.full((6, 3), NAN), np.ones((6, 3)), np.zeros((0, 3)), np.ones((1, 1))])
def test_what_has_no_spread_has_no_correlation(values):
    found, _ = correlations(values)
    np.testing.assert_array_equal(found, np.eye(values.shape[1]))


def test_planted_loadings_are_found():
    planted = np.array([0.9, 0.8, 0.7, 0.6, 0.8, 0.3, 0.5, 0.9])
    correlation = np.outer(planted, planted)
    weight = np.full((8, 8), 0.99)
    np.fill_diagonal(correlation, 1.0)
    np.fill_diagonal(weight, 0.0)
    np.testing.assert_allclose(one_factor(correlation, weight), planted, atol=0.1)
    assert np.corrcoef(one_factor(correlation, weight), planted)[0, 1] > 0.99


def test_planted_loadings_are_found_in_draws():
    rng = np.random.default_rng(1)
    planted = np.array([0.9, 0.8, 0.7, 0.6, 0.8, 0.4, 0.5, 0.9, 0.7, 0.6])
    values = rng.normal(size=(4000, 1)) * planted + rng.normal(size=(4000, 10)) * np.sqrt(1 - planted**2)
    np.testing.assert_allclose(one_factor(*correlations(values)), planted, atol=0.08)


def test_tasks_that_share_nothing_have_small_loadings():
    values = np.random.default_rng(2).normal(size=(500, 12))
    assert one_factor(*correlations(values)).max() < 0.35
    assert one_factor(np.eye(0), np.zeros((0, 0))).shape == (0,)


def test_likeness_counts_as_far_as_it_explains_what_the_factor_leaves():
    rng = np.random.default_rng(3)
    kind = np.arange(12) % 2
    same = (kind[:, None] == kind[None, :]).astype(float)
    values = rng.normal(size=(300, 2))[:, kind] + 0.5 * rng.normal(size=(300, 12))
    noise = positive(rng.normal(size=(12, 12)))
    noise /= np.sqrt(np.outer(np.diag(noise), np.diag(noise)))
    standard = standardised_columns(values)[0]
    true, false = (fit_factors(standard, {"x": source}, 0) for source in (same, noise))
    assert true.own[0, 2] > 0.4
    assert true.own[0, 1] == pytest.approx(0.0, abs=1e-9)
    assert np.abs(false.own).max() < 0.25
    both = fit_factors(standard, {"true": same, "false": noise}, 0)
    np.testing.assert_allclose(both.own[0, 2], true.own[0, 2], atol=0.1)


def test_the_targets_results_are_not_looked_at():
    rng = np.random.default_rng(4)
    values = rng.normal(size=(20, 6))
    changed = values.copy()
    changed[:, 3] = rng.normal(size=20) ** 3
    likeness = {"x": np.exp(-np.square(np.subtract.outer(np.arange(6.0), np.arange(6.0))))}
    one, other = fit_factors(values, likeness, 3), fit_factors(changed, likeness, 3)
    for name in ("loadings", "own", "noise"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_the_target_loads_as_the_others_do_on_average():
    values = np.random.default_rng(9).normal(size=(40, 1)) * np.linspace(0.1, 2.0, 6)
    values += np.random.default_rng(10).normal(size=values.shape)
    found = fit_factors(values, {}, 4)
    others = [0, 1, 2, 3, 5]
    np.testing.assert_array_equal(found.loadings[others], one_factor(*correlations(values[:, others])))
    assert found.loadings[4] == pytest.approx(found.loadings[others].mean())
    assert np.ptp(found.loadings[others]) > 0.05


def test_variances_add_up_to_at_least_one():
    values = np.random.default_rng(5).normal(size=(25, 7))
    found = fit_factors(values, {"x": np.eye(7)}, 2)
    total = found.loadings**2 + np.diag(found.own) + found.noise
    assert (total >= 1.0 - 1e-9).all()
    assert (found.noise >= 0.1).all()


def test_unknown_likeness_is_none():
    values = np.random.default_rng(6).normal(size=(25, 4))
    unknown = np.where(np.eye(4) > 0, 1.0, NAN)
    found = fit_factors(values, {"x": unknown}, 1)
    np.testing.assert_allclose(found.own, np.diag(np.diag(found.own)), atol=1e-12)


@pytest.mark.parametrize("tasks", [1, 2])
def test_one_or_two_tasks_are_enough(tasks):
    found = fit_factors(np.random.default_rng(7).normal(size=(5, tasks)), {}, 0)
    assert found.loadings.shape == (tasks,)
    assert np.isfinite(found.loadings).all()


def test_positive_keeps_what_is_positive_and_cuts_the_rest():
    rng = np.random.default_rng(8)
    half = rng.normal(size=(5, 5))
    np.testing.assert_allclose(positive(half @ half.T), half @ half.T, atol=1e-9)
    values, vectors = np.linalg.eigh(half + half.T)
    expected = vectors @ np.diag(np.maximum(values, 0)) @ vectors.T
    np.testing.assert_allclose(positive(half + half.T), expected, atol=1e-9)


def test_general_quality_may_be_bad_for_a_new_task_where_it_was_for_others():
    """Sixteen of forty tasks order the experts the other way round, so a new one does with .4."""
    rng = np.random.default_rng(11)
    side = rng.permutation(np.repeat([-1.0, 1.0], [16, 24]))
    values = standardised_columns(rng.normal(size=(12, 1)) * side + 0.3 * rng.normal(size=(12, 40)))[0]
    assert fit_factors(values, {}, 0).loadings[0] == pytest.approx(0.2, abs=0.06)
