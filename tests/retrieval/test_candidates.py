"""Who may answer: who stands for whom, who is recalled from a large zoo."""

import numpy as np
import pytest

from expertise_graph.core.types import METADATA
from expertise_graph.retrieval.candidates import collapse, draw, recall
from tests.nodes import expert


def test_of_near_duplicates_the_first_stands_for_the_others():
    zoo = [expert(name) for name in "abcd"]
    zoo.append(expert("e", weights_sha=zoo[2].weights_sha))
    similarity = np.eye(5)
    similarity[0, 1] = similarity[1, 0] = 0.9995
    similarity[0, 3] = similarity[3, 0] = 0.99
    kept, stands_for = collapse(zoo, similarity)
    assert kept == [0, 2, 3]
    assert stands_for == {"dir:a": ("dir:b",), "dir:c": ("dir:e",)}


def crowd(n=50):
    return [expert(str(i), source=METADATA if i % 5 == 0 else "dir") for i in range(n)]


def ids(*numbers):
    return {f"dir:{i}" for i in numbers}


def test_a_zoo_that_is_small_enough_is_begun_with_whole():
    zoo = crowd(20)
    assert draw(zoo, set(), excluded=ids(3), size=20, seed=0) == zoo


@pytest.mark.parametrize("seed", range(5))
def test_a_search_begins_with_those_run_then_with_those_that_may_be(seed):
    zoo = crowd()
    drawn = draw(zoo, ids(0, 7), excluded=ids(*range(25)), size=12, seed=seed)
    found = {e.id for e in drawn}
    assert len(drawn) == 12
    assert ids(0, 7) <= found
    assert all(e.runnable and int(e.name) >= 25 for e in drawn if e.name not in ("0", "7"))
    assert [e for e in zoo if e.id in found] == drawn
    assert drawn == draw(zoo, ids(0, 7), excluded=ids(*range(25)), size=12, seed=seed)
    # Of 50, 20 have weights and meet the constraints; with 23 all of them are there.
    assert ids(*(i for i in range(25, 50) if i % 5)) <= {
        e.id for e in draw(zoo, ids(0, 7), excluded=ids(*range(25)), size=23, seed=seed)
    }


def test_draws_differ_by_seed():
    draws = {tuple(e.id for e in draw(crowd(), set(), excluded=set(), size=10, seed=s)) for s in range(8)}
    assert len(draws) == 8


def test_recalled_are_those_run_a_third_by_history_and_the_nearest():
    zoo = crowd()
    near = {f"dir:{i}": i / 50 for i in range(50) if i % 5}
    promise = {f"dir:{i}": -float(i) for i in range(20)}
    found = recall(zoo, ids(30), near=near, promise=promise, size=9)
    assert found == ids(30, 0, 1, 2, 49, 48, 47, 46, 44)
    assert recall(zoo, ids(30), near={}, promise=promise, size=9) == ids(30, *range(8))
    assert recall(zoo, set(), near=near, promise={}, size=3) == ids(49, 48, 47)
    assert recall(zoo, set(), near={}, promise={}, size=99) == {e.id for e in zoo}
