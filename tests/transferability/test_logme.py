"""LogME against the paper's fixed point, and against the evidence that it maximises."""

import math

import numpy as np
import pytest
import torch

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.transferability.methods.logme import logme


def fixed_point(f, y):
    """Algorithm 1 of You et al. 2021 for one target, on all d directions: log evidence per sample."""
    n, d = f.shape
    alpha = beta = 1.0
    _, s, vt = np.linalg.svd(f, full_matrices=True)
    sigma = np.zeros(d)
    sigma[: len(s)] = s**2
    for _ in range(3000):
        gamma = (beta * sigma / (alpha + beta * sigma)).sum()
        m = beta * vt.T @ ((vt @ (f.T @ y)) / (alpha + beta * sigma))
        before = alpha, beta
        alpha = gamma / (m @ m)
        beta = (n - gamma) / ((f @ m - y) @ (f @ m - y))
        if max(abs(math.log(alpha / before[0])), abs(math.log(beta / before[1]))) < 1e-10:
            break
        if beta > 1e7:  # Labels that can be met exactly: what follows is rounding error only.
            break
    precision = alpha * np.eye(d) + beta * f.T @ f
    m = beta * np.linalg.solve(precision, f.T @ y)
    fit = n / 2 * math.log(beta) + d / 2 * math.log(alpha) - n / 2 * math.log(2 * math.pi)
    lost = beta / 2 * ((f @ m - y) @ (f @ m - y)) + alpha / 2 * (m @ m)
    return (fit - lost - np.linalg.slogdet(precision)[1] / 2) / n


def greatest_evidence(f, y):
    """The greatest log density per sample of N(y; 0, I / beta + F F^T / alpha), by a grid that closes in."""
    values, vectors = np.linalg.eigh(f @ f.T)
    squared = (vectors.T @ y) ** 2
    middle, width = np.zeros(2), 30.0
    while width > 1e-4:
        grid = np.linspace(-width, width, 41)
        a, b = np.meshgrid(middle[0] + grid, middle[1] + grid, indexing="ij")
        variance = np.exp(-b)[..., None] + np.exp(-a)[..., None] * values.clip(min=0)
        density = -0.5 * (np.log(2 * math.pi * variance) + squared / variance).sum(-1)
        middle = np.array([c.flat[density.argmax()] for c in (a, b)])
        width /= 5
    return direct_density(f, y, *np.exp(middle)) / len(y)


def direct_density(f, y, alpha, beta):
    covariance = torch.from_numpy(np.eye(len(y)) / beta + f @ f.T / alpha)
    y = torch.from_numpy(y)
    return float(torch.distributions.MultivariateNormal(torch.zeros_like(y), covariance).log_prob(y))


def classified(seed, n, d, classes=3):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return rng.normal(size=(n, d)) + 1.5 * rng.normal(size=(classes, d))[labels] / d**0.25, labels


def regressed(seed, n, d):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, d))
    return features, features @ rng.normal(size=(d, 2)) / d**0.5 + 0.5 * rng.normal(size=(n, 2))


REGIMES = [(50, 6), (40, 39), (30, 30), (24, 60), (20, 200)]


@pytest.mark.parametrize("reference", [fixed_point, greatest_evidence])
@pytest.mark.parametrize(("n", "d"), REGIMES)
def test_classification_is_the_mean_evidence_of_the_classes(n, d, reference):
    features, labels = classified(n, n, d)
    expected = np.mean([reference(features, (labels == c).astype(float)) for c in range(3)])
    assert logme(features, labels) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("reference", [fixed_point, greatest_evidence])
@pytest.mark.parametrize(("n", "d"), REGIMES)
def test_regression_is_the_mean_evidence_of_the_columns(n, d, reference):
    features, targets = regressed(n + d, n, d)
    expected = np.mean([reference(features, targets[:, c]) for c in range(2)])
    assert logme(features, targets) == pytest.approx(expected, abs=1e-5)
    assert logme(features, targets[:, 0]) == pytest.approx(reference(features, targets[:, 0]), abs=1e-5)


@pytest.mark.parametrize(("n", "d"), [(50, 6), (20, 200)])
def test_names_order_and_rotation_do_not_matter(n, d):
    features, labels = classified(1, n, d)
    expected = logme(features, labels)
    rng = np.random.default_rng(0)
    order = rng.permutation(n)
    rotation, _ = np.linalg.qr(rng.normal(size=(d, d)))
    assert logme(features, np.array([70, -3, 5])[labels]) == pytest.approx(expected, abs=1e-9)
    assert logme(features, [2, 0, 1] @ np.eye(3, dtype=int)[:, labels]) == pytest.approx(expected, abs=1e-9)
    assert logme(features[order], labels[order]) == pytest.approx(expected, abs=1e-9)
    assert logme(features @ rotation, labels) == pytest.approx(expected, abs=1e-8)
    assert abs(logme(features[order], labels) - expected) > 0.02


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e-3, 1e3, 1e8, 1e30])
@pytest.mark.parametrize(("n", "d"), [(50, 6), (20, 200)])
def test_the_unit_of_the_features_does_not_matter(n, d, scale):
    features, labels = classified(2, n, d)
    assert logme(scale * features, labels) == pytest.approx(logme(features, labels), abs=1e-5)


