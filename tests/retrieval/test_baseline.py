"""The raw input's worth: the same number as the estimator gives, without torch."""

import numpy as np
import pytest

from expertise_graph.retrieval.baseline import ridge_accuracy
from expertise_graph.transferability import ridge_accuracy as estimator


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("n", "d"), [(40, 8), (40, 40), (30, 200), (150, 20)])
def test_it_is_the_estimator_in_numpy(seed, n, d):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2 + seed % 4, n)
    centres = rng.normal(size=(6, d))
    inputs = (rng.normal(size=(n, d)) + (seed % 3) * 0.4 * centres[labels]).astype(np.float32)
    assert ridge_accuracy(inputs, labels) == estimator(inputs, labels)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_unit_of_the_input_does_not_matter(scale):
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    inputs = rng.normal(size=(30, 5)) + rng.normal(size=(3, 5))[labels]
    assert ridge_accuracy(scale * inputs, labels) == ridge_accuracy(inputs, labels) > 0.5


@pytest.mark.parametrize("labels", [np.arange(12) % 2, np.zeros(12, dtype=int), np.arange(12)])
def test_constant_input_and_classes_of_any_size(labels):
    for inputs in (np.ones((12, 3)), np.zeros((12, 3)), np.eye(12)[:, :1]):
        assert ridge_accuracy(inputs, labels) == estimator(inputs, labels)
