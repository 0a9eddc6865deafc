"""Ridge classification against refitting without each row, and against the primal solution."""

import numpy as np
import pytest
import torch

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.transferability.methods.ridge import ridge_accuracy, ridge_predict

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


def planted(seed, n, d, classes=3, signal=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    return rng.normal(size=(n, d)) + signal * rng.normal(size=(classes, d))[labels] / d**0.25, labels


def scaled(features):
    centred = features - features.mean(axis=0)
    return centred / np.sqrt((centred**2).sum(axis=1).mean())


def fit(x, y, penalty):
    """Primal ridge with an intercept that is not penalised: weights and intercept."""
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    centred = x - mean_x
    weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T @ (y - mean_y))
    return weights, mean_y - mean_x @ weights


def refitted_accuracies(features, labels):
    """Leave each row out in turn; all rows have set the scale before."""
    x, y = scaled(features), np.eye(labels.max() + 1)[labels]
    accuracies = []
    for penalty in PENALTIES:
        hits = 0
        for i in range(len(x)):
            weights, intercept = fit(np.delete(x, i, 0), np.delete(y, i, 0), penalty)
            hits += int((x[i] @ weights + intercept).argmax() == labels[i])
        accuracies.append(hits / len(x))
    return accuracies


@pytest.mark.parametrize(("n", "d"), [(40, 3), (30, 30), (24, 80)])
@pytest.mark.parametrize("signal", [0.0, 0.7, 2.0])
def test_accuracy_is_that_of_refitting_without_each_row(n, d, signal):
    features, labels = planted(n + d, n, d, signal=signal)
    assert ridge_accuracy(features, labels) == pytest.approx(
        max(refitted_accuracies(features, labels)), abs=1e-12
    )


@pytest.mark.parametrize(("n", "d"), [(40, 3), (24, 80)])
def test_predictions_are_those_of_the_primal_solution(n, d):
    features, labels = planted(n, n, d, signal=1.0)
    others = np.random.default_rng(1).normal(size=(7, d))
    accuracies = refitted_accuracies(features, labels)
    penalty = PENALTIES[int(np.argmax(accuracies))]
    centred = features - features.mean(axis=0)
    scale = np.sqrt((centred**2).sum(axis=1).mean())
    y = np.eye(3)[labels]
    weights, _ = fit(centred / scale, y, penalty)
    expected = (others - features.mean(axis=0)) / scale @ weights
    np.testing.assert_allclose(ridge_predict(features, labels, others).numpy(), expected, atol=1e-8)


def test_one_other_row_is_predicted_like_many():
    features, labels = planted(2, 30, 10)
    others = np.random.default_rng(2).normal(size=(4, 10))
    together = ridge_predict(features, labels, others)
    alone = torch.cat([ridge_predict(features, labels, row[None]) for row in others])
    np.testing.assert_allclose(alone.numpy(), together.numpy(), atol=1e-12)


@pytest.mark.parametrize(("n", "d"), [(40, 3), (24, 80)])
def test_names_order_rotation_scale_and_translation_do_not_matter(n, d):
    features, labels = planted(3, n, d, signal=2.0)
    expected = ridge_accuracy(features, labels)
    rng = np.random.default_rng(0)
    order = rng.permutation(n)
    rotation, _ = np.linalg.qr(rng.normal(size=(d, d)))
    assert expected > 0.5
    assert ridge_accuracy(features, np.array([70, -3, 5])[labels]) == expected
    assert ridge_accuracy(features[order], labels[order]) == expected
    assert ridge_accuracy(1e6 * features @ rotation + rng.normal(size=d), labels) == expected
    assert ridge_accuracy(1e-6 * features, labels) == expected
    assert ridge_accuracy(features[order], labels) < expected


def test_noise_is_at_chance_whatever_its_width():
    labels = np.arange(60) % 3
    for width in (4, 32, 1024):
        draws = [np.random.default_rng(s).normal(size=(60, width)) for s in range(20)]
        # The best of six penalties on 60 items may exceed chance a little, not by the width.
        assert np.mean([ridge_accuracy(x, labels) for x in draws]) == pytest.approx(1 / 3, abs=0.08)


def test_features_that_hold_the_label_are_always_right():
    labels = np.arange(30) % 5
    assert ridge_accuracy(np.eye(5)[labels], labels) == 1.0
    guess = ridge_predict(np.eye(5)[labels], labels, np.eye(5)).argmax(1)
    np.testing.assert_array_equal(guess.numpy(), np.arange(5))


def test_numpy_and_torch_and_lower_precision_agree():
    features, labels = planted(4, 40, 60)
    expected = ridge_accuracy(features, labels)
    assert ridge_accuracy(torch.from_numpy(features), torch.from_numpy(labels)) == expected
    assert ridge_accuracy(features.astype(np.float32), labels.astype(np.int32)) == expected
    assert ridge_accuracy(features, labels.tolist()) == expected


def test_one_class_is_always_right_and_predicted_as_nothing():
    features, _ = planted(5, 20, 4)
    labels = np.full(20, 7)
    assert ridge_accuracy(features, labels) == 1.0
    np.testing.assert_array_equal(ridge_predict(features, labels, features).numpy(), np.zeros((20, 1)))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9])
def test_constant_features_guess_the_commonest_class(value):
    labels = np.array([0] * 12 + [1] * 5 + [2] * 3)
    features = np.full((20, 6), value)
    assert ridge_accuracy(features, labels) == 12 / 20
    assert ridge_predict(features, labels, features).abs().max() < 1e-6


@pytest.mark.parametrize("labels", [[0, 1], [3, 3]])
def test_two_rows_are_enough(labels):
    # Without one of two different items nothing is known of its class.
    assert ridge_accuracy(np.array([[1.0], [2.0]]), np.array(labels)) == float(labels[0] == labels[1])


def test_a_class_of_one_item_is_never_guessed_without_it():
    features = np.random.default_rng(6).normal(size=(300, 16))
    assert ridge_accuracy(features, np.arange(300)) == 0.0


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        (np.eye(5), np.zeros(4, dtype=int)),
        (np.eye(5), np.linspace(0, 1, 5)),
        (np.eye(5), np.zeros((5, 1), dtype=int)),
        (np.eye(5), np.eye(5, dtype=int)),
        (np.eye(5), list("abcde")),
        (np.where(np.eye(5) > 0, np.nan, 0), np.arange(5)),
        (np.where(np.eye(5) > 0, np.inf, 0), np.arange(5)),
        (np.zeros((1, 3)), [0]),
        (np.zeros(5), np.arange(5)),
    ],
)
def test_what_cannot_be_classified_is_refused(features, labels):
    with pytest.raises(InvalidInputError):
        ridge_accuracy(features, labels)
    with pytest.raises(InvalidInputError):
        ridge_predict(features, labels, features)


@pytest.mark.parametrize("others", [np.zeros((4, 6)), np.zeros(5), np.full((4, 5), np.nan)])
def test_other_inputs_must_have_the_same_features(others):
    with pytest.raises(InvalidInputError):
        ridge_predict(np.random.default_rng(7).normal(size=(6, 5)), np.arange(6) % 2, others)
