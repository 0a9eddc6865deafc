"""The posterior against the textbook's formula, and what evidence does to it."""

import dataclasses

import numpy as np
import pytest

from expertise_graph.retrieval import predict as posterior
from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.predict import GRAPH_SHARE, condition, doubt, over_graph, predict
from expertise_graph.retrieval.reliability import NEARNESS, Observation

NAN = np.nan


def belief(seed, n=8):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(n, n))
    return rng.normal(size=n), half @ half.T / n + 0.1 * np.eye(n), rng


def observed(values, reliability=0.6):
    return Observation(values=values, reliability=reliability, estimators={})


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("seen", [[0], [1, 4], [6, 2, 3, 0], list(range(8))])
def test_conditioning_is_that_of_the_joint_gaussian_with_an_offset(seed, seen):
    mean, covariance, rng = belief(seed)
    values = np.full(8, NAN)
    values[seen] = rng.normal(size=len(seen))
    found = condition(mean, covariance, observed(values))
    seen = sorted(seen)
    # Worth of 8 experts and one offset, seen through a matrix; in the form of precisions, which add.
    offset, noise = max(1.0 - len(seen) / 8, 1e-12), (1 - 0.36) / 0.36
    prior = np.zeros((9, 9))
    prior[:8, :8], prior[8, 8] = covariance, offset
    prior[:8, :8] *= doubt(
        values[seen] / 0.6 - mean[seen], covariance[np.ix_(seen, seen)] + offset + noise * np.eye(len(seen))
    )
    view = np.zeros((len(seen), 9))
    view[np.arange(len(seen)), seen] = 1.0
    view[:, 8] = 1.0
    after = np.linalg.inv(np.linalg.inv(prior) + view.T @ view / noise)
    start = np.linalg.solve(prior, np.append(mean, 0.0))
    expected = after @ (start + view.T @ (values[seen] / 0.6) / noise)
    np.testing.assert_allclose(found.mean, expected[:8], atol=1e-6)
    np.testing.assert_allclose(found.covariance, after[:8, :8], atol=1e-6)
    np.testing.assert_allclose(mean + found.weights @ found.surprise, found.mean)


def test_without_evidence_belief_stays():
    mean, covariance, _ = belief(3)
    found = condition(mean, covariance, observed(np.full(8, NAN)))
    np.testing.assert_array_equal(found.mean, mean)
    np.testing.assert_array_equal(found.covariance, covariance)
    assert found.weights.shape == (8, 0)


@pytest.mark.parametrize("k", [1, 3, 12, 60])
def test_what_is_as_surprising_as_one_task_in_twenty_raises_doubt_and_no_more(k):
    _, cover, rng = belief(5, n=k)
    draws = rng.multivariate_normal(np.zeros(k), cover, size=4000)
    assert np.mean([doubt(draw, cover) > 1 for draw in draws]) == pytest.approx(0.05, abs=0.012)
    assert np.mean([doubt(3 * draw, cover) for draw in draws[:500]]) > 2


def misled(seed):
    """Five experts: on fourteen tasks the first are the best, on the last one the last; its scores tell."""
    rng = np.random.default_rng(seed)
    quality = np.linspace(2.0, -2.0, 5)[:, None]
    outcomes = quality * np.append(np.ones(14), -1.0) + 0.15 * rng.normal(size=(5, 15))
    scores = np.full_like(outcomes, NAN)
    scores[:, 14] = outcomes[:, 14] + 0.3 * rng.normal(size=5)
    return History(
        experts=tuple(f"e{i}" for i in range(5)),
        tasks=tuple(f"t{j}" for j in range(15)),
        outcomes=outcomes,
        scores={"logme": scores},
    )


def test_clear_scores_prevail_over_a_history_that_misleads(monkeypatch):
    given = [misled(seed) for seed in range(20)]

    def agreement():
        return np.mean([np.corrcoef(predict(h, 14).mean, h.outcomes[:, 14])[0, 1] for h in given])

    assert agreement() > 0.8
    with_doubt = agreement()
    monkeypatch.setattr(posterior, "CREDIBLE", 1.0)
    assert agreement() < with_doubt


def test_evidence_makes_surer_and_the_more_reliable_moves_more():
    mean, covariance, rng = belief(4)
    values = rng.normal(size=8)
    weak, strong = (condition(mean, covariance, observed(values, r)) for r in (0.2, 0.95))
    assert (np.diag(strong.covariance) < np.diag(weak.covariance)).all()
    assert (np.diag(weak.covariance) < np.diag(covariance)).all()
    assert np.abs(strong.mean - values / 0.95).mean() < np.abs(weak.mean - values / 0.95).mean()


