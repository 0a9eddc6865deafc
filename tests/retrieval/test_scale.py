"""Scales: log-odds, units of a task, its level and its spread, and what fine-tuning adds."""

import numpy as np
import pytest

from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.scale import (
    Shift,
    accuracy_of,
    are_fractions,
    fine_tuning_shift,
    joint_levels,
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
    # None and all of five items are half an item from the end, of many items half of a hundredth.
    few = on_open_scale(np.array([0.0, 1.0, 1.0, NAN]), np.array([5.0, 5.0, 1000.0, NAN]))
    np.testing.assert_allclose(few, [np.log(0.5 / 5.5), np.log(5.5 / 0.5), np.log(0.995 / 0.005), NAN])
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
    assert (scale.doubt, scale.shift, scale.known) == (0.0, NOTHING, True)


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


def test_levels_of_another_modality_or_on_a_few_items_are_not_looked_at():
    outcomes = np.full((9, 4), np.nan)
    outcomes[:, 0], outcomes[:, 1] = np.linspace(0, 1, 9), np.linspace(1, 2, 9)
    outcomes[:, 2] = log_odds(0.0, 5)
    images = ("text", "text", "image", "text")
    alone = scale_of(history(outcomes, modalities=images), 3, np.zeros(0), np.zeros(0), NOTHING)
    assert (alone.level, alone.known) == (pytest.approx(1.0), True)
    tested = np.full((9, 4), 300.0)
    tested[:, 2] = 5
    few = scale_of(history(outcomes, tested=tested), 3, np.zeros(0), np.zeros(0), NOTHING)
    assert (few.level, few.known) == (pytest.approx(1.0), True)
    asked = scale_of(
        history(outcomes, modalities=("text",) * 3 + ("image",)), 3, np.zeros(0), np.zeros(0), NOTHING
    )
    assert not asked.known


def test_the_level_is_unknown_without_two_other_tasks():
    one = np.full((9, 2), np.nan)
    one[:, 0] = np.linspace(0, 1, 9)
    for given in (untouched(), history(one)):
        scale = scale_of(given, given.outcomes.shape[1] - 1, np.zeros(0), np.zeros(0), NOTHING)
        assert (scale.known, scale.doubt, scale.level) == (False, 0.0, 0.0)


PROBES = np.array([[0.0, 1.0, 0.0], [0.5, np.nan, 0.0], [1.0, 2.0, 0.0]])
GAINED = np.array([[1.0, 2.0, 9.0], [1.5, 7.0, 9.0], [np.nan, 3.0, 9.0]])


def shift_of(outcomes, probes, target=-1, usual=None, **more):
    """Return what is learnt from log-odds of results and of probes, (E, T) each."""
    given = history(outcomes, scores={"probe_accuracy": accuracy_of(np.asarray(probes))}, **more)
    return fine_tuning_shift(given, target % given.outcomes.shape[1], "probe_accuracy", usual)


def test_fine_tuning_adds_the_shrunken_mean_of_what_it_added_elsewhere():
    shift = shift_of(GAINED, PROBES)
    # Two tasks with two pairs each that gain 1: half of what they differ by is the task's, so that each
    # counts for 1 / (1/2 + 1/4), beside three imaginary ones that gain nothing.
    weight, total = 2 * 4 / 3, 2 * 4 / 3 + 3
    assert (shift.runs, shift.mean) == (4, pytest.approx(weight / total))
    variance = (weight * (3 / total) ** 2 + 3 * (0.64 + (weight / total) ** 2)) / total
    assert shift.deviation == pytest.approx(np.sqrt(variance * (1 + 1 / total)))
    assert shift_of(GAINED * np.nan, PROBES) == NOTHING
    scale = scale_of(untouched(), 0, np.zeros(1), np.array([0.7]), shift)
    assert scale.level == pytest.approx(0.7 + shift.mean)
    assert (scale.doubt, scale.shift) == (shift.deviation, shift)


USUAL = Shift(mean=-0.2, deviation=0.4, shipped=900)


def test_without_results_fine_tuning_adds_what_is_usual_and_with_them_what_it_added():
    nothing = shift_of(GAINED * np.nan, PROBES, usual=USUAL)
    assert (nothing.mean, nothing.runs, nothing.shipped) == (pytest.approx(-0.2), 0, 900)
    # Three imaginary tasks tell the level, so that the target is one more beside them.
    assert nothing.deviation == pytest.approx(0.4 * np.sqrt(1 + 1 / 3))
    few, many = (shift_of(np.full((2, n), 1.0), np.zeros((2, n)), usual=USUAL) for n in (2, 200))
    assert -0.2 < few.mean < many.mean
    assert many.mean == pytest.approx(1.0, abs=0.02)
    assert many.deviation < nothing.deviation < few.deviation, "that it is far from the usual is a surprise"
    assert (few.runs, few.shipped) == (2, 900)


def test_results_that_are_mostly_luck_change_nothing_of_what_is_usual():
    luck = shift_of([[log_odds(1.0, 5), np.nan]], [[0.5, 0.5]], usual=USUAL, tested=5.0, probed=200.0)
    assert luck == shift_of(GAINED * np.nan, PROBES, usual=USUAL)


def test_many_tasks_outweigh_the_imaginary_runs_and_many_experts_on_one_task_do_not():
    probes = np.zeros((3, 400))
    many = shift_of(probes + 1.5, probes)
    assert many.mean == pytest.approx(1.5, abs=0.02)
    assert many.deviation < 0.2
    one = shift_of(np.zeros((400, 2)) + 1.5, np.zeros((400, 2)))
    assert one.mean == pytest.approx(1.5 * 2 / 5, abs=0.02)
    assert one.deviation > 0.7


@pytest.mark.parametrize(
    "other",
    [
        {"metrics": ("r2", "accuracy", "accuracy")},
        {"metrics": ("average_precision", "accuracy", "accuracy")},
        {"metrics": ("macro F1", "accuracy", "accuracy")},
        {"modalities": ("image", "text", "text")},
        {"modalities": ("unknown", "text", "text")},
    ],
)
def test_neither_another_metric_nor_another_modality_tells_what_fine_tuning_adds(other):
    outcomes = GAINED - np.array([[5.0, 0.0, 0.0]])
    assert shift_of(outcomes, PROBES, **other) == shift_of(outcomes * [[np.nan, 1.0, 1.0]], PROBES)
    assert shift_of(outcomes, PROBES, **other) != shift_of(outcomes, PROBES)


def test_a_result_counts_by_the_items_it_was_measured_on():
    outcomes, probes = np.full((1, 12), 1.5), np.full((1, 12), 0.5)
    sure = shift_of(outcomes, probes, tested=300.0, probed=300.0)
    outcomes[0, 0] = log_odds(0.0, 5)
    tested = np.full((1, 12), 300.0)
    tested[0, 0] = 5
    after = shift_of(outcomes, probes, tested=tested, probed=300.0)
    assert sure.mean - after.mean < 0.1
    tested[0, 0] = 300
    outcomes[0, 0] = log_odds(0.0, 300)
    assert sure.mean - shift_of(outcomes, probes, tested=tested, probed=300.0).mean > sure.mean - after.mean


@pytest.mark.parametrize("items", [1, 2, 5, 10])
def test_a_single_result_on_a_few_items_does_not_tell_what_fine_tuning_adds(items):
    for accuracy in (0.0, 1.0):
        found = shift_of(
            [[log_odds(accuracy, items), np.nan]], [[0.5, 0.5]], tested=float(items), probed=200.0
        )
        assert found == NOTHING
    many = shift_of([[log_odds(0.8, 300), np.nan]], [[0.5, 0.5]], tested=300.0, probed=200.0)
    assert many.runs == 1


def test_the_probe_counts_by_its_items_too():
    few = shift_of([[1.5, np.nan]], [[0.5, np.nan]], tested=300.0, probed=12.0)
    many = shift_of([[1.5, np.nan]], [[0.5, np.nan]], tested=300.0, probed=500.0)
    assert 0 < few.mean < many.mean


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


def test_levels_are_those_of_the_tasks_and_not_of_who_was_tried_on_them():
    """Each task was tried by experts of one band of quality: their mean is no level."""
    rng = np.random.default_rng(0)
    quality, level = np.linspace(-2.0, 2.0, 40), rng.normal(size=12)
    whole = quality[:, None] + level + 0.1 * rng.normal(size=(40, 12))
    tried = np.full_like(whole, np.nan)
    for task, first in enumerate(np.linspace(0, 28, 12).astype(int)):
        few = first + rng.permutation(12)[:6]
        tried[few, task] = whole[few, task]
    values, _, _ = standardised_columns(tried)
    known = ~np.isnan(values).all(axis=1)
    plain, joint = (np.nanmean(x[known], axis=1) for x in (values, joint_levels(values)))
    assert np.corrcoef(plain, quality[known])[0, 1] < 0.6
    assert np.corrcoef(joint, quality[known])[0, 1] > 0.95


def test_a_whole_table_has_no_levels_left():
    values, _, _ = standardised_columns(np.random.default_rng(1).normal(size=(9, 5)))
    np.testing.assert_allclose(joint_levels(values), values, atol=1e-8)


@pytest.mark.parametrize("shape", [(0, 0), (3, 0), (0, 3), (2, 2)])
def test_a_table_without_results_has_none_with_levels(shape):
    assert joint_levels(np.full(shape, np.nan)).shape == shape
