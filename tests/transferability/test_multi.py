"""Many scores at once are those of separate calls, from one decomposition."""

import numpy as np
import pytest
import torch

from expertise_graph.core.errors import InvalidInputError, NotFoundError
from expertise_graph.transferability._classes import as_targets
from expertise_graph.transferability.decomposition import decompose
from expertise_graph.transferability.methods.ridge import ridge_predict
from expertise_graph.transferability.multi import score_many
from expertise_graph.transferability.registry import Estimator, estimators


def planted(seed, n, d):
    rng = np.random.default_rng(seed)
    sets = [rng.permutation(np.arange(n) % c) for c in (2, 3, 5)]
    return rng.normal(size=(n, d)) + 2 * np.eye(3, d)[sets[1]] + 3, sets


@pytest.fixture
def decompositions(monkeypatch):
    """The shapes of matrices of which eigenvalues are taken, in order."""
    shapes, original = [], torch.linalg.eigh

    def counted(matrix):
        shapes.append(tuple(matrix.shape))
        return original(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", counted)
    return shapes


@pytest.mark.parametrize(("n", "d"), [(60, 6), (24, 60)])
def test_each_score_is_that_of_a_separate_call(n, d):
    features, sets = planted(n, n, d)
    scores = score_many(features, sets)
    assert list(scores) == [name for name in estimators if estimators[name].needs == "features"]
    for name, values in scores.items():
        assert values == pytest.approx([estimators[name](features, one) for one in sets], abs=1e-9)
    assert len({tuple(values) for values in scores.values()}) > 8


@pytest.mark.parametrize(("n", "d", "side"), [(60, 6, 6), (24, 60, 24)])
def test_the_smaller_gram_is_decomposed_once_as_it_is_and_once_centred(decompositions, n, d, side):
    features, sets = planted(n, n, d)
    score_many(features, sets)
    assert decompositions == [(side, side)] * 2
    decompositions.clear()
    score_many(features, sets, ["h_score", "ridge_accuracy", "gbc"])
    assert decompositions == [(side, side)]


def test_one_label_set_gives_lists_of_one():
    features, sets = planted(1, 30, 5)
    for one in (sets[1], torch.from_numpy(sets[1]), sets[1].tolist(), tuple(sets[1].tolist())):
        assert score_many(features, one, ["h_score"]) == {
            "h_score": [estimators["h_score"](features, sets[1])]
        }
    several = score_many(features, (sets[0].tolist(), torch.from_numpy(sets[2])), iter(["parc", "gbc"]))
    assert list(several) == ["parc", "gbc"]
    assert several["parc"] == [estimators["parc"](features, sets[i]) for i in (0, 2)]


def test_regression_targets_are_scored_where_they_can_be():
    features, _ = planted(2, 30, 5)
    targets = features[:, :2] + np.random.default_rng(0).normal(size=(30, 2))
    assert score_many(features, [targets, targets[:, 0]], ["logme"])["logme"] == pytest.approx(
        [estimators["logme"](features, t) for t in (targets, targets[:, 0])], abs=1e-9
    )
    with pytest.raises(InvalidInputError, match="integers"):
        score_many(features, targets[:, 0])


def test_estimators_of_others_are_given_features(monkeypatch):
    features, sets = planted(3, 30, 5)
    mean = Estimator(name="mean", function=lambda x, y: float(x[y == 1].mean()), version="1")
    monkeypatch.setitem(estimators._entries, "mean", mean)
    expected = [features[one == 1].mean() for one in sets]
    assert score_many(features, sets, ["mean"])["mean"] == pytest.approx(expected, abs=1e-12)


def test_a_decomposition_serves_again(decompositions):
    features, sets = planted(4, 30, 5)
    space = decompose(features)
    assert decompose(space) is space
    assert estimators["h_score"](space, sets[0]) == score_many(space, sets, ["h_score"])["h_score"][0]
    predicted = ridge_predict(space, sets[1], features[:7])
    assert decompositions == [(5, 5)]
    np.testing.assert_allclose(predicted, ridge_predict(features, sets[1], features[:7]), atol=1e-12)


@pytest.mark.parametrize(("n", "d"), [(40, 6), (12, 30)])
def test_a_decomposition_is_that_of_numpy(n, d):
    features, _ = planted(5, n, d)
    space, centred = decompose(features), features - features.mean(axis=0)
    scale = np.sqrt((centred**2).sum(axis=1).mean())
    np.testing.assert_allclose(space.mean, features.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(space.scale, scale, rtol=1e-12)
    cpu, one_hot = torch.device("cpu"), np.eye(3)[np.arange(n) % 3]
    for spectrum, rows in ((space.centred, centred / scale), (space.raw, features / np.abs(features).max())):
        u, s, _ = np.linalg.svd(rows, full_matrices=False)
        kept = s > 1e-7
        np.testing.assert_allclose(spectrum.values, s[kept] ** 2, rtol=1e-9)
        u = u[:, kept] * np.sign(u[np.abs(u).argmax(axis=0), np.arange(len(s))])[kept]
        np.testing.assert_allclose(spectrum.left, u, atol=1e-8)
        np.testing.assert_allclose(spectrum.coordinates(3), (u * s[kept])[:, :3], atol=1e-8)
        targets = np.random.default_rng(0).normal(size=(n, 2))
        np.testing.assert_allclose(
            spectrum.project(as_targets(targets, n, cpu)), (targets.T @ u) ** 2, atol=1e-8
        )
        named = as_targets(np.arange(n) % 3, n, cpu)
        np.testing.assert_allclose(spectrum.project(named), (one_hot.T @ u) ** 2, atol=1e-8)


def test_unknown_names_and_bad_features_are_refused():
    features, sets = planted(6, 20, 4)
    with pytest.raises(NotFoundError, match="Did you mean 'transrate'"):
        score_many(features, sets, ["trans_rate"])
    with pytest.raises(InvalidInputError, match="leep needs source probabilities"):
        score_many(features, sets, ["logme", "leep"])
    with pytest.raises(InvalidInputError, match="NaN"):
        score_many(np.full((5, 2), np.nan), np.arange(5))
    with pytest.raises(InvalidInputError, match="as many labels"):
        score_many(features, [sets[0], sets[1][:-1]])


@pytest.mark.parametrize(("n", "d"), [(5000, 7), (300, 600)])
def test_many_rows_and_columns_are_decomposed_in_parts(n, d):
    features = np.random.default_rng(7).normal(size=(n, d)).astype(np.float32) + 0.5
    rows = features.astype(np.float64)
    expected = np.sort(np.linalg.svd(rows, compute_uv=False))[::-1] ** 2 / np.abs(rows).max() ** 2
    np.testing.assert_allclose(decompose(features).raw.values, expected, rtol=1e-9)
    labels = np.arange(n) % 4
    sums = np.array([rows[labels == c].sum(axis=0) for c in range(4)])
    for targets in (labels, np.eye(4)[labels]):
        found = as_targets(targets, n, torch.device("cpu")).sums(torch.from_numpy(features))
        np.testing.assert_allclose(found, sums, rtol=1e-9)


def test_features_in_single_precision_are_not_copied():
    features = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    space = decompose(features)
    estimators["logme"](space, np.arange(50) % 3)
    assert space.raw.matrix.data_ptr() == features.data_ptr()
    assert "features" not in vars(space)
