"""Results that only cards claim: they tell something, less than measured ones, and a liar gains little."""

import dataclasses

import numpy as np
import pytest

from expertise_graph.retrieval.claims import BETWEEN, BIAS, WITHIN, claims_of
from expertise_graph.retrieval.forecast import forecast, shares
from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.scale import on_open_scale

EXPERTS, TASKS = 12, 16
TARGET = TASKS


def planted(seed=0, *, spread=1.0):
    """Log-odds (E, T + 1) of experts of different quality on tasks of different difficulty; the quality."""
    rng = np.random.default_rng(seed)
    quality = np.linspace(-1.0, 1.0, EXPERTS) * spread
    difficulty = rng.normal(0.8, 0.6, TASKS + 1)
    return difficulty + quality[:, None] + 0.4 * rng.standard_normal((EXPERTS, TASKS + 1)), quality


def history(outcomes, claims=None):
    hidden = outcomes.copy()
    hidden[:, TARGET] = np.nan
    tasks = tuple(f"task-{t}" for t in range(outcomes.shape[1]))
    ids = tuple(f"expert-{e}" for e in range(len(outcomes)))
    return History(experts=ids, tasks=tasks, outcomes=hidden, claims=claims)


def only(values, rows, columns):
    """The same values, NaN but for some experts and tasks."""
    found = np.full_like(values, np.nan)
    found[np.ix_(rows, columns)] = values[np.ix_(rows, columns)]
    return found


def without(values, row):
    found = values.copy()
    found[row] = np.nan
    return found


