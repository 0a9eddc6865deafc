"""What is believed after the evidence of a query: runs, results on the very task, history, affinity."""

import numpy as np
import pytest

from expertise_graph.retrieval.posterior import infer
from expertise_graph.retrieval.results import Measured
from expertise_graph.retrieval.scale import log_odds
from tests.retrieval.searches import ITEMS, ran, search

NEAR = np.array([[1.0, 0.0, 0.0], [0.99, 0.14, 0.0], [0.0, 0.0, 1.0], [0.3, 0.5, 0.5], [0.0, 1.0, 0.2]])


def level(store, outcomes, **more):
    return infer(search(store, np.eye(len(outcomes)), outcomes=outcomes, **more))


def quality(experts=6, tasks=5, seed=0, spread=1.0):
    """Return results that are mostly the expert's general quality, the first best, the last worst."""
    rng = np.random.default_rng(seed)
    return np.linspace(spread, -spread, experts)[:, None] + 0.1 * rng.normal(size=(experts, tasks))


def test_what_was_run_is_predicted_near_its_probe(store):
    given = {"e0": 0.9, "e1": 0.7, "e2": 0.5}
    belief = infer(ran(search(store, np.eye(4)), **given))
    low, high = belief.interval()
    for i, accuracy in enumerate(given.values()):
        assert low[i] < accuracy < high[i]
    assert belief.mean[0] > belief.mean[1] > belief.mean[2]
    # The one that was not run lies between, and least is known of it.
    assert belief.mean[2] < belief.mean[3] < belief.mean[0]
    assert np.argmax(np.diag(belief.covariance)) == 3
    assert belief.scale.known


def test_near_experts_share_what_a_run_tells(store):
    good = infer(ran(search(store, NEAR), e0=0.9, e2=0.6))
    bad = infer(ran(search(store, NEAR), e0=0.6, e2=0.9))
    assert good.mean[1] > bad.mean[1]
    assert good.mean[1] > good.mean[4]
    before = infer(search(store, NEAR)).covariance
    assert before[0, 1] > before[0, 3] > before[0, 2]
    assert np.linalg.eigvalsh(good.covariance).min() > 0


def test_history_orders_experts_that_nothing_else_is_known_of(store):
    belief = level(store, quality())
    assert (np.diff(belief.mean) < 0).all()
    assert belief.mean == pytest.approx(np.linspace(1, -1, 6), abs=0.5)
    untold = infer(search(store, np.eye(6)))
    assert np.ptp(untold.mean) == pytest.approx(0.0, abs=1e-9)
    assert not untold.scale.known
    assert (np.diag(belief.covariance) - belief.scale.doubt**2 < np.diag(untold.covariance)).all()


def test_evidence_on_the_task_outweighs_a_history_that_misleads(store):
    noise = np.random.default_rng(0).normal(size=(6, 3))
    accuracies = {"e5": 0.95, "e4": 0.9, "e3": 0.8, "e2": 0.6, "e1": 0.5, "e0": 0.3}
    found = search(store, np.eye(6), outcomes=np.linspace(0.5, -0.5, 6)[:, None] + 0.5 * noise)
    assert np.argmax(infer(found).mean) in (0, 1)
    after = infer(ran(found, **accuracies)).mean
    assert np.argmax(after) == 5
    assert np.argmin(after) == 0


def test_the_draws_are_those_of_the_joint_gaussian(store):
    belief = infer(ran(search(store, NEAR), e0=0.9, e2=0.6))
    draws = belief.draws(200_000, 3)
    np.testing.assert_allclose(draws.mean(axis=0), belief.mean, atol=0.01)
    np.testing.assert_allclose(np.cov(draws.T), belief.covariance, atol=0.02)
    np.testing.assert_array_equal(belief.draws(10, 3), belief.draws(10, 3))
    assert (belief.draws(10, 3) != belief.draws(10, 4)).any()
    low, high = belief.interval()
    quantiles = np.quantile(1 / (1 + np.exp(-draws)), [0.1, 0.9], axis=0)
    np.testing.assert_allclose([low, high], quantiles, atol=0.01)


