"""Scales: log-odds of fractions, units of a task's deviation, and what is out of all proportion."""

import numpy as np
import pytest

from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.units import (
    are_fractions,
    on_open_scale,
    standardised_columns,
    without_outliers,
)

NAN = np.nan


def test_fractions_become_log_odds_and_others_stay():
    values = np.array([0.5, 0.9, 0.0, 1.0, NAN])
    odds = [0.0, np.log(9.0), np.log(0.005 / 0.995), np.log(0.995 / 0.005), NAN]
    np.testing.assert_allclose(on_open_scale(values), odds)
    for other in (np.array([0.5, 1.2]), np.array([-0.1, 0.5]), np.array([NAN, NAN])):
        np.testing.assert_array_equal(on_open_scale(other), other)
        assert not are_fractions(other)


def test_columns_have_mean_zero_and_deviation_one():
    values = np.array([[1.0, 5.0, NAN, NAN], [2.0, 5.0, 7.0, NAN], [6.0, 5.0, NAN, NAN]])
    standard, mean, deviation = standardised_columns(values)
    np.testing.assert_allclose(standard[:, 0], (values[:, 0] - 3.0) / np.std([1.0, 2.0, 6.0]))
    np.testing.assert_array_equal(standard[:, 1], [0.0, 0.0, 0.0])
    np.testing.assert_array_equal(standard[:, 2], [NAN, 0.0, NAN])
    np.testing.assert_array_equal(mean, [3.0, 5.0, 7.0, 0.0])
    np.testing.assert_array_equal(deviation[1:], [1.0, 1.0, 1.0])


@pytest.mark.parametrize(("scale", "shift"), [(100.0, 0.0), (0.01, 5.0), (3.0, -1e3)])
def test_the_unit_of_a_task_does_not_matter(scale, shift):
    values = np.random.default_rng(0).normal(size=(9, 3))
    one, other = standardised_columns(values)[0], standardised_columns(scale * values + shift)[0]
    np.testing.assert_allclose(one, other, atol=1e-9)


def test_an_absurd_value_is_moved_to_twenty_deviations_and_a_good_one_stays():
    values = np.array([[0.0], [1.0], [2.0], [3.0], [9.0], [1e12], [NAN]])
    found = without_outliers(values)[:, 0]
    np.testing.assert_array_equal(found[[0, 1, 2, 3, 4, 6]], values[[0, 1, 2, 3, 4, 6], 0])
    centre = np.median(values[:6])
    assert found[5] == pytest.approx(centre + 20 * 1.4826 * np.median(np.abs(values[:6] - centre)))


def test_a_column_that_is_mostly_one_value_is_left_alone():
    values = np.array([[1.0], [1.0], [1.0], [50.0]])
    np.testing.assert_array_equal(without_outliers(values), values)
    np.testing.assert_array_equal(without_outliers(np.full((3, 2), NAN)), np.full((3, 2), NAN))


def test_hiding_leaves_the_original_alone():
    outcomes = np.arange(6.0).reshape(3, 2)
    history = History(experts=("a", "b", "c"), tasks=("x", "y"), outcomes=outcomes)
    np.testing.assert_array_equal(history.without(1).outcomes, [[0, NAN], [2, NAN], [4, NAN]])
    hidden = history.without_experts(np.array([True, False, False]))
    np.testing.assert_array_equal(hidden.outcomes, [[NAN, NAN], [2, 3], [4, 5]])
    np.testing.assert_array_equal(history.outcomes, np.arange(6.0).reshape(3, 2))


def test_only_fractions_are_accuracies():
    history = History(
        experts=("a",), tasks=("x", "y"), outcomes=np.array([[0.1, -3.0]]), fractional=np.array([True, False])
    )
    np.testing.assert_array_equal(history.accuracies, [[0.1, NAN]])
