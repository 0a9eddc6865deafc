"""The estimators of source answers against their definitions, and input at the limits."""

import math

import numpy as np
import pytest

from expertise_graph.core.errors import InvalidInputError
from tests.transferability.cases import HEADS
from tests.transferability.test_estimators import check

every_head = pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)


@every_head
@pytest.mark.parametrize(("n", "z"), [(60, 4), (20, 50)])
def test_source_answers_are_scored_by_the_definition(head, n, z):
    rng = np.random.default_rng(n)
    labels, source = rng.integers(0, 3, n), rng.integers(0, z, n)
    labels[:3], source[0] = [0, 1, 2], z - 1
    labels[5] = 3
    given, order = head.draw(source), rng.permutation(n)
    expected = head.reference(given, labels)
    assert head.estimator(given, labels) == pytest.approx(expected, abs=1e-12)
    assert head.estimator(given[order], np.array([9, -4, 2, 7])[labels][order]) == pytest.approx(expected)
    assert head.estimator(given[order], labels) != pytest.approx(expected, abs=1e-3)


@every_head
def test_source_answers_at_the_limits(head):
    labels = np.repeat([0, 1, 2], [12, 5, 3])
    check(head.estimator(head.draw(np.arange(20) % 4), np.full(20, 7)), head.one_class)
    check(head.estimator(head.draw(np.zeros(20, dtype=int)), labels), head.constant)
    check(head.estimator(head.draw(np.arange(1000)), np.arange(1000)), head.singles)
    check(head.estimator(head.draw(np.array([0, 1])), [0, 1]), 0.0)


@every_head
@pytest.mark.parametrize(
    ("source", "labels"),
    [([0], [0]), ([0, 1], [0]), ([0, 1], [0.5, 1.0]), ([0, 1], [math.nan, 0]), ([0, 1], ["a", "b"])],
)
def test_source_answers_that_cannot_be_scored_are_refused(head, source, labels):
    with pytest.raises(InvalidInputError):
        head.estimator(head.draw(np.array(source)), labels)
