"""How far scores are trusted: what other tasks showed, shrunk to what is expected."""

import dataclasses

import numpy as np
import pytest

from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.reliability import (
    EXPECTED,
    NEARNESS,
    UNRUN,
    Observation,
    standardised_scores,
    weigh_scores,
)
from expertise_graph.retrieval.scale import standardised_columns

NAN = np.nan


def history(seed, *, experts=40, tasks=8, noise=(0.3,), names=("one",)):
    rng = np.random.default_rng(seed)
    outcomes = rng.normal(size=(experts, tasks))
    scores = {
        name: outcomes + level * rng.normal(size=outcomes.shape)
        for name, level in zip(names, noise, strict=True)
    }
    return History(
        experts=tuple(f"e{i}" for i in range(experts)),
        tasks=tuple(f"t{j}" for j in range(tasks)),
        outcomes=outcomes,
        scores=scores,
    )


def shrunk(correlations, n, expected):
    weight = n / (n + 4)
    return (weight * np.sum(correlations) + 3 * expected) / (weight * len(correlations) + 3)


def test_reliability_is_the_correlation_on_other_tasks_shrunk_by_three():
    given = history(0)
    other = [np.corrcoef(given.scores["one"][:, t], given.outcomes[:, t])[0, 1] for t in range(1, 8)]
    found = weigh_scores(given, 0)
    single = shrunk(other, 40, 0.3)
    assert found.estimators == {"one": pytest.approx(single)}
    # Of a single estimator the blend is the estimator, and expected to be as good.
    assert found.reliability == pytest.approx(shrunk(other, 40, single))
    assert found.noise == pytest.approx((1 - found.reliability**2) / found.reliability**2)


def test_without_history_the_expectation_stands():
    given = history(1, names=("LogME", "PARC"), noise=(0.5, 0.5))
    given = dataclasses.replace(given, outcomes=np.full((40, 8), NAN))
    found = weigh_scores(given, 0)
    assert found.estimators == {"LogME": EXPECTED["logme"], "PARC": 0.3}
    assert found.reliability == pytest.approx(EXPECTED["logme"])


@pytest.mark.parametrize("name", ["logme", "LogME", "LOG_ME", "log-me"])
def test_an_estimator_is_known_in_any_spelling(name):
    given = history(2, experts=3, names=(name,))
    assert weigh_scores(given, 0).estimators == {name: EXPECTED["logme"]}


def test_results_on_the_target_are_not_looked_at():
    given = history(3, names=("a", "b"), noise=(0.2, 2.0))
    changed = dataclasses.replace(given, outcomes=given.outcomes.copy())
    changed.outcomes[:, 0] = -(given.outcomes[:, 0] ** 3)
    one, other = weigh_scores(given, 0), weigh_scores(changed, 0)
    np.testing.assert_array_equal(one.values, other.values)
    assert (one.reliability, one.estimators) == (other.reliability, other.estimators)


def test_the_better_estimator_weighs_more():
    given = history(4, names=("good", "poor"), noise=(0.3, 3.0))
    found = weigh_scores(given, 0)
    assert found.estimators["good"] > 0.7 > 0.5 > found.estimators["poor"]
    standard = {n: standardised_columns(s)[0][:, 0] for n, s in given.scores.items()}
    weight = {n: r / (1 - r**2) for n, r in found.estimators.items()}
    blend = sum(weight[n] * standard[n] for n in standard) / sum(weight.values())
    assert np.corrcoef(found.values, blend)[0, 1] > 0.9999


def test_an_estimator_that_errs_everywhere_is_left_out():
    given = history(5, names=("good", "wrong"), noise=(0.3, 0.0))
    scores = {"good": given.scores["good"], "wrong": -given.outcomes}
    found = weigh_scores(dataclasses.replace(given, scores=scores), 0)
    alone = weigh_scores(dataclasses.replace(given, scores={"good": scores["good"]}), 0)
    np.testing.assert_allclose(found.values, alone.values)
    assert found.estimators["wrong"] == pytest.approx(0.02)


def test_experts_that_were_not_scored_have_no_value():
    given = history(6)
    given.scores["one"][5:, 0] = NAN
    found = weigh_scores(given, 0)
    assert list(np.flatnonzero(~np.isnan(found.values))) == [0, 1, 2, 3, 4]
    nothing = given.scores["one"].copy()
    nothing[:, 0] = NAN
    empty = weigh_scores(dataclasses.replace(given, scores={"one": nothing}), 0)
    assert np.isnan(empty.values).all()
    assert np.isnan(weigh_scores(dataclasses.replace(given, scores={}), 0).values).all()


def test_kinds_of_scores_are_kept_apart():
    given = history(7, names=("logme", NEARNESS), noise=(0.3, 0.5))
    unrun = weigh_scores(given, 0, lambda name: name in UNRUN)
    run = weigh_scores(given, 0, lambda name: name not in UNRUN)
    assert set(unrun.estimators) == {NEARNESS}
    assert set(run.estimators) == {"logme"}


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_unit_of_an_estimator_does_not_matter(scale):
    given = history(8)
    other = dataclasses.replace(given, scores={"one": scale * given.scores["one"] - 3.0})
    np.testing.assert_allclose(weigh_scores(other, 0).values, weigh_scores(given, 0).values, atol=1e-6)


def test_few_scores_on_the_target_take_their_deviation_from_other_tasks():
    scores = np.random.default_rng(9).normal(size=(30, 5))
    scores[2:, 0] = NAN
    scores[:2, 0] = 1.0, 1.001
    found = standardised_scores("x", scores, 0)[:2, 0]
    usual = np.median(scores[:, 1:].std(axis=0))
    deviation = np.sqrt((2 * 0.0005**2 + 4 * usual**2) / 6)
    np.testing.assert_allclose(found, np.array([-0.0005, 0.0005]) / deviation, rtol=1e-6)


def test_accuracies_count_by_their_log_odds():
    values = np.array([[0.5], [0.9], [0.99]])
    found = standardised_scores("ridge_accuracy", values, 0)[:, 0]
    odds = np.log(values / (1 - values))[:, 0]
    np.testing.assert_allclose(found, (odds - odds.mean()) / odds.std())
    plain = standardised_scores("other", values, 0)[:, 0]
    np.testing.assert_allclose(plain, (values[:, 0] - values.mean()) / values.std())


def test_one_absurd_score_does_not_hide_the_others():
    given = history(10)
    given.scores["one"][0, :] = 1e30
    found = weigh_scores(given, 0)
    assert np.isfinite(found.values).all()
    assert np.corrcoef(found.values[1:], given.outcomes[1:, 0])[0, 1] > 0.9


def test_equal_scores_are_all_average():
    given = dataclasses.replace(history(11), scores={"one": np.full((40, 8), 2.5)})
    found = weigh_scores(given, 0)
    np.testing.assert_array_equal(found.values, np.zeros(40))


def test_noise_falls_with_reliability():
    noise = [Observation(values=np.zeros(1), reliability=r, estimators={}).noise for r in (0.1, 0.5, 0.9)]
    np.testing.assert_allclose(noise, [99.0, 3.0, 19 / 81])
