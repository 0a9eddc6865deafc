"""Which experts are run: landmarks that cover the graph, then by expected improvement; when to stop."""

import dataclasses

import numpy as np
import pytest

from expertise_graph.core.types import METADATA, Query
from expertise_graph.retrieval.acquisition import (
    chance_of_change,
    choose_landmarks,
    expected_improvement,
    next_expert,
)
from expertise_graph.retrieval.posterior import infer
from tests.nodes import expert
from tests.retrieval.searches import ran, search


def clusters(sizes, seed=0):
    """Similarity of experts in groups: high inside, low between; and the group of each."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    vectors = np.eye(len(sizes) + 30)[group] + 0.02 * rng.normal(size=(len(group), len(sizes) + 30))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T, group


@pytest.mark.parametrize("seed", range(5))
def test_every_cluster_has_a_landmark_before_any_has_two(seed):
    similarity, group = clusters([12, 3, 7, 1, 5], seed)
    sizes = np.random.default_rng(seed).integers(1e6, 1e9, size=len(group))
    experts = [expert(f"e{i}", params=int(p)) for i, p in enumerate(sizes)]
    for k in range(1, 6):
        chosen = choose_landmarks(experts, similarity, k)
        assert len({group[i] for i in chosen}) == k
    # The first stands for most of the zoo.
    assert group[choose_landmarks(experts, similarity, 1)[0]] == 0


def test_the_cheap_one_is_taken_among_equals():
    similarity = np.kron(np.eye(3), np.ones((3, 3)))
    experts = [expert(f"e{i}", params=p) for i, p in enumerate([9e8, 1e6, 3e7, 2e6, 8e8, 4e8, 7e9, 5e8, 3e5])]
    assert sorted(choose_landmarks(experts, similarity, 3)) == [1, 3, 8]


def test_distance_weighs_more_than_size():
    similarity = np.array([[1.0, 0.95, 0.1], [0.95, 1.0, 0.1], [0.1, 0.1, 1.0]])
    experts = [expert("a", params=10**6), expert("b", params=10**6), expert("huge", params=10**10)]
    assert set(choose_landmarks(experts, similarity, 2)) > {2}


@pytest.mark.parametrize("k", [1, 4, 6, 50])
def test_nobody_is_chosen_twice(k):
    experts = [expert(f"e{i}") for i in range(6)]
    for similarity in (np.ones((6, 6)), np.eye(6), clusters([3, 3])[0]):
        chosen = choose_landmarks(experts, similarity, k)
        assert len(set(chosen)) == len(chosen) == min(k, 6)
        assert set(chosen) <= set(range(6))


def test_the_order_is_that_of_smaller_choices():
    similarity, group = clusters([4, 4, 4], 1)
    experts = [expert(f"e{i}") for i in range(len(group))]
    many = choose_landmarks(experts, similarity, 8)
    assert [choose_landmarks(experts, similarity, k) for k in (1, 3, 5)] == [many[:1], many[:3], many[:5]]


@pytest.fixture
def belief(store):
    return infer(ran(search(store, np.eye(4)), e0=0.8))


def changed(belief, mean, deviation, best):
    """Return a belief with other numbers in standard units, and the same in log-odds."""
    prediction = dataclasses.replace(
        belief.prediction, mean=np.asarray(mean), covariance=np.diag(np.square(deviation))
    )
    return dataclasses.replace(
        belief,
        prediction=prediction,
        best_seen=best,
        mean=np.asarray(mean),
        covariance=np.diag(np.square(deviation)),
    )


@pytest.mark.parametrize("best", [-3.0, -0.2, 0.0, 1.0, 4.0])
def test_expected_improvement_is_the_integral_of_what_exceeds_the_best(belief, best):
    mean, deviation = np.array([-1.0, 0.0, 0.5, 2.0]), np.array([0.5, 1.0, 0.1, 2.0])
    found = expected_improvement(changed(belief, mean, deviation, best), 4)
    for value, m, s in zip(found, mean, deviation, strict=True):
        grid = np.linspace(m - 12 * s, m + 12 * s, 200_001)
        density = np.exp(-0.5 * ((grid - m) / s) ** 2) / (s * np.sqrt(2 * np.pi))
        assert value == pytest.approx(np.trapezoid(np.maximum(grid - best, 0) * density, grid), abs=1e-7)


def test_what_is_nearly_certain_improves_by_its_lead_or_not_at_all(belief):
    certain = changed(belief, [1.0, 3.0], [1e-9, 1e-9], 2.0)
    np.testing.assert_allclose(expected_improvement(certain, 2), [0.0, 1.0], atol=1e-6)


def test_before_anything_is_seen_the_best_mean_stands_for_the_best_seen(belief):
    found = expected_improvement(changed(belief, [1.0, 0.0], [1.0, 1.0], np.nan), 2)
    known = expected_improvement(changed(belief, [1.0, 0.0], [1.0, 1.0], 1.0), 2)
    np.testing.assert_array_equal(found, known)


def test_experts_outside_the_candidates_are_not_judged(belief):
    assert len(expected_improvement(changed(belief, [1.0, 0.0, 9.0], [1.0] * 3, 1.0), 2)) == 2


def test_the_most_promising_expert_is_next_and_those_run_or_excluded_are_not(store):
    vectors = np.eye(4)
    found = ran(search(store, vectors, excluded={"dir:e3": ("`max_params=1`",)}), e0=0.6)
    state = changed(infer(found), [0.0, 0.2, 0.9, 5.0], [0.5] * 4, 0.0)
    assert next_expert(found, state) == 2
    found.unusable["dir:e2"] = "gone"
    assert next_expert(found, state) == 1
    found.evidence["dir:e1"] = found.evidence["dir:e0"]
    assert next_expert(found, state) is None
    assert found.stopped is None


def test_one_known_by_name_only_is_never_run(store):
    experts = [expert("e0"), expert("e1", source=METADATA), expert("e2")]
    found = ran(search(store, np.eye(3), experts=experts), e0=0.6)
    assert next_expert(found, changed(infer(found), [0.0, 9.0, 0.1], [0.5] * 3, 0.0)) == 2


@pytest.mark.parametrize("budget", [1, 2, 3])
def test_no_more_experts_are_run_than_the_budget_allows(store, budget):
    found = ran(search(store, np.eye(4), query=Query(budget=budget)), e0=0.6)
    found.unusable["dir:e3"] = "gone"
    wide = changed(infer(found), [0.0] * 4, [1.0] * 4, 0.0)
    assert (next_expert(found, wide) is None) == (budget <= 2)
    assert found.stopped is None


def test_in_time_cheap_improvement_comes_first_and_what_takes_too_long_never(store):
    experts = [expert(f"e{i}") for i in range(3)]
    found = search(store, np.eye(3), experts=experts, query=Query(budget=None, seconds=50.0))
    for node, seconds in zip(experts, (0.02, 0.2, 9.0), strict=True):
        store.put_expert(node)
        found.runner.timings.note(node, 1, seconds)
    assert [round(found.cost(i)) for i in range(3)] == [2, 20, 900]
    # e1 promises twice as much as e0 and takes ten times as long; e2 does not fit the time.
    state = changed(infer(found), [0.0, 0.9, 5.0], [1.0] * 3, 0.0)
    gain = expected_improvement(state, 3)
    assert 1 < gain[1] / gain[0] < 9
    assert next_expert(found, state) == 0
    unhurried = dataclasses.replace(found, query=Query(budget=3))
    assert next_expert(unhurried, state) == 2
    assert next_expert(dataclasses.replace(found, query=Query(budget=None, seconds=0.0)), state) is None


def test_the_search_stops_when_no_other_is_likely_to_be_the_best(store):
    found = ran(search(store, np.eye(3)), e0=0.9)
    sure = changed(infer(found), [5.0, 0.0, 0.0], [0.5] * 3, 5.0)
    assert chance_of_change(found, sure) == 0.0
    assert next_expert(found, sure) is None
    assert found.stopped == "no expert that was not run is likely to be the best"


def test_the_chance_of_a_change_is_the_share_of_draws_that_another_wins(store):
    excluded = {"dir:e2": ("`tags=x`",)}
    found = ran(search(store, np.eye(3), excluded=excluded), e0=0.9)
    state = changed(infer(found), [0.5, 0.0, 9.0], [1.0] * 3, 0.5)
    # P(N(0, 1) > N(.5, 1)); the one that is excluded never wins.
    assert chance_of_change(found, state) == pytest.approx(0.3618, abs=0.05)
    assert chance_of_change(found, state) == chance_of_change(found, state)


def test_nothing_stops_a_search_that_has_run_nothing(store):
    found = search(store, np.eye(3))
    state = changed(infer(found), [5.0, 0.0, 0.0], [1e-3] * 3, np.nan)
    assert next_expert(found, state) == 0
    assert found.stopped is None