@pytest.mark.parametrize("claimed", [1, 8, TASKS])
def test_a_liar_who_claims_everything_gains_little_whatever_the_number_of_claims(claimed):
    outcomes, _ = planted()
    for liar in (0, EXPERTS // 2):
        measured = without(outcomes, liar)
        nothing = forecast(history(measured), TARGET)
        lies = np.full_like(outcomes, np.nan)
        lies[liar, :claimed] = on_open_scale(np.ones(claimed))
        found = forecast(history(measured, lies), TARGET)
        moved = found.mean - nothing.mean
        # By as much as an expert differs from the mean one, at most half, and others hardly.
        assert 0.0 < moved[liar] < 0.5
        assert np.abs(np.delete(moved, liar)).max() < 0.05
        believed = measured.copy()
        believed[liar, :claimed] = lies[liar, :claimed]
        assert moved[liar] < 0.4 * (forecast(history(believed), TARGET).mean - nothing.mean)[liar]
        assert np.argmax(found.mean) != liar


def test_the_more_is_claimed_beyond_what_is_credible_the_less_it_counts():
    outcomes, _ = planted()
    measured, moves = without(outcomes, 3), []
    nothing = forecast(history(measured), TARGET).mean[3]
    for excess in (1.0, 2.0, 4.0, 8.0):
        claims = np.full_like(outcomes, np.nan)
        claims[3, :TASKS] = np.nanmean(measured, axis=0)[:TASKS] + excess
        moves.append(forecast(history(measured, claims), TARGET).mean[3] - nothing)
    assert moves[0] > 0
    assert max(moves) < 0.8
    assert moves[-1] <= max(moves)


def test_honest_claims_order_experts_that_nobody_measured():
    outcomes, quality = planted(1)
    rows = [1, 4, 7, 10]
    measured = outcomes.copy()
    measured[rows] = np.nan
    claims = only(outcomes + BIAS, rows, range(TASKS))
    found = forecast(history(measured, claims), TARGET)
    assert list(np.argsort(found.mean[rows])) == [0, 1, 2, 3]
    assert found.claimed[rows].tolist() == [TASKS] * 4
    assert found.results[rows].tolist() == [0] * 4
    assert not found.claimed[[0, 2, 3]].any()
    # They are less sure than measured ones, and surer than none.
    full, none = forecast(history(outcomes), TARGET), forecast(history(measured), TARGET)
    for row in rows:
        assert full.variance[row] < found.variance[row] < none.variance[row]
    assert quality[rows[0]] < quality[rows[-1]]


def test_a_measured_result_counts_instead_of_the_claim_about_the_same():
    outcomes, _ = planted()
    claims = only(outcomes + 3.0, range(EXPERTS), range(TASKS))
    with_claims, alone = forecast(history(outcomes, claims), TARGET), forecast(history(outcomes), TARGET)
    np.testing.assert_allclose(with_claims.mean, alone.mean)
    assert not with_claims.claimed.any()


def test_claims_on_the_very_task_are_not_looked_at():
    outcomes, _ = planted()
    measured = without(outcomes, 0)
    claims = np.full_like(outcomes, np.nan)
    claims[0, TARGET] = 5.0
    np.testing.assert_allclose(
        forecast(history(measured, claims), TARGET).mean, forecast(history(measured), TARGET).mean
    )


def test_what_claims_are_off_by_is_learnt_where_both_are_known():
    outcomes, _ = planted(2)
    measured = without(outcomes, 5)
    claims = np.full_like(outcomes, np.nan)
    claims[5, :TASKS] = outcomes[5, :TASKS]
    unknown = claims_of(history(measured, claims), TARGET)
    assert unknown.within == pytest.approx(WITHIN**2)
    assert unknown.offset[5] == pytest.approx(BETWEEN**2)
    # Eight authors whose cards say what was measured: the bias goes, and so does most of the doubt.
    exact = claims.copy()
    exact[6:, :8] = outcomes[6:, :8]
    exact[0, :8], exact[1, :8] = outcomes[0, :8], outcomes[1, :8]
    known = claims_of(history(measured, exact), TARGET)
    assert np.nanmean(known.values[5]) - np.nanmean(unknown.values[5]) == pytest.approx(
        BIAS * 8 / 12, abs=0.01
    )
    assert known.within < 0.2 * WITHIN**2
    assert known.offset[5] < 0.5 * BETWEEN**2
    # The authors who are known are believed more than the one who is not; nobody is believed blindly.
    assert known.offset[6] < 0.1 * known.offset[5]
    assert known.offset[5] >= 0.25


def test_an_author_who_was_caught_is_believed_less():
    outcomes, _ = planted(3)
    measured = outcomes.copy()
    measured[2, 8:] = np.nan
    honest, caught = (np.full_like(outcomes, np.nan) for _ in range(2))
    honest[2, :TASKS], caught[2, :TASKS] = outcomes[2, :TASKS], outcomes[2, :TASKS] + 3.0
    alone = forecast(history(measured), TARGET).mean[2]
    moved = [forecast(history(measured, c), TARGET).mean[2] - alone for c in (honest, caught)]
    # What was added to every claim is known from those that were measured, and taken off the others.
    assert abs(moved[1]) < 0.35
    taken = claims_of(history(measured, caught), TARGET).values[2, 8:TASKS]
    assert taken.mean() == pytest.approx(-0.9, abs=0.3)


def test_tasks_that_only_cards_know_compare_claims_with_each_other():
    outcomes, _ = planted(4)
    measured = outcomes.copy()
    measured[:, 8:] = np.nan
    measured[[0, EXPERTS - 1]] = np.nan
    claims = only(outcomes, [0, EXPERTS - 1], range(8, TASKS))
    found = forecast(history(measured, claims), TARGET)
    assert found.mean[EXPERTS - 1] > found.mean[0] + 0.1
    lonely = only(outcomes, [0], range(8, TASKS))
    assert claims_of(history(measured, lonely), TARGET) is None


def test_moves_of_results_and_claims_add_up_and_are_told_apart():
    outcomes, _ = planted(5)
    measured = outcomes.copy()
    measured[3, 8:] = np.nan
    claims = only(outcomes, [3], range(TASKS))
    given = history(measured, claims)
    moves, _, claimed = shares(given, TARGET, 3)
    assert moves.sum() == pytest.approx(forecast(given, TARGET).alone[3])
    assert np.flatnonzero(claimed).tolist() == list(range(8, TASKS))
    assert (moves[8:TASKS] != 0).all()


def test_without_claims_nothing_changes():
    outcomes, _ = planted(6)
    none = np.full_like(outcomes, np.nan)
    for field in ("mean", "covariance"):
        np.testing.assert_array_equal(
            getattr(forecast(history(outcomes, none), TARGET), field),
            getattr(forecast(dataclasses.replace(history(outcomes)), TARGET), field),
        )