@pytest.mark.parametrize("accuracy", [0.95, 0.7, 0.4])
def test_a_result_on_the_very_task_is_what_is_predicted_of_that_expert(store, accuracy):
    measured = {"dir:e1": Measured(accuracy, 5000, "run:1")}
    belief = infer(ran(search(store, np.eye(4), measured=measured), e0=0.8, e1=0.8, e2=0.6))
    assert belief.mean[1] == pytest.approx(log_odds(accuracy, 5000), abs=0.05)
    low, high = belief.interval()
    assert high[1] - low[1] < 0.05
    few = {"dir:e1": Measured(accuracy, 20, "run:1")}
    vague = infer(ran(search(store, np.eye(4), measured=few), e0=0.8, e1=0.8, e2=0.6))
    assert np.ptp(vague.interval(), axis=0)[1] > high[1] - low[1]


def test_a_failed_run_pushes_that_expert_and_near_ones_down(store):
    before = infer(ran(search(store, NEAR), e0=0.8, e2=0.75, e4=0.7))
    measured = {"dir:e0": Measured(0.1, 500, "run:1")}
    after = infer(ran(search(store, NEAR, measured=measured), e0=0.8, e2=0.75, e4=0.7))
    fall = before.mean - after.mean
    assert np.argmax(fall) == 0
    assert after.mean[0] == after.mean.min()
    assert fall[1] > 2 * max(abs(fall[2]), abs(fall[4]))


def test_results_on_the_task_tell_its_level_where_nothing_was_run(store):
    measured = {"dir:e0": Measured(0.8, 1000, "run:1"), "dir:e1": Measured(0.6, 1000, "run:2")}
    belief = infer(search(store, np.eye(4), measured=measured))
    assert belief.scale.known
    assert belief.mean[:2] == pytest.approx([log_odds(0.8, 1000), log_odds(0.6, 1000)], abs=0.1)
    assert belief.mean[1] < belief.mean[2] < belief.mean[0]


def test_affinity_is_the_cosine_to_the_task_and_unknown_without_a_place(store):
    vectors = np.concatenate([NEAR[:4], np.zeros((1, 3))])
    found = ran(search(store, vectors), e0=0.9)
    found.responses["dir:e0"] = np.array([0.0, 0.0, 2.0], dtype=np.float32)
    belief = infer(found)
    np.testing.assert_allclose(belief.affinity[:4], found.pool.vectors[:4, 2], atol=1e-6)
    assert np.isnan(belief.affinity[4])
    assert belief.task_vector.tolist() == [0.0, 0.0, 2.0]
    assert np.isfinite(belief.mean).all()
    nowhere = infer(ran(search(store, vectors), e0=0.9))
    assert nowhere.task_vector is None
    assert np.isnan(nowhere.affinity).all()


def test_the_order_of_the_runs_does_not_matter(store):
    one = infer(ran(search(store, NEAR), e0=0.9, e2=0.6, e3=0.7))
    other = infer(ran(search(store, NEAR), e3=0.7, e0=0.9, e2=0.6))
    np.testing.assert_array_equal(one.mean, other.mean)
    np.testing.assert_array_equal(one.covariance, other.covariance)


def test_equal_experts_are_told_to_be_equal(store):
    found = ran(search(store, np.eye(4)), e0=0.8, e1=0.8)
    belief = infer(found)
    assert belief.mean[0] == pytest.approx(belief.mean[1], abs=1e-9)
    assert belief.mean[0] == pytest.approx(log_odds(0.8, ITEMS), abs=0.3)


@pytest.mark.parametrize("experts", [1, 2])
def test_a_zoo_of_one_or_two_is_believed_in(store, experts):
    belief = infer(ran(search(store, np.eye(3)[:experts]), e0=0.8))
    low, high = belief.interval()
    assert (low < belief.draws(1, 0)[0] * 0 + 0.8).all()
    assert low[0] < 0.8 < high[0]


def test_raced_experts_share_the_luck_of_their_validation_items(store):
    """Three results on the same thirty items tell less of the level of a task than three on other items."""

    def raced(same):
        given = {f"dir:e{i}": Measured(0.8, 30, "race", raced=same) for i in range(3)}
        return infer(search(store, np.eye(5), outcomes=quality(experts=5), measured=given))

    shared, apart = raced(same=True).covariance, raced(same=False).covariance
    assert np.diag(shared)[3:].mean() > 1.03 * np.diag(apart)[3:].mean()
    # Beside the level, which is common to all, experts are told from each other rather better.
    between = np.array([1.0, -1.0, 0.0, 0.0, 0.0])
    assert between @ shared @ between < between @ apart @ between
