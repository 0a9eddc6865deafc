"""Statistics against their direct definitions."""

import math

import numpy as np
import pytest

from expertise_graph.core import Z_80, Z_95, normal_cdf, normal_pdf, pearson, ranks, spearman


def test_the_normal_distribution_is_that_of_the_error_function():
    z = np.linspace(-6, 6, 25)
    assert normal_cdf(z) == pytest.approx([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in z], abs=1e-12)
    assert normal_pdf(z) == pytest.approx(np.exp(-z * z / 2) / math.sqrt(2 * math.pi))
    assert normal_cdf(np.array([Z_80, Z_95])) == pytest.approx([0.9, 0.975], abs=1e-12)


def test_correlations_are_those_of_numpy_and_none_where_there_is_none():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 30))
    y[3] = y[4]
    assert pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert spearman(x, y) == pytest.approx(np.corrcoef(ranks(x), ranks(y))[0, 1])
    assert pearson(x, np.ones(30)) is None
    assert spearman(np.ones(30), y) is None
    assert pearson(x[:1], y[:1]) is None
