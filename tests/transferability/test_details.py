"""What is particular to single estimators: ties, parameters, folds, widths that are cut."""

import importlib
import math

import numpy as np
import pytest
import torch

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.transferability._classes import as_classes
from expertise_graph.transferability.decomposition import decompose
from expertise_graph.transferability.methods.alignment import kernel_target_alignment
from expertise_graph.transferability.methods.gbc import gbc
from expertise_graph.transferability.methods.hscore import h_score
from expertise_graph.transferability.methods.knn import knn_accuracy
from expertise_graph.transferability.methods.nleep import nleep
from expertise_graph.transferability.methods.parc import parc
from expertise_graph.transferability.methods.probe import _fit, _folds, linear_probe_accuracy
from expertise_graph.transferability.methods.sfda import sfda
from expertise_graph.transferability.methods.transrate import transrate
from tests.transferability import references


def module(name):
    """The module, which a function of the same name hides in the package."""
    return importlib.import_module(f"expertise_graph.transferability.methods.{name}")


def planted(seed, n, d, classes=3, signal=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    return rng.normal(size=(n, d)) + signal * rng.normal(size=(classes, d))[labels], labels


@pytest.mark.parametrize("repeat", [2, 3])
def test_parc_gives_equal_distances_their_mean_rank(repeat):
    features, labels = planted(0, 10, 6)
    features, labels = np.repeat(features, repeat, axis=0), np.tile(labels, repeat)
    assert parc(features, labels) == pytest.approx(references.parc(features, labels), abs=1e-9)


def test_parc_looks_at_the_leading_axes_only():
    features, labels = planted(1, 60, 40)
    scaled = features * np.repeat([10.0, 0.1], [4, 36])
    assert parc(scaled, labels, dimensions=4) == pytest.approx(parc(features[:, :4], labels), abs=0.02)
    assert parc(scaled, labels, dimensions=4) != pytest.approx(parc(features, labels), abs=0.05)


def test_knn_shares_places_among_equally_near_neighbours():
    # The first item sees two others at cosine 1/sqrt(2), one of each class, for one place.
    features = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, -1.0]])
    assert knn_accuracy(features, [0, 0, 1], k=1) == pytest.approx((0.5 + 1 + 0) / 3)
    assert knn_accuracy(features, [1, 0, 1], k=1) == pytest.approx((0.5 + 0 + 1) / 3)


def test_knn_shares_no_more_than_the_places_that_are_left():
    angles = np.deg2rad([0, 10, 40, -40])
    features = np.column_stack([np.cos(angles), np.sin(angles)])
    # The last two share the second place beside the first, whose one near neighbour is of its class.
    assert knn_accuracy(features, [1, 1, 0, 0], k=2) == 2 / 4


def test_knn_gives_a_tie_of_votes_to_the_nearer_voters():
    angles = np.deg2rad([0, 9, 21, 34, 49])
    features = np.column_stack([np.cos(angles), np.sin(angles)])
    labels = [0, 0, 1, 1, 2]
    expected = references.knn_accuracy(features, np.array(labels), k=2)
    assert knn_accuracy(features, labels, k=2) == expected


@pytest.mark.parametrize("k", [1, 3, 7, 100])
def test_knn_votes_of_k_neighbours(k):
    features, labels = planted(2, 40, 5)
    expected = references.knn_accuracy(features, labels, k=min(k, 39))
    assert knn_accuracy(features, labels, k=k) == pytest.approx(expected, abs=1e-12)


def test_knn_knows_rows_of_zeros():
    features = np.concatenate([np.zeros((4, 3)), np.eye(3).repeat(4, axis=0)])
    labels = np.repeat([0, 1, 2, 3], 4)
    # Zeros are equally near to all, and each of the other classes outvotes the three that are left.
    assert knn_accuracy(features, labels, k=3) == 12 / 16


def test_gbc_of_two_normal_classes_has_a_closed_form():
    a, b = np.array([-2.0, 0.0, 2.0]), np.array([4.0, 6.0])
    features = np.concatenate([a, b])[:, None]
    v, w = a.var(), b.var()
    distance = (a.mean() - b.mean()) ** 2 / (4 * (v + w)) + math.log((v + w) / 2 / math.sqrt(v * w)) / 2
    assert gbc(features, [0, 0, 0, 1, 1]) == pytest.approx(-2 * math.exp(-distance), abs=1e-12)