def test_the_graph_shares_among_near_experts_and_keeps_variances():
    covariance = np.diag([1.0, 4.0, 1.0])
    graph = np.array([[1.0, 0.9, -0.5], [0.9, 1.0, 0.3], [-0.5, 0.3, 1.0]])
    found = over_graph(covariance, graph)
    np.testing.assert_allclose(np.diag(found), [1.0, 4.0, 1.0])
    assert 0 < found[0, 1] <= GRAPH_SHARE * 2.0
    assert found[0, 1] > 10 * found[1, 2] > 0
    assert found[0, 2] == 0.0
    np.testing.assert_array_equal(over_graph(covariance, None), covariance)


def history(seed, *, experts=40, tasks=9, names=("logme",)):
    rng = np.random.default_rng(seed)
    outcomes = rng.normal(size=(experts, 1)) + rng.normal(size=(experts, tasks))
    scores = {name: outcomes + 0.5 * rng.normal(size=outcomes.shape) for name in names}
    return History(
        experts=tuple(f"e{i}" for i in range(experts)),
        tasks=tuple(f"t{j}" for j in range(tasks)),
        outcomes=outcomes,
        scores=scores,
    )


def test_scores_and_history_together_are_better_than_each():
    found = {"both": [], "history": [], "scores": []}
    for seed in range(5):
        given = history(seed)
        empty = dataclasses.replace(given, outcomes=np.full_like(given.outcomes, NAN))
        for column in range(3):
            truth = given.outcomes[:, column]
            found["both"].append(np.corrcoef(predict(given, column).mean, truth)[0, 1])
            found["history"].append(np.corrcoef(predict(given, column).forecast.mean, truth)[0, 1])
            found["scores"].append(np.corrcoef(predict(empty, column).mean, truth)[0, 1])
    assert np.mean(found["both"]) > np.mean(found["scores"]) > np.mean(found["history"]) > 0.5


def test_intervals_hold_what_they_say():
    inside = []
    for seed in range(20):
        given = history(seed, experts=60)
        found = predict(given, 0)
        truth = (given.outcomes[:, 0] - given.outcomes[:, 0].mean()) / given.outcomes[:, 0].std()
        inside.append((np.abs(truth - found.mean) < 1.2816 * found.deviation).mean())
    assert 0.75 < np.mean(inside) < 0.95


def test_results_on_the_target_are_not_looked_at():
    given = history(1, names=("logme", NEARNESS))
    changed = dataclasses.replace(given, outcomes=given.outcomes.copy())
    changed.outcomes[:, 2] = 100.0 - given.outcomes[:, 2] ** 2
    one, other = predict(given, 2), predict(changed, 2)
    np.testing.assert_array_equal(one.mean, other.mean)
    np.testing.assert_array_equal(one.covariance, other.covariance)


def test_the_parts_add_up():
    found = predict(history(2, names=("logme", NEARNESS)), 1)
    np.testing.assert_allclose(found.after_unrun + found.weights @ found.surprise, found.mean, atol=1e-9)
    assert (np.abs(found.after_unrun - found.forecast.mean) > 1e-6).any()
    assert set(found.scores.estimators) == {"logme"}
    assert set(found.unrun.estimators) == {NEARNESS}


def test_a_task_without_results_or_scores_changes_little_and_an_empty_expert_nothing_of_the_history():
    given = history(3)
    more = dataclasses.replace(
        given,
        tasks=(*given.tasks, "new"),
        outcomes=np.hstack([given.outcomes, np.full((40, 1), NAN)]),
        scores={n: np.hstack([s, np.full((40, 1), NAN)]) for n, s in given.scores.items()},
    )
    assert np.corrcoef(predict(more, 0).mean, predict(given, 0).mean)[0, 1] > 0.999
    wider = dataclasses.replace(
        given,
        experts=(*given.experts, "new"),
        outcomes=np.vstack([given.outcomes, np.full((1, 9), NAN)]),
        scores={n: np.vstack([s, np.full((1, 9), NAN)]) for n, s in given.scores.items()},
    )
    found = predict(wider, 0)
    np.testing.assert_allclose(found.forecast.mean[:40], predict(given, 0).forecast.mean, atol=1e-9)
    assert np.corrcoef(found.mean[:40], predict(given, 0).mean)[0, 1] > 0.999


def test_order_of_the_experts_does_not_matter():
    given = history(4)
    rows = np.random.default_rng(0).permutation(40)
    other = dataclasses.replace(
        given,
        experts=tuple(given.experts[i] for i in rows),
        outcomes=given.outcomes[rows],
        scores={n: s[rows] for n, s in given.scores.items()},
    )
    np.testing.assert_allclose(predict(other, 0).mean, predict(given, 0).mean[rows], atol=1e-8)


@pytest.mark.parametrize("experts", [1, 2, 3])
def test_few_experts_have_an_answer(experts):
    given = history(5, experts=experts, tasks=1)
    found = predict(given, 0)
    assert np.isfinite(found.mean).all()
    assert (found.deviation > 0).all()
    # With one estimator and no history the answer has its order.
    np.testing.assert_array_equal(np.argsort(found.mean), np.argsort(given.scores["logme"][:, 0]))
