"""Similarity against the definitions it is derived from."""

import numpy as np
import pytest

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.features.similarity import (
    SKETCH_DIM,
    biased_cka,
    centred_gram,
    check_features,
    debiased_cka,
    sketch,
    u_centre,
)

MASK = 2**64 - 1


def unbiased_hsic(k, m):
    """Equation 5 of Song et al. 2012, term by term."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    ones = np.ones(n)
    trace = np.trace(k @ m)
    sums = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    cross = 2.0 / (n - 2) * (ones @ k @ m @ ones)
    return (trace + sums - cross) / (n * (n - 3))


def direct_cka(a, b):
    k, m = a @ a.T, b @ b.T
    return unbiased_hsic(k, m) / np.sqrt(unbiased_hsic(k, k) * unbiased_hsic(m, m))


def related(rng, n, d, e, weight):
    """Two feature matrices that share a part of their signal; weight zero means none."""
    common = rng.normal(size=(n, 5))
    a = rng.normal(size=(n, d)) + weight * common @ rng.normal(size=(5, d))
    b = rng.normal(size=(n, e)) + weight * common @ rng.normal(size=(5, e))
    return a, b


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
@pytest.mark.parametrize(("n", "d", "e"), [(60, 8, 12), (60, 8, 200), (20, 100, 300), (4, 1, 9)])
def test_debiased_cka_is_the_normalised_unbiased_hsic(n, d, e, weight):
    a, b = related(np.random.default_rng(n + d), n, d, e, weight)
    hsic = [unbiased_hsic(x @ x.T, y @ y.T) for x, y in ((a, a), (b, b))]
    assert min(hsic) > 0
    assert debiased_cka(a, b) == pytest.approx(direct_cka(a, b), abs=1e-9)


def test_biased_cka_is_the_normalised_biased_hsic():
    a, b = related(np.random.default_rng(1), 30, 7, 50, 1.0)
    centre = np.eye(30) - 1 / 30
    k, m = centre @ a @ a.T @ centre, centre @ b @ b.T @ centre
    expected = np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))
    assert biased_cka(a, b) == pytest.approx(expected, abs=1e-12)


def test_centred_gram_has_the_properties_it_states():
    gram = centred_gram(np.random.default_rng(2).normal(size=(25, 6)))
    np.testing.assert_array_equal(np.diag(gram), 0.0)
    np.testing.assert_allclose(gram, gram.T, atol=1e-15)
    np.testing.assert_allclose(gram.sum(axis=0), 0.0, atol=1e-13)
    assert np.linalg.norm(gram) == pytest.approx(1.0, abs=1e-12)


def test_u_centring_follows_the_definition_entry_by_entry():
    rng = np.random.default_rng(3)
    gram = rng.normal(size=(7, 7))
    gram = gram + gram.T
    off = gram - np.diag(np.diag(gram))
    expected = np.zeros((7, 7))
    for i in range(7):
        for j in range(7):
            if i != j:
                expected[i, j] = gram[i, j] - off[i].sum() / 5 - off[:, j].sum() / 5 + off.sum() / 30
    before = gram.copy()
    np.testing.assert_allclose(u_centre(gram), expected, atol=1e-13)
    np.testing.assert_array_equal(gram, before)


@pytest.mark.parametrize("measure", [debiased_cka, biased_cka])
@pytest.mark.parametrize("d", [6, 90])
def test_rotation_scale_translation_and_order_of_rows_do_not_matter(measure, d):
    rng = np.random.default_rng(d)
    a, b = related(rng, 40, d, 15, 1.0)
    expected = measure(a, b)
    rotation, _ = np.linalg.qr(rng.normal(size=(d, d)))
    order = rng.permutation(40)
    assert measure(a @ rotation, b) == pytest.approx(expected, abs=1e-10)
    assert measure(-7.5 * a, 0.01 * b) == pytest.approx(expected, abs=1e-10)
    assert measure(a + rng.normal(size=d) * 50, b - 3) == pytest.approx(expected, abs=1e-9)
    assert measure(a[order], b[order]) == pytest.approx(expected, abs=1e-10)
    assert measure(b, a) == pytest.approx(expected, abs=1e-12)
    assert abs(measure(a[order], b) - expected) > 0.02


@pytest.mark.slow
@pytest.mark.parametrize("width", [4, 40, 400])
def test_noise_of_any_width_is_unlike_any_other_noise(width):
    rng = np.random.default_rng(width)
    pairs = [(rng.normal(size=(40, width)), rng.normal(size=(40, width))) for _ in range(150)]
    debiased = np.array([debiased_cka(a, b) for a, b in pairs])
    biased = np.array([biased_cka(a, b) for a, b in pairs])
    assert abs(debiased.mean()) < 4 * debiased.std() / np.sqrt(len(pairs)) < 0.03
    # Independent Gaussian features: a biased Gram is mostly its diagonal, E about d / (d + n).
    assert biased.mean() == pytest.approx(width / (width + 40), abs=0.06)


@pytest.mark.parametrize("dim", [256, 1024])
def test_sketch_errs_as_much_as_stated(dim):
    rng = np.random.default_rng(5)
    groups = [rng.normal(size=(80, 6)) for _ in range(6)]
    features = [g + w * rng.normal(size=g.shape) for g in groups for w in (0.05, 0.2, 0.4, 0.7, 1.0, 1.6)]
    grams = [centred_gram(f) for f in features]
    flat = np.stack([g.ravel() for g in grams])
    upper = np.triu_indices(len(grams), 1)
    exact = (flat @ flat.T)[upper]
    errors = []
    for seed in range(10):
        sketches = np.stack([sketch(g, dim=dim, seed=seed) for g in grams]).astype(np.float64)
        sketches /= np.linalg.norm(sketches, axis=1, keepdims=True)
        errors.append((sketches @ sketches.T)[upper] - exact)
    stated = (1 - exact**2) / np.sqrt(dim)
    for near in (exact < 0.3, (exact >= 0.3) & (exact < 0.7), exact >= 0.7):
        assert near.sum() > 15
        assert np.sqrt(np.mean((errors / stated)[:, near] ** 2)) == pytest.approx(1.0, abs=0.2)
    assert abs(np.mean(errors)) < 0.2 / np.sqrt(dim)


def analytic(n):
    i = np.arange(n)
    gram = 1.0 / (1.0 + i[:, None] + i[None, :])
    np.fill_diagonal(gram, 0.0)
    return gram


def splitmix64(seed, place):
    """The reference generator of Steele et al. 2014, in Python's own integers."""
    z = (place + seed * 0x9E3779B97F4A7C15 + 1) & MASK
    z = (z * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


@pytest.mark.parametrize("seed", [0, 1, 77])
def test_sketch_adds_each_entry_of_the_triangle_to_its_bucket(seed):
    gram, expected = analytic(9), np.zeros(16)
    pairs = [(i, j) for i in range(9) for j in range(i + 1, 9)]
    for place, (i, j) in enumerate(pairs):
        bits = splitmix64(seed, place)
        expected[(bits >> 1) % 16] += (1 if bits & 1 else -1) * gram[i, j] * 2**0.5
    np.testing.assert_allclose(sketch(gram, dim=16, seed=seed), expected, atol=1e-6)


def test_sketch_never_changes():
    # Stored embeddings of earlier versions are compared with new ones: these values are for ever.
    np.testing.assert_allclose(
        sketch(analytic(6), dim=8),
        [0.2828427, 0.2020305, -0.4714045, -0.412479, 0.3434519, 0.0589256, -0.518545, 1.217795],
        atol=1e-6,
    )
    wide = sketch(analytic(40))
    assert wide.shape == (SKETCH_DIM,) == (1024,)
    assert wide.dtype == np.float32
    np.testing.assert_allclose(
        wide[[0, 2, 3, 100, 777, 1000]],
        [0.0, 0.0362619, 0.0252538, 0.0321412, 0.042855, 0.0673435],
        atol=1e-6,
    )


def test_constant_features_are_like_nothing():
    rng = np.random.default_rng(6)
    for value in (0.0, 0.1, -3.7, 1e6 + 0.1):
        constant = np.full((7, 3), value)
        np.testing.assert_array_equal(centred_gram(constant), 0.0)
        assert debiased_cka(constant, rng.normal(size=(7, 3))) == 0.0
        assert debiased_cka(constant, constant) == 0.0
        assert biased_cka(constant, constant) == 0.0


@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e200, 1e-200])
def test_huge_and_tiny_features_compare_as_others_do(scale):
    a, b = related(np.random.default_rng(7), 20, 5, 40, 1.0)
    assert debiased_cka(scale * a, b) == pytest.approx(debiased_cka(a, b), abs=1e-10)
    assert biased_cka(scale * a, b / scale) == pytest.approx(biased_cka(a, b), abs=1e-10)


def test_float32_and_lists_are_taken_and_left_alone():
    a, b = related(np.random.default_rng(8), 20, 5, 9, 1.0)
    small = a.astype(np.float32)
    kept = small.copy()
    assert debiased_cka(small, b) == pytest.approx(debiased_cka(a, b), abs=1e-5)
    np.testing.assert_array_equal(small, kept)
    assert debiased_cka(a.tolist(), b.tolist()) == debiased_cka(a, b)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.zeros((3, 5)), r"n >= 4.*\(3, 5\)"),
        (np.zeros(9), r"\(9,\)"),
        (np.zeros((9, 0)), r"d >= 1"),
        (np.zeros((5, 2, 2)), r"\(5, 2, 2\)"),
        (np.array([[1.0], [2.0], [np.nan], [np.inf]]), "2 of 4 rows"),
    ],
)
def test_features_that_cannot_be_used_are_refused(bad, says):
    for use in (check_features, centred_gram):
        with pytest.raises(InvalidInputError, match=says):
            use(bad)


@pytest.mark.parametrize("measure", [debiased_cka, biased_cka])
def test_features_of_other_inputs_are_refused(measure):
    with pytest.raises(InvalidInputError, match="5 and 6 rows"):
        measure(np.eye(5), np.eye(6))
