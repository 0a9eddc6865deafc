"""Scales: log-odds, units of a task, its level and its spread, and what fine-tuning adds."""

import numpy as np
import pytest

from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.scale import (
    Shift,
    accuracy_of,
    are_fractions,
    fine_tuning_shift,
    log_odds,
    on_open_scale,
    probe_odds,
    scale_of,
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


NOTHING = Shift()


def history(outcomes, **more):
    outcomes = np.asarray(outcomes, dtype=float)
    experts, tasks = outcomes.shape
    return History(
        experts=tuple(f"e{i}" for i in range(experts)),
        tasks=tuple(f"t{i}" for i in range(tasks)),
        outcomes=outcomes,
        **more,
    )


def untouched(experts=3, tasks=1):
    return history(np.full((experts, tasks), np.nan))


def accuracies(scale, values):
    return accuracy_of(scale.level + scale.slope * np.asarray(values))


def test_the_line_goes_through_the_mean_of_the_runs_and_its_slope_is_shrunk_to_the_usual_spread():
    values, odds = np.array([-1.0, 0.0, 1.0]), np.array([0.0, 1.0, 2.0])
    scale = scale_of(untouched(), 0, values, odds, NOTHING)
    # Two imaginary experts lie on a line of slope .9.
    slope = (2.0 + 2 * 0.9) / (2.0 + 2)
    assert (scale.level, scale.slope) == (pytest.approx(1.0), pytest.approx(slope))
    assert (scale.doubt, scale.runs, scale.known) == (0.0, 0, True)


def test_the_line_is_that_of_ridge_regression_towards_the_usual_slope():
    rng = np.random.default_rng(0)
    for _ in range(20):
        values, odds = rng.normal(size=(2, 6))
        scale = scale_of(untouched(), 0, values, odds + 2 * values, NOTHING)
        x, y = values - values.mean(), odds + 2 * values - (odds + 2 * values).mean()
        steps = np.linspace(0.05, 6, 60_001)
        loss = np.square(y[:, None] - np.outer(x, steps)).sum(0) + 2.0 * np.square(steps - 0.9)
        assert scale.slope == pytest.approx(steps[loss.argmin()], abs=1e-4)


@pytest.mark.parametrize("odds", [[0.0, 1.0, 2.0], [2.0, 1.0, 0.0], [1.0, 1.0, 1.0], [-9.0, 9.0, -9.0]])
def test_a_higher_value_is_never_a_lower_accuracy(odds):
    scale = scale_of(untouched(), 0, np.array([-1.0, 0.1, 0.9]), np.array(odds), NOTHING)
    found = accuracies(scale, np.linspace(-5, 5, 50))
    assert (np.diff(found) > 0).all()
    assert ((found > 0) & (found < 1)).all()


def test_one_expert_is_enough():
    one = scale_of(untouched(), 0, np.array([0.5]), np.array([0.7]), NOTHING)
    assert one.slope == pytest.approx(0.9)
    assert one.level + 0.5 * one.slope == pytest.approx(0.7)


def test_without_a_run_the_level_is_that_of_other_tasks():
    rng = np.random.default_rng(1)
    outcomes = rng.normal(size=(9, 4)) * [0.5, 1.0, 2.0, 1.0] + [0.0, 1.0, 5.0, 99.0]
    scale = scale_of(history(outcomes), 3, np.zeros(0), np.zeros(0), NOTHING)
    others = outcomes[:, :3]
    assert scale.known
    assert scale.level == pytest.approx(others.mean())
    # Student's t with 2 degrees of freedom is 1.886 at 90 %, the Gaussian 1.282; one more of three tasks.
    wider = 1.8856181 / 1.2815516 * np.sqrt(1 + 1 / 3)
    assert scale.doubt == pytest.approx(others.mean(axis=0).std(ddof=1) * wider, rel=1e-6)
    assert scale.slope == pytest.approx(np.sqrt(others.var(axis=0).mean()))


def test_levels_of_tasks_with_few_results_or_other_metrics_are_not_looked_at():
    outcomes = np.full((9, 5), np.nan)
    outcomes[:, 0], outcomes[:, 1] = np.linspace(0, 1, 9), np.linspace(1, 2, 9)
    outcomes[:3, 2], outcomes[:, 3] = 50.0, np.linspace(700, 900, 9)
    fractional = np.array([True, True, True, False, True])
    scale = scale_of(history(outcomes, fractional=fractional), 4, np.zeros(0), np.zeros(0), NOTHING)
    assert (scale.level, scale.known) == (pytest.approx(1.0), True)


def test_the_level_is_unknown_without_two_other_tasks():
    one = np.full((9, 2), np.nan)
    one[:, 0] = np.linspace(0, 1, 9)
    for given in (untouched(), history(one)):
        scale = scale_of(given, given.outcomes.shape[1] - 1, np.zeros(0), np.zeros(0), NOTHING)
        assert (scale.known, scale.doubt, scale.level) == (False, 0.0, 0.0)


def test_fine_tuning_adds_the_shrunken_mean_of_what_it_added_elsewhere():
    probes = np.array([[0.0, 1.0, 0.0], [0.5, np.nan, 0.0], [1.0, 2.0, 0.0]])
    outcomes = np.array([[1.0, 2.0, 9.0], [1.5, 7.0, 9.0], [np.nan, 3.0, 9.0]])
    shift = fine_tuning_shift(outcomes, probes, target=2)
    # Four pairs that gain 1 each, beside three imaginary ones that gain nothing.
    assert (shift.runs, shift.mean) == (4, pytest.approx(4 / 7))
    assert shift.deviation == pytest.approx(np.sqrt((4 * (3 / 7) ** 2 + 3 * 0.64) / 7))
    assert fine_tuning_shift(outcomes * np.nan, probes, target=2) == NOTHING
    scale = scale_of(untouched(), 0, np.zeros(1), np.array([0.7]), shift)
    assert (scale.level, scale.doubt, scale.runs) == (pytest.approx(0.7 + 4 / 7), shift.deviation, 4)


def test_many_runs_outweigh_the_imaginary_ones():
    probes = np.zeros((400, 2))
    shift = fine_tuning_shift(probes + 1.5, probes, target=1)
    assert shift.mean == pytest.approx(1.5, abs=0.02)
    assert shift.deviation < 0.2


@pytest.mark.parametrize("accuracy", [0.0, 0.01, 0.5, 0.93, 1.0])
@pytest.mark.parametrize("n", [2, 60, 10_000])
def test_log_odds_and_accuracies_are_inverse_up_to_half_an_item(accuracy, n):
    back = float(accuracy_of(np.array([log_odds(accuracy, n)]))[0])
    assert back == pytest.approx((accuracy * n + 0.5) / (n + 1))
    assert 0 < back < 1


def test_probe_odds_are_those_of_the_named_estimator():
    scores = np.array([[0.5, np.nan], [0.9, 0.1]])
    given = history(np.full((2, 2), np.nan), scores={"ridge_accuracy": scores})
    expected = [[0.0, np.nan], [np.log(9), -np.log(9)]]
    np.testing.assert_allclose(probe_odds(given, "ridge_accuracy"), expected)
    assert np.isnan(probe_odds(given, "logme")).all()


@pytest.mark.parametrize("tasks", [3, 6, 15])
def test_the_level_of_a_task_not_run_is_in_the_interval_eight_times_of_ten(tasks):
    rng = np.random.default_rng(tasks)
    inside = []
    for _ in range(1500):
        levels = rng.normal(size=tasks + 1)
        outcomes = levels + rng.normal(size=(6, 1)) * 0.1
        scale = scale_of(history(outcomes), tasks, np.zeros(0), np.zeros(0), NOTHING)
        inside.append(abs(outcomes[:, tasks].mean() - scale.level) < 1.2816 * scale.doubt)
    assert np.mean(inside) == pytest.approx(0.8, abs=0.035)