@pytest.mark.parametrize("scale", [1e-9, 1e-4, 1e6, 1e12])
@pytest.mark.parametrize(("n", "d"), [(50, 6), (24, 60)])
def test_the_unit_of_targets_moves_their_density_only(n, d, scale):
    features, targets = regressed(2, n, d)
    expected = logme(features, targets) - math.log(scale)
    assert logme(features, scale * targets) == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_noise_gains_nothing_by_being_wider():
    labels = np.arange(60) % 3
    means = [
        np.mean([logme(np.random.default_rng(s).normal(size=(60, d)), labels) for s in range(20)])
        for d in (32, 1024)
    ]
    assert means[0] == pytest.approx(means[1], abs=0.01)
    # Without features: each indicator is N(0, 1/3), plain noise around zero.
    empty = -0.5 * (1 + math.log(2 * math.pi / 3))
    assert means == pytest.approx([empty, empty], abs=0.1)


def test_repeating_features_gains_nothing():
    features, labels = classified(3, 30, 10)
    twice = np.concatenate([features, features, np.zeros((30, 50))], axis=1)
    assert logme(twice, labels) == pytest.approx(logme(features, labels), abs=1e-6)


def test_better_features_score_higher():
    rng = np.random.default_rng(4)
    labels = np.arange(60) % 4
    noise, signal = rng.normal(size=(60, 32)), rng.normal(size=(4, 32))[labels]
    scores = [logme(noise + weight * signal, labels) for weight in (0.0, 0.3, 0.6, 1.2, 2.4)]
    assert scores == sorted(scores)
    assert scores[-1] - scores[0] > 0.3


@pytest.mark.parametrize(("n", "d"), [(50, 6), (20, 200)])
def test_numpy_and_torch_and_lower_precision_agree(n, d):
    features, labels = classified(5, n, d)
    expected = logme(features, labels)
    assert logme(torch.from_numpy(features), torch.from_numpy(labels)) == expected
    assert logme(features, labels.astype(np.int32)) == expected
    assert logme(features.astype(np.float32), labels) == pytest.approx(expected, abs=1e-4)
    trained = torch.from_numpy(features).requires_grad_()
    assert logme(trained, labels.tolist()) == expected


def test_one_class_is_a_certainty_that_features_can_only_explain():
    labels = np.zeros(20, dtype=int)
    noise = np.random.default_rng(6).normal(size=(20, 5))
    with_constant = np.concatenate([noise, np.ones((20, 1))], axis=1)
    assert math.isfinite(logme(noise, labels))
    assert math.isfinite(logme(with_constant, labels))
    assert logme(with_constant, labels) > logme(noise, labels) + 1


@pytest.mark.parametrize("value", [0.0, 0.1, -5.0])
def test_constant_features_know_the_mean_of_the_labels_at_most(value):
    labels = np.arange(30) % 3
    alone = logme(np.full((30, 8), value), labels)
    assert alone == pytest.approx(logme(np.full((30, 8), 2 * value), labels), abs=1e-5)
    assert alone == pytest.approx(logme(np.full((30, 1), value), labels), abs=1e-5)
    assert alone < logme(np.eye(3)[labels], labels)
    assert -1.5 < alone < 0.0


@pytest.mark.parametrize("labels", [[0, 1], [0, 0], [0.5, 0.5], [0.0, 0.0]])
@pytest.mark.parametrize("features", [[[1.0], [2.0]], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
def test_two_rows_are_enough(features, labels):
    assert math.isfinite(logme(np.array(features), np.array(labels)))


def test_one_feature_is_enough():
    rng = np.random.default_rng(7)
    labels = np.arange(40) % 2
    features = labels[:, None] + 0.3 * rng.normal(size=(40, 1))
    expected = np.mean([fixed_point(features, (labels == c).astype(float)) for c in range(2)])
    assert logme(features, labels) == pytest.approx(expected, abs=1e-6)


def test_a_thousand_classes_of_one_item():
    features = np.random.default_rng(8).normal(size=(1000, 16))
    value = logme(features, np.arange(1000))
    # Hardly to be explained: nearly the evidence of one hit in a thousand as plain noise.
    assert value == pytest.approx(-0.5 * (1 + math.log(2 * math.pi / 1000)), abs=0.02)


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        (np.zeros((5, 2)), np.zeros(4, dtype=int)),
        (np.zeros((5, 2)), np.zeros((5, 2, 2))),
        (np.zeros((5, 2)), 3),
        (np.zeros((5, 2)), np.array([0, 1, 2, np.nan, 4])),
        (np.zeros((5, 2)), np.array(["a", "b", "a", "b", "a"])),
        (np.zeros((5, 2)), np.zeros((5, 0))),
        (np.array([[1.0], [np.nan]]), [0, 1]),
        (np.array([[1.0], [np.inf]]), [0, 1]),
        (np.zeros((1, 2)), [0]),
        (np.zeros((5, 0)), np.zeros(5, dtype=int)),
        (np.zeros(5), np.zeros(5, dtype=int)),
    ],
)
def test_what_cannot_be_scored_is_refused(features, labels):
    with pytest.raises(InvalidInputError):
        logme(features, labels)
