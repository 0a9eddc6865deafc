"""Covariates: a planted one is found, a meaningless one is not, and each kind has its kernel."""

import numpy as np
import pytest

from expertise_graph.retrieval.covariates import Covariate, covariates_of, explained, weigh

NAN = np.nan


def names(n):
    return [f"e{i}" for i in range(n)]


def test_numbers_and_words_become_covariates():
    experts = names(5)
    given = {
        "e0": {"size": 1.0, "family": "a", "only": "x", "same": 3.0},
        "e1": {"size": 3.0, "family": "b", "same": 3.0},
        "e2": {"size": 2.0, "family": "a", "same": 3.0},
        "e3": {"family": "b"},
    }
    found = {t.name: t for t in covariates_of(experts, given)}
    assert set(found) == {"size", "family"}
    deviation = np.std([1.0, 3.0, 2.0])
    np.testing.assert_allclose(
        found["size"].values, [-1 / deviation, 1 / deviation, 0.0, NAN, NAN], atol=1e-12
    )
    assert found["size"].ordered
    np.testing.assert_array_equal(found["family"].values, [0.0, 1.0, 0.0, 1.0, NAN])
    assert not found["family"].ordered


def test_a_word_that_no_two_experts_share_is_no_covariate():
    assert covariates_of(names(3), {f"e{i}": {"id": f"name {i}"} for i in range(3)}) == ()
    assert covariates_of(names(3), {}) == ()


def test_what_spans_orders_of_magnitude_counts_by_its_logarithm():
    sizes = [1e6, 1e7, 1e8, 1e9]
    covariate = covariates_of(names(4), {f"e{i}": {"params": v} for i, v in enumerate(sizes)})[0]
    np.testing.assert_allclose(np.diff(covariate.values), np.diff(covariate.values)[0] * np.ones(3))


@pytest.mark.parametrize("value", [np.inf, -np.inf, NAN])
def test_a_number_that_is_not_finite_is_unknown(value):
    covariate = covariates_of(names(3), {"e0": {"x": value}, "e1": {"x": 1.0}, "e2": {"x": 2.0}})[0]
    assert np.isnan(covariate.values[0])


def test_kernels_by_their_definition():
    number = Covariate("x", np.array([0.0, 1.0, NAN]), ordered=True).kernel()
    assert number[0, 1] == pytest.approx(0.5 * np.exp(-0.5 * (1.0 / 0.5) ** 2))
    assert number[1, 1] == pytest.approx(0.5 + 0.5)
    assert (number[2, 0], number[2, 1]) == (0.0, 0.0)
    word = Covariate("x", np.array([0.0, 1.0, 0.0, NAN, NAN]), ordered=False).kernel()
    expected = [[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]
    np.testing.assert_array_equal(word, expected)


@pytest.mark.parametrize("ordered", [True, False])
def test_kernels_are_positive(ordered):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, 30).astype(float)
    values[::7] = NAN
    assert np.linalg.eigvalsh(Covariate("x", values, ordered).kernel()).min() > -1e-9


def test_what_a_kernel_explains_is_leaving_each_expert_out_once():
    rng = np.random.default_rng(1)
    x = rng.normal(size=12)
    kernel = np.outer(x, x) + np.eye(12) * 0.1
    quality = 2.0 * x + 0.3 * rng.normal(size=12)
    trust = np.ones(12)
    trust[:2] = 0.0
    seen = np.arange(2, 12)
    y = quality[seen] - quality[seen].mean()
    left = []
    for i in range(10):
        others = np.arange(10) != i
        cover = kernel[np.ix_(seen, seen)] + 0.5 * np.eye(10) + 1.0 / 10
        left.append(y[i] - cover[i, others] @ np.linalg.solve(cover[np.ix_(others, others)], y[others]))
    expected = 1.0 - np.square(left).sum() / np.square(y).sum()
    assert explained(kernel, quality, trust) == pytest.approx(expected)


def planted(seed, n=80):
    rng = np.random.default_rng(seed)
    family = rng.integers(0, 4, n)
    quality = rng.normal(size=4)[family] * 2.0 + 0.4 * rng.normal(size=n)
    about = {
        f"e{i}": {
            "family": f"f{family[i]}",
            **{f"noise{k}": f"n{rng.integers(0, 4)}" for k in range(3)},
            **{f"number{k}": float(rng.normal()) for k in range(3)},
        }
        for i in range(n)
    }
    return quality, covariates_of(names(n), about)


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_covariate_is_found_and_noise_counts_little(seed):
    quality, covariates = planted(seed)
    kernel, share, weights = weigh(covariates, quality, np.ones(len(quality)))
    assert max(weights, key=weights.__getitem__) == "family"
    assert share > 0.6
    assert sum(v for name, v in weights.items() if name != "family") < 0.25 * weights["family"]
    np.testing.assert_allclose(np.diag(kernel).mean(), 1.0, atol=0.2)


def test_without_results_no_covariate_counts():
    quality, covariates = planted(4)
    assert weigh(covariates, quality, np.zeros(len(quality))) == (None, 0.0, {})
    assert weigh(covariates, np.zeros(len(quality)), np.ones(len(quality))) == (None, 0.0, {})
    assert weigh((), quality, np.ones(len(quality))) == (None, 0.0, {})


def test_order_of_the_experts_does_not_matter():
    quality, covariates = planted(5, n=20)
    order = np.random.default_rng(0).permutation(20)
    moved = tuple(Covariate(t.name, t.values[order], t.ordered) for t in covariates)
    one = weigh(covariates, quality, np.ones(20))
    other = weigh(moved, quality[order], np.ones(20))
    np.testing.assert_allclose(one[0][np.ix_(order, order)], other[0])
    assert one[1] == pytest.approx(other[1])
