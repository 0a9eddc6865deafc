"""The posterior against direct conditioning of the model that its module describes."""

import numpy as np
import pytest

from expertise_graph.retrieval.posterior import (
    Posterior,
    calibrate,
    expected_improvement,
    posterior,
    standardised,
)


def graph(seed, n=9, dim=5):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, standardised(rng.normal(size=n)), rng


def conditioned(vectors, affinity, observed, values):
    """Condition mu ~ N(0, 1), beta ~ N(.5, .25), f = vectors g with g ~ N(0, 1), noise ~ N(0, .05)."""
    n, dim = vectors.shape
    design = np.concatenate([np.ones((n, 1)), affinity[:, None], vectors], axis=1)
    prior = np.diag([1.0, 0.25, *np.ones(dim)])
    mean = np.array([0.0, 0.5, *np.zeros(dim)])
    seen = design[observed]
    # In the form of Bayesian linear regression: precisions add.
    covariance = np.linalg.inv(np.linalg.inv(prior) + seen.T @ seen / 0.05)
    weights = covariance @ (np.linalg.solve(prior, mean) + seen.T @ values / 0.05)
    return design @ weights, design @ covariance @ design.T


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("observed", [[], [3], [5, 0, 2], list(range(9))])
def test_posterior_is_the_joint_gaussian_given_the_evidence(seed, observed):
    vectors, affinity, rng = graph(seed)
    values = rng.normal(size=len(observed))
    mean, covariance = conditioned(vectors, affinity, observed, values)
    state = posterior(vectors @ vectors.T, affinity, observed, values)
    np.testing.assert_allclose(state.mean, mean, atol=1e-6)
    np.testing.assert_allclose(state.covariance, covariance, atol=1e-6)
    np.testing.assert_allclose(state.deviation, np.sqrt(np.diag(covariance)), atol=1e-5)


def test_order_of_the_evidence_does_not_matter():
    vectors, affinity, rng = graph(5)
    values = rng.normal(size=3)
    one = posterior(vectors @ vectors.T, affinity, [1, 4, 7], values)
    other = posterior(vectors @ vectors.T, affinity, [7, 1, 4], values[[2, 0, 1]])
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-10)
    np.testing.assert_allclose(one.covariance, other.covariance, atol=1e-10)


@pytest.mark.parametrize("value", [2.0, -2.0])
def test_an_observed_expert_pulls_similar_ones_along(value):
    similarity = np.eye(4)
    similarity[0, 1] = similarity[1, 0] = 0.9
    similarity[:2, 2] = similarity[2, :2] = 0.4
    nothing = np.zeros(4)
    state = posterior(similarity, nothing, [0], np.array([value]))
    pull = state.mean * np.sign(value)
    assert pull[0] > pull[1] > pull[2] > pull[3] > 0
    assert state.deviation[0] < state.deviation[1] < state.deviation[2] < state.deviation[3]
    before = posterior(similarity, nothing, [], np.zeros(0))
    assert (state.deviation < before.deviation).all()


def test_affinity_alone_orders_experts_before_anything_is_run():
    affinity = np.array([-1.0, 0.2, 1.5])
    state = posterior(np.eye(3), affinity, [], np.zeros(0))
    np.testing.assert_allclose(state.mean, 0.5 * affinity)


def test_inputs_are_left_alone():
    vectors, affinity, _ = graph(6)
    similarity = vectors @ vectors.T
    kept = similarity.copy(), affinity.copy()
    posterior(similarity, affinity, [0, 1], np.array([1.0, -1.0]))
    np.testing.assert_array_equal(similarity, kept[0])
    np.testing.assert_array_equal(affinity, kept[1])


@pytest.mark.parametrize("best", [-3.0, -0.2, 0.0, 1.0, 4.0])
def test_expected_improvement_is_the_integral_of_what_exceeds_the_best(best):
    mean, deviation = np.array([-1.0, 0.0, 0.5, 2.0]), np.array([0.5, 1.0, 0.1, 2.0])
    state = Posterior(mean, np.diag(deviation**2))
    for found, m, s in zip(expected_improvement(state, best), mean, deviation, strict=True):
        grid = np.linspace(m - 12 * s, m + 12 * s, 200_001)
        density = np.exp(-0.5 * ((grid - m) / s) ** 2) / (s * np.sqrt(2 * np.pi))
        assert found == pytest.approx(np.trapezoid(np.maximum(grid - best, 0) * density, grid), abs=1e-7)


def test_what_is_certain_improves_by_its_lead_or_not_at_all():
    state = Posterior(np.array([1.0, 3.0]), np.zeros((2, 2)))
    np.testing.assert_allclose(expected_improvement(state, 2.0), [0.0, 1.0], atol=1e-6)


def test_standardised_values_have_mean_zero_and_deviation_one():
    values = np.array([3.0, 7.0, 5.0, 100.0])
    found = standardised(values)
    assert found.mean() == pytest.approx(0.0, abs=1e-12)
    assert found.std() == pytest.approx(1.0)
    np.testing.assert_array_equal(np.argsort(found), np.argsort(values))
    np.testing.assert_array_equal(standardised(np.full(5, 0.1)), np.zeros(5))
    assert standardised(np.zeros(0)).shape == (0,)


def test_calibration_is_a_shrunken_line_through_the_mean():
    values, odds = np.array([-1.0, 0.0, 1.0]), np.array([0.0, 1.0, 2.0])
    line = calibrate(values, odds, 100)
    assert (line.level, line.slope) == (pytest.approx(1.0), pytest.approx(2 / 2.5))
    residual = np.array([-0.2, 0.0, 0.2])
    assert line.spread == pytest.approx(np.sqrt(residual.var() + 0.04))
    assert line.accuracy(np.array([0.0]))[0] == pytest.approx(1 / (1 + np.exp(-1.0)))


@pytest.mark.parametrize("odds", [[0.0, 1.0, 2.0], [2.0, 1.0, 0.0], [1.0, 1.0, 1.0], [-9.0, 9.0, -9.0]])
def test_a_higher_value_is_never_a_lower_accuracy(odds):
    line = calibrate(np.array([-1.0, 0.1, 0.9]), np.array(odds), 50)
    accuracy = line.accuracy(np.linspace(-5, 5, 50))
    assert (np.diff(accuracy) > 0).all()
    assert ((accuracy > 0) & (accuracy < 1)).all()


def test_one_expert_is_enough_and_few_items_tell_little():
    one = calibrate(np.zeros(1), np.array([0.7]), 25)
    assert one.level == pytest.approx(0.7)
    assert one.spread == pytest.approx(0.4)
    assert calibrate(np.zeros(1), np.array([0.7]), 400).spread == pytest.approx(0.1)
