"""LEEP and NCE against their definitions, with known values."""

import math

import numpy as np
import pytest
import torch

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.transferability.methods.leep import leep, nce
from tests.transferability import references


def drawn(seed, n, z, *, sharpness=2.0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3)
    scores = rng.normal(size=(n, z)) + sharpness * rng.normal(size=(3, z))[labels]
    probabilities = np.exp(scores)
    return probabilities / probabilities.sum(axis=1, keepdims=True), labels


def conditional_entropy(source, labels):
    total = 0.0
    for z in set(source):
        for y in set(labels):
            joint = np.mean([(a, b) == (z, y) for a, b in zip(source, labels, strict=True)])
            if joint:
                total += joint * math.log(joint / np.mean(np.array(source) == z))
    return total


@pytest.mark.parametrize(("n", "z"), [(50, 4), (20, 100), (12, 1)])
@pytest.mark.parametrize("sharpness", [0.0, 2.0, 30.0])
def test_leep_is_its_definition(n, z, sharpness):
    probabilities, labels = drawn(n, n, z, sharpness=sharpness)
    assert leep(probabilities, labels) == pytest.approx(references.leep(probabilities, labels), abs=1e-12)


@pytest.mark.parametrize(("n", "z"), [(50, 4), (20, 100), (12, 1)])
def test_nce_is_its_definition(n, z):
    probabilities, labels = drawn(n, n, z)
    source = probabilities.argmax(axis=1)
    assert nce(source, labels) == pytest.approx(conditional_entropy(source, labels), abs=1e-12)


def test_leep_of_hard_probabilities_is_nce():
    probabilities, labels = drawn(1, 40, 6)
    source = probabilities.argmax(axis=1)
    assert leep(np.eye(6)[source], labels) == pytest.approx(nce(source, labels), abs=1e-12)


def test_values_known_beforehand():
    halves = np.array([0, 0, 1, 1])
    # What tells nothing leaves the entropy of the labels; what tells all leaves none.
    assert leep(np.full((4, 5), 0.2), halves) == pytest.approx(-math.log(2), abs=1e-12)
    assert leep(np.eye(2)[halves], halves) == 0.0
    assert nce(halves, 1 - halves) == 0.0
    assert nce([7, 7, 7, 7], halves) == pytest.approx(-math.log(2), abs=1e-12)
    # One of two source classes is sure, the other is mixed: half the items at half the entropy.
    assert nce([0, 0, 1, 1], [0, 0, 0, 1]) == pytest.approx(-math.log(2) / 2, abs=1e-12)


def test_names_and_order_do_not_matter():
    probabilities, labels = drawn(2, 30, 5)
    order = np.random.default_rng(0).permutation(30)
    expected, source = leep(probabilities, labels), probabilities.argmax(axis=1)
    assert leep(probabilities[order][:, ::-1], np.array([9, -4, 2])[labels][order]) == pytest.approx(expected)
    assert nce(np.arange(5)[::-1][source][order], labels[order]) == pytest.approx(nce(source, labels))
    assert leep(probabilities[order], labels) < expected - 0.05


def test_better_source_answers_score_higher():
    scores = [leep(*drawn(3, 200, 8, sharpness=s)) for s in (0.0, 1.0, 3.0)]
    assert scores == sorted(scores)
    assert scores[2] - scores[0] > 0.3


def test_numpy_and_torch_and_half_precision_agree():
    probabilities, labels = drawn(4, 30, 50)
    expected = leep(probabilities, labels)
    assert leep(torch.from_numpy(probabilities), torch.from_numpy(labels)) == expected
    # Half precision does not quite add up to one; that is made good.
    assert leep(probabilities.astype(np.float16), labels) == pytest.approx(expected, abs=2e-3)
    source = probabilities.argmax(axis=1)
    assert nce(torch.from_numpy(source), labels.tolist()) == nce(source, labels)


def test_limits():
    probabilities, _ = drawn(5, 10, 4)
    assert math.copysign(1, leep(probabilities, np.full(10, 3))) == 1.0
    assert leep(probabilities, np.full(10, 3)) == 0.0
    assert nce(np.arange(10), np.full(10, 3)) == 0.0
    assert leep(np.full((1000, 7), 1 / 7), np.arange(1000)) == pytest.approx(-math.log(1000))
    assert nce(np.arange(1000), np.arange(1000)) == 0.0
    assert leep([[1.0, 0.0], [1.0, 0.0]], [0, 1]) == pytest.approx(-math.log(2))


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        (np.full((4, 2), 0.6), [0, 1, 0, 1]),
        (np.array([[1.5, -0.5], [0.5, 0.5]]), [0, 1]),
        (np.zeros((4, 2)), [0, 1, 0, 1]),
        (np.full((4, 2), np.nan), [0, 1, 0, 1]),
        (np.full((4, 2), 0.5), [0, 1, 0]),
        (np.full((4, 2), 0.5), [0.0, 1.0, 0.0, 1.0]),
        (np.ones(4), [0, 1, 0, 1]),
        (np.ones((1, 1)), [0]),
    ],
)
def test_what_is_no_probability_is_refused(probabilities, labels):
    with pytest.raises(InvalidInputError):
        leep(probabilities, labels)


@pytest.mark.parametrize(
    ("source", "labels"),
    [
        ([0, 1], [0, 1, 1]),
        ([0.0, 1.0], [0, 1]),
        ([0, 1], [0.5, 1.0]),
        ([0], [0]),
        (3, [0, 1]),
        ([[0, 1]], [0]),
    ],
)
def test_nce_needs_two_integer_vectors(source, labels):
    with pytest.raises(InvalidInputError):
        nce(source, labels)