def test_gbc_keeps_64_axes():
    features, labels = planted(3, 200, 100, signal=0.3)
    assert gbc(features, labels) == pytest.approx(references.gbc(features, labels), rel=1e-6)
    assert (
        gbc(features, labels, dimensions=10) < gbc(features, labels) < gbc(features, labels, dimensions=100)
    )


def test_gbc_in_parts_is_gbc(monkeypatch):
    features, labels = planted(4, 60, 4, classes=7)
    expected = gbc(features, labels)
    monkeypatch.setattr(module("gbc"), "MOST_ELEMENTS", 1)
    assert gbc(features, labels) == pytest.approx(expected, abs=1e-12)


def test_knn_in_parts_is_knn(monkeypatch):
    features, labels = planted(4, 60, 4, signal=0.5)
    expected = knn_accuracy(features, labels)
    monkeypatch.setattr(module("knn"), "MOST_ELEMENTS", 1)
    assert knn_accuracy(features, labels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("eps", [1e-4, 0.1, 3.0])
@pytest.mark.parametrize("most", [1, 1 << 23])
def test_transrate_at_other_distortions_and_in_parts(monkeypatch, eps, most):
    monkeypatch.setattr(module("transrate"), "MOST_ELEMENTS", most)
    features, labels = planted(5, 33, 12, classes=5)
    expected = references.transrate(features, labels, eps=eps)
    assert transrate(features, labels, eps=eps) == pytest.approx(expected, rel=1e-9)


def test_shrinkage_of_the_h_score_vanishes_with_items():
    features, labels = planted(6, 3000, 4)
    x = features - features.mean(axis=0)
    means = np.array([x[labels == c].mean(axis=0) for c in range(3)])[labels]
    unshrunk = np.trace(np.linalg.solve(x.T @ x, means.T @ means))
    assert h_score(features, labels) == pytest.approx(unshrunk, rel=0.01)


@pytest.mark.parametrize("a", [0.01, 1.0, 5.0])
def test_sfda_at_other_shrinkages(a):
    features, labels = planted(7, 50, 8, signal=0.5)
    assert sfda(features, labels, a=a) == pytest.approx(references.sfda(features, labels, a=a), abs=1e-8)


def test_sfda_is_no_surer_of_perfect_classes_than_of_nearly_perfect_ones():
    prototypes, labels = np.eye(3)[np.arange(30) % 3], np.arange(30) % 3
    noise = np.random.default_rng(8).normal(size=(30, 3))
    scores = [sfda(prototypes + s * noise, labels) for s in (0.5, 0.1, 1e-3, 1e-9, 0.0)]
    assert scores == pytest.approx(sorted(scores), abs=1e-9)
    assert scores[-1] == pytest.approx(0.0, abs=1e-9)


def test_classes_that_are_far_apart_are_still_told_from_classes_that_are_farther():
    prototypes, labels = np.eye(3)[np.arange(30) % 3], np.arange(30) % 3
    noise = np.random.default_rng(8).normal(size=(30, 3))
    for estimator, spreads in ((gbc, (0.05, 0.03, 0.02)), (sfda, (0.1, 0.05, 0.03))):
        scores = [estimator(prototypes + s * noise, labels) for s in spreads]
        assert scores == sorted(set(scores))
        # Nearer to the best value than doubles next to one can tell.
        assert -1e-16 < scores[1] < scores[2] < 0


@pytest.mark.parametrize("seed", [1, 2])
def test_seeds_change_the_mixture_of_nleep(seed):
    features, labels = planted(9, 80, 6, signal=0.5)
    assert nleep(features, labels, seed=seed) == pytest.approx(
        references.nleep(features, labels, seed=seed), abs=1e-6
    )
    assert nleep(features, labels, seed=seed) != pytest.approx(nleep(features, labels), abs=1e-4)


def test_debiased_alignment_does_not_credit_width():
    labels = np.arange(40) % 2
    draws = [np.random.default_rng(s).normal(size=(40, 500)) for s in range(20)]
    plain = np.mean([kernel_target_alignment(x, labels) for x in draws])
    assert plain > 0.1
    assert abs(np.mean([kernel_target_alignment(x, labels, debiased=True) for x in draws])) < 0.02


@pytest.mark.slow
def test_the_probe_does_not_see_the_unit_of_single_columns():
    features, labels = planted(14, 60, 8, signal=0.5)
    units = np.array([1e-6, 1e-3, 1, 1, 2, 5, 1e3, 1e6])
    # A fold for each item, since the folds follow the distances of rows.
    expected = linear_probe_accuracy(features, labels, folds=60)
    assert linear_probe_accuracy(features * units, labels, folds=60) == pytest.approx(expected, abs=1e-12)
    assert 0.4 < expected < 1


def test_transrate_measures_noise_where_the_distortion_is_small():
    labels = np.arange(60) % 4
    rng = np.random.default_rng(4)
    noise, means = rng.normal(size=(60, 32)), rng.normal(size=(4, 32))[labels]
    small, usual = (
        [transrate(noise + w * means, labels, eps=eps) for w in (0.0, 1.2, 2.4)] for eps in (1e-4, 0.1)
    )
    assert small == sorted(small, reverse=True)
    assert usual == sorted(usual)


@pytest.mark.parametrize("sizes", [[20, 20, 20], [31, 17, 2], [1] * 23, [2, 1, 40]])
def test_folds_are_even_and_stratified(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    space = decompose(np.random.default_rng(10).normal(size=(len(labels), 3)))
    classes = as_classes(labels, len(labels), space.features.device)
    folds = _folds(space, classes, count=5, seed=0).numpy()
    counts = np.array([[(folds[labels == c] == f).sum() for f in range(5)] for c in range(len(sizes))])
    assert np.ptp(counts.sum(axis=0)) <= 1
    assert (np.ptp(counts, axis=1) <= 1).all()
    other = _folds(space, classes, count=5, seed=1).numpy()
    assert (folds != other).any()


def test_the_probe_is_at_the_optimum_of_its_loss():
    features, labels = planted(11, 40, 60)
    x, y = torch.from_numpy(features), torch.from_numpy(labels)
    weights, bias = (t.numpy() for t in _fit(x, y, 3, l2=1.0))
    scores = features @ weights + bias
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    error = p - np.eye(3)[labels]
    np.testing.assert_allclose(features.T @ error + weights, 0.0, atol=1e-4)
    np.testing.assert_allclose(error.sum(axis=0), 0.0, atol=1e-4)


@pytest.mark.slow
def test_the_probe_with_other_folds_and_penalty():
    features, labels = planted(12, 90, 10)
    two = (labels > 0).astype(int)
    assert linear_probe_accuracy(features, two, folds=9) > 0.8
    # A penalty that leaves no weights leaves the commonest class.
    assert linear_probe_accuracy(features, two, folds=9, l2=1e9) == pytest.approx(60 / 90)


@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [
        (knn_accuracy, {"k": 0}),
        (linear_probe_accuracy, {"folds": 1}),
        (linear_probe_accuracy, {"l2": 0.0}),
        (transrate, {"eps": 0.0}),
        (transrate, {"eps": math.nan}),
        (sfda, {"a": -1.0}),
        (gbc, {"dimensions": 0}),
        (parc, {"dimensions": 0}),
    ],
)
def test_parameters_that_mean_nothing_are_refused(estimator, parameters):
    with pytest.raises(InvalidInputError, match=next(iter(parameters))):
        estimator(np.eye(4), [0, 1, 0, 1], **parameters)


def test_arrays_that_torch_cannot_share_are_taken():
    features, labels = planted(13, 30, 5)
    expected = h_score(features, labels)
    backwards, fixed = features[::-1], features.copy()
    fixed.flags.writeable = False
    assert h_score(backwards, labels[::-1]) == pytest.approx(expected, abs=1e-12)
    assert h_score(fixed, labels) == expected
