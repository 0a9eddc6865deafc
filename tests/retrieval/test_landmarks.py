"""Landmarks cover the graph and are cheap."""

import numpy as np
import pytest

from expertise_graph.retrieval.acquisition import choose_landmarks
from tests.nodes import expert


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
