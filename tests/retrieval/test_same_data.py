"""The same data under another base or protocol: planted groups of tasks, and what must not change them."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import weightedtau

from expertise_graph.retrieval.factors import correlations, fit_factors, one_factor
from expertise_graph.retrieval.forecast import forecast, shares
from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.same_data import data_name, likeness_elsewhere, loading_by_data
from expertise_graph.retrieval.scale import standardised_columns

NAN = np.nan


def two_bases(seed, *, alike=True, experts=40, data=16):
    """Return results of two bases on the same data: experts of one have none on the tasks of the other.

    What the data ask for beside quality is the same for both bases, or, where they are not alike, drawn anew.
    """
    rng = np.random.default_rng(seed)
    asked = rng.normal(size=(data, 3))
    other = asked if alike else rng.normal(size=(data, 3))
    outcomes = np.full((2 * experts, 2 * data), NAN)
    for base, demands in enumerate((asked, other)):
        rows, columns = slice(base * experts, (base + 1) * experts), slice(base * data, (base + 1) * data)
        values = 0.7 * rng.normal(size=(experts, 1)) + rng.normal(size=(experts, 3)) @ demands.T
        outcomes[rows, columns] = values + 0.5 * rng.normal(size=values.shape)
    return History(
        experts=tuple(map(str, range(len(outcomes)))),
        tasks=tuple(map(str, range(2 * data))),
        outcomes=outcomes,
        data=tuple(f"d{i % data}" for i in range(2 * data)),
    )


def order(known, target):
    """Return weighted tau of the forecast with the results that were hidden."""
    rows = np.flatnonzero(~np.isnan(known.outcomes[:, target]))
    return weightedtau(forecast(known, target).mean[rows], known.outcomes[rows, target]).statistic


def gains(known):
    """Return what the data of the tasks add to weighted tau, on each of the first ten."""
    without = dataclasses.replace(known, data=None)
    return np.array([order(known, t) - order(without, t) for t in range(10)])


def test_how_data_go_together_under_one_base_orders_the_experts_of_another():
    found = np.concatenate([gains(two_bases(seed)) for seed in range(3)])
    assert found.mean() > 0.1
    assert found.mean() - 2 * found.std() / np.sqrt(len(found)) > 0


def test_where_bases_have_nothing_in_common_nothing_is_carried_over():
    found = np.concatenate([gains(two_bases(seed, alike=False)) for seed in range(3)])
    assert abs(found.mean()) < 0.02


def test_likeness_elsewhere_is_the_mean_of_the_other_pairs_of_the_same_data():
    left = np.array([[0, 0.6, 0.1, 0], [0.6, 0, 0, 0], [0.1, 0, 0, 0.4], [0, 0, 0.4, 0]], dtype=float)
    weight = np.array([[0, 0.5, 0.5, 0], [0.5, 0, 0, 0], [0.5, 0, 0, 0.8], [0, 0, 0.8, 0]])
    alike, same = likeness_elsewhere(left, weight, ["a", "b", "a", "b"])
    # Of the first pair only the other one tells, and the other way round; imaginary pairs of .5 beside it.
    assert alike[0, 1] == pytest.approx(0.8 * 0.4 / 1.3)
    assert alike[2, 3] == pytest.approx(0.5 * 0.6 / 1.0)
    assert alike[0, 3] == pytest.approx((0.5 * 0.6 + 0.8 * 0.4) / 1.8)
    # The two tasks of data a are the only pair of them: nothing tells of it but itself.
    assert np.isnan(alike[0, 2])
    np.testing.assert_array_equal(alike[~np.isnan(alike)], alike.T[~np.isnan(alike)])
    assert alike[0, 0] == alike[0, 3]
    np.testing.assert_array_equal(same, [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]])


def test_a_target_is_expected_to_load_as_its_data_do_elsewhere():
    data = ["a", "b", "c", "d", "a", "b", "c", "d"]
    loadings = np.array([0.9, 0.8, 0.3, 0.2, 0.9, 0.8, 0.3])
    found = loading_by_data(loadings, 0.6, data, 7)
    # The twin loads .2, .4 below the mean; a third of that is doubted, and a little of the slope.
    assert found == pytest.approx(0.6 - 0.4 / 1.5, abs=0.05)
    turned = np.array([0.9, 0.8, 0.3, 0.2, 0.2, 0.3, 0.8])
    assert loading_by_data(turned, 0.6, data, 7) == 0.6
    assert loading_by_data(loadings, 0.6, [*data[:7], ""], 7) == 0.6


def test_the_targets_results_are_not_looked_at_and_shares_add_up():
    known = two_bases(5)
    hidden = known.without(2)
    np.testing.assert_array_equal(forecast(known, 2).mean, forecast(hidden, 2).mean)
    assert shares(known, 2, 3)[0].sum() == pytest.approx(forecast(known, 2).alone[3])


def test_names_of_data_alone_change_nothing():
    known = two_bases(6)
    values = standardised_columns(known.outcomes)[0]
    plain = fit_factors(values, {}, 1)
    unnamed = fit_factors(values, {}, 1, [""] * len(known.tasks))
    different = fit_factors(values, {}, 1, list(known.tasks))
    for found in (unnamed, different):
        np.testing.assert_allclose(found.covariance, plain.covariance, atol=1e-12)


def test_order_of_tasks_does_not_matter():
    rng = np.random.default_rng(7)
    left, data = rng.normal(size=(8, 8)), ["a", "b", "c", "", "a", "b", "", "a"]
    weight = rng.random((8, 8)) * (1 - np.eye(8))
    left, weight, turned = left + left.T, weight + weight.T, rng.permutation(8)
    again = [data[i] for i in turned]
    at = np.ix_(turned, turned)
    for found, other in zip(
        likeness_elsewhere(left, weight, data), likeness_elsewhere(left[at], weight[at], again), strict=True
    ):
        np.testing.assert_allclose(other, found[at])
    loadings = rng.random(8)
    here = [i for i in turned if i != 7]
    at_end = loading_by_data(np.delete(loadings, 7), 0.5, data, 7)
    assert loading_by_data(loadings[here], 0.5, [*(data[i] for i in here), "a"], 7) == pytest.approx(at_end)


def test_likeness_of_twins_needs_common_experts():
    known = two_bases(8)
    correlation, weight = correlations(standardised_columns(known.outcomes)[0])
    loadings = one_factor(correlation, weight)
    alike, _ = likeness_elsewhere(correlation - np.outer(loadings, loadings), weight, known.data)
    assert np.isfinite(alike[0, 1])
    assert np.isnan(alike[0, 16])


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("mteb/CIFAR100", "cifar100"),
        ("CIFAR-100@linear-probe", "cifar100"),
        ("./train", ""),
        ("data", ""),
        ("2024", ""),
        ("", ""),
    ],
)
def test_a_name_says_its_data_or_nothing(name, data):
    assert data_name(name) == data
