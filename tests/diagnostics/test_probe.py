"""The probe, wrong labels, accuracies and learning curves, on real features with known faults."""

from __future__ import annotations

import numpy as np
import pytest

from expertise_graph.data.modalities.base import known_modalities
from expertise_graph.diagnostics.label_errors import confident_disagreement, find_label_errors
from expertise_graph.diagnostics.learning_curve import measure_learning_curve
from expertise_graph.diagnostics.probe import (
    folds_of,
    measure_baselines,
    nearest_centroid,
    predict,
    probabilities,
    reduced,
    scores,
    too_small,
)
from expertise_graph.transferability.methods.ridge import ridge_accuracy
from tests.diagnostics.planted import swapped


def errors_of(features, data, seed=0):
    fold = folds_of(data.labels, range(len(data)), seed=seed)
    return find_label_errors(
        features, data.labels, fold, items=np.arange(len(data)), classes=data.classes, seed=seed
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_most_swapped_labels_are_found_and_little_else(armenian, latin_features, seed):
    data, places = swapped(armenian, 0.1, seed)
    found = errors_of(latin_features, data, seed)
    items = {s.item for s in found.suspected}
    assert found.found == len(items)
    assert len(items & places) >= 0.8 * len(places)
    assert len(items & places) >= 0.9 * len(items)
    assert found.clear
    assert found.recall == pytest.approx(len(items & places) / len(places), abs=0.2)
    assert 50 <= found.estimated <= 90
    right = [s for s in found.suspected if s.item in places]
    truth = [armenian.classes[armenian.labels[s.item]] for s in right]
    assert np.mean([s.suggested == name for s, name in zip(right, truth, strict=True)]) > 0.95
    assert all(s.given == data.classes[data.labels[s.item]] for s in found.suspected)


@pytest.mark.parametrize("seed", [0, 1])
def test_clean_labels_raise_few_alarms(armenian, latin_features, seed):
    found = errors_of(latin_features, armenian, seed)
    assert len(found.suspected) <= 0.02 * len(armenian)
    assert not found.clear


def test_confident_disagreement_follows_its_definition():
    likely = np.array([[0.9, 0.1], [0.8, 0.2], [0.05, 0.95], [0.1, 0.9], [0.96, 0.04], [0.45, 0.55]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    # Thresholds: (.9 + .8 + .05) / 3 = .583 and (.9 + .04 + .55) / 3 = .497.
    suspect, suggested = confident_disagreement(likely, labels)
    assert suspect.tolist() == [False, False, True, False, True, False]
    assert suggested[suspect].tolist() == [1, 0]


def test_folds_keep_groups_together_and_classes_spread(armenian):
    groups = np.arange(len(armenian))
    groups[1:40:2] = groups[0:40:2]
    fold = folds_of(armenian.labels, groups, seed=3)
    assert all(len(set(fold[groups == g])) == 1 for g in set(groups))
    counts = np.array([[np.sum((fold == f) & (armenian.labels == c)) for f in range(5)] for c in range(30)])
    # The pairs are of the first four classes; 22 items of each other one lie in five folds.
    assert set(counts[4:].ravel()) == {4, 5}
    assert (folds_of(armenian.labels, groups, seed=3) == fold).all()
    assert (folds_of(armenian.labels, groups, seed=4) != fold).any()


def test_scores_come_from_other_folds_only(armenian, latin_features):
    labels = armenian.labels[:110]
    features = latin_features[:110]
    fold = folds_of(labels, range(110), seed=0)
    scored = scores(features, labels, fold)
    changed = labels.copy()
    changed[fold == 2] = (changed[fold == 2] + 1) % 5
    again = scores(features, changed, fold)
    assert again[fold == 2] == pytest.approx(scored[fold == 2])
    assert np.abs(again[fold == 1] - scored[fold == 1]).max() > 1e-3
    hits = (scored.argmax(axis=1) == labels).mean()
    assert hits == pytest.approx(ridge_accuracy(features, labels), abs=0.05)


def test_probabilities_are_calibrated_on_average(armenian, latin_features):
    fold = folds_of(armenian.labels, range(len(armenian)), seed=0)
    likely = probabilities(scores(latin_features, armenian.labels, fold), armenian.labels)
    assert likely.sum(axis=1) == pytest.approx(np.ones(len(armenian)))
    right = likely.argmax(axis=1) == armenian.labels
    assert likely.max(axis=1).mean() == pytest.approx(right.mean(), abs=0.08)


def test_a_class_without_items_to_learn_from_scores_nothing():
    scored = predict(np.eye(4)[:3], np.array([0, 0, 2]), np.eye(4), classes=4)
    assert (scored[:, [1, 3]] == 0).all()
    assert predict(np.eye(4)[:2], np.array([1, 1]), np.eye(4), classes=2).tolist() == [[0, 1]] * 4


def test_nearest_centroid_is_the_nearest_mean_of_the_other_folds():
    features = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [5.4]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    fold = np.array([0, 1, 1, 1, 1, 0])
    # Without fold 0 the means are 1.5 and 10.5; without fold 1 they are 0 and 5.4.
    assert nearest_centroid(features, labels, fold).tolist() == [0, 0, 0, 1, 1, 0]


def test_the_expert_beats_the_raw_input_beats_the_majority(armenian, latin_features):
    modality = known_modalities["image"]
    raw = modality.raw_features([modality.decode(item) for item in armenian.items])
    fold = folds_of(armenian.labels, range(len(armenian)), seed=0)
    baselines = measure_baselines(raw, armenian.labels, fold, expert=latin_features, name="latin")
    values = [baselines.methods[m].value for m in ("majority", "centroid", "raw", "expert")]
    assert values == sorted(values)
    assert values[0] <= 1 / 30 + 1e-9
    assert values[3] > 0.93
    assert baselines.gain == pytest.approx(values[3] - values[2])
    assert 0 < baselines.gain_low < baselines.gain < baselines.gain_high
    assert baselines.best.method.endswith("latin")


def test_half_of_the_data_foretell_all_of_them(armenian, latin_features):
    half = np.random.default_rng(0).permutation(len(armenian))[:330]
    fold = folds_of(armenian.labels[half], range(330), seed=0)
    curve = measure_learning_curve(latin_features[half], armenian.labels[half], fold, seed=0, method="latin")
    assert curve.sizes == (66, 132, 264)
    assert list(curve.accuracies) == sorted(curve.accuracies)
    assert curve.accuracies[-1] <= curve.low <= curve.doubled <= curve.high <= 1
    whole = scores(latin_features, armenian.labels, folds_of(armenian.labels, range(660), seed=0))
    assert (whole.argmax(axis=1) == armenian.labels).mean() == pytest.approx(curve.doubled, abs=0.03)


def test_a_curve_of_noise_foretells_nothing(armenian):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    fold = folds_of(labels, range(200), seed=0)
    curve = measure_learning_curve(rng.normal(size=(200, 16)), labels, fold, seed=0, method="noise")
    assert curve.doubled is None
    assert "flat" in curve.reason


def test_few_items_foretell_nothing(armenian, latin_features):
    rows = np.flatnonzero(armenian.labels < 2)[:30]
    fold = folds_of(armenian.labels[rows], range(30), seed=0)
    curve = measure_learning_curve(latin_features[rows], armenian.labels[rows], fold, seed=0, method="latin")
    assert curve.doubled is None
    assert "30 items are too few" in curve.reason


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([], "no items"),
        ([0] * 20, "one class only"),
        ([0, 0, 1, 1, 1], "5 items are too few"),
        (list(range(30)), "fewer than two classes have two items"),
        ([0, 0, *range(1, 20)], "fewer than two classes have two items"),
        ([0, 0, 0, 0, 1, 1, 1, 1], ""),
    ],
)
def test_what_is_too_small_says_so(labels, reason):
    found = too_small(np.array(labels, dtype=np.int64))
    assert reason in found
    assert bool(reason) == bool(found)


def test_principal_axes_keep_the_distances(armenian, latin_features):
    twice = np.concatenate([latin_features, latin_features])
    assert reduced(twice, 4000) is twice
    assert reduced(latin_features, 4) is latin_features
    kept = reduced(twice, 100)
    assert kept.shape == (1320, 100)
    centred = twice - twice.mean(axis=0)
    squares = np.linalg.svd(centred, compute_uv=False) ** 2
    share = squares[:100].sum() / squares.sum()
    assert (kept**2).sum() / 1320 == pytest.approx(share, rel=1e-3)
