"""Metrics against their definitions, written out item by item."""

import math

import numpy as np
import pytest

from expertise_graph.core import metrics, stats


@pytest.fixture
def drawn():
    """Logits of 200 items in 5 classes, the last of which no item has."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2.0, size=(200, 5))
    labels = rng.integers(0, 4, size=200)
    logits[np.arange(200), labels] += 1.5
    return logits, labels


def counted(labels, predicted, c):
    hit = sum(1 for a, b in zip(labels, predicted, strict=True) if a == b == c)
    return hit, sum(1 for b in predicted if b == c), sum(1 for a in labels if a == c)


def test_the_table_of_classes(drawn):
    logits, labels = drawn
    predicted = logits.argmax(axis=1)
    table = metrics.class_table(metrics.confusion_matrix(labels, predicted, 5))
    for c in range(5):
        hit, told, there = counted(labels, predicted, c)
        precision, recall = hit / told if told else 0, hit / there if there else 0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0
        assert table[c] == pytest.approx([precision, recall, f1, there])
    assert table[4, 3] == 0


def test_averages_over_classes(drawn):
    logits, labels = drawn
    predicted = logits.argmax(axis=1)
    confusion = metrics.confusion_matrix(labels, predicted, 6)
    recalls = [counted(labels, predicted, c)[0] / counted(labels, predicted, c)[2] for c in range(4)]
    assert metrics.balanced_accuracy(confusion) == pytest.approx(np.mean(recalls))
    f1 = [2 * h / (p + t) for h, p, t in (counted(labels, predicted, c) for c in range(5))]
    assert counted(labels, predicted, 4)[1] > 0
    assert metrics.macro_f1(confusion) == pytest.approx(np.mean(f1))


def test_the_row_of_a_confusion_is_the_label():
    found = metrics.confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert found.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert metrics.most_confused(found, 5) == [(0, 1, 1), (2, 0, 1)]
    found[2, 0] = 7
    assert metrics.most_confused(found, 1) == [(2, 0, 7)]


def test_log_loss_and_softmax(drawn):
    logits, labels = drawn
    expected = [
        -math.log(math.exp(row[c]) / sum(math.exp(x) for x in row))
        for row, c in zip(logits, labels, strict=True)
    ]
    assert metrics.log_loss(logits, labels) == pytest.approx(np.mean(expected))
    assert metrics.softmax(logits)[np.arange(200), labels] == pytest.approx(np.exp(-np.array(expected)))
    assert metrics.log_loss(np.array([[0.0, 5000.0]]), np.array([0])) == pytest.approx(5000)
    assert metrics.sigmoid(np.array([-1000.0, 0.0, 2.0])) == pytest.approx([0, 0.5, 1 / (1 + math.exp(-2))])


def test_calibration_error_of_bins_counted_one_by_one(drawn):
    logits, labels = drawn
    probabilities = metrics.softmax(logits)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for m in range(15):
        inside = [i for i in range(200) if m / 15 < confidence[i] <= (m + 1) / 15]
        if inside:
            gap = np.mean(right[inside]) - np.mean(confidence[inside])
            expected += len(inside) / 200 * abs(gap)
    assert expected > 0.01
    assert metrics.calibration_error(confidence, right) == pytest.approx(expected)


def test_calibration_error_at_the_ends():
    assert metrics.calibration_error(np.array([1.0, 1.0]), np.array([1, 1])) == 0
    assert metrics.calibration_error(np.array([0.0, 1.0]), np.array([1, 0])) == 1
    sure = np.full(1000, 0.8)
    assert metrics.calibration_error(sure, np.arange(1000) < 800) == pytest.approx(0)


@pytest.mark.parametrize(("right", "n"), [(0, 5), (5, 5), (3, 8), (90, 100), (1, 1)])
def test_the_wilson_interval_is_where_the_score_test_turns(right, n):
    low, high = stats.wilson(right, n)
    assert 0 <= low <= right / n <= high <= 1
    for p in (low, high):
        if 1e-12 < p < 1 - 1e-12:
            assert abs(right / n - p) / math.sqrt(p * (1 - p) / n) == pytest.approx(stats.Z_95)


def test_average_precision_with_ties():
    scores = np.array([0.9, 0.8, 0.8, 0.3, 0.3, 0.1])
    targets = np.array([1, 0, 1, 1, 0, 0])
    # Thresholds .9, .8, .3: precision 1, 2/3, 3/5, each for one more of the three that are there.
    assert metrics.average_precision(scores, targets) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert metrics.average_precision(np.zeros(6), targets) == pytest.approx(0.5)


def test_several_labels_an_item():
    targets = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 0]])
    chosen = np.array([[1, 0, 0], [0, 0, 1], [1, 0, 1], [1, 0, 0]])
    table = metrics.multi_table(targets, chosen)
    assert table[0] == pytest.approx([2 / 3, 1, 0.8, 2])
    assert table[1].tolist() == [0, 0, 0, 0]
    assert table[2] == pytest.approx([0.5, 0.5, 0.5, 2])
    assert metrics.micro_f1(targets, chosen) == pytest.approx(2 * 3 / (5 + 4))
    scores = np.array([[0.9, 0.5, 0.1], [0.2, 0.5, 0.8], [0.8, 0.5, 0.7], [0.85, 0.5, 0.0]])
    expected = ((1 + 2 / 3) / 2 + (1 + 2 / 3) / 2) / 2
    assert metrics.mean_average_precision(scores, targets) == pytest.approx(expected)


def test_values():
    values, predicted = np.array([1.0, 2.0, 2.0, 5.0]), np.array([1.5, 2.0, 1.0, 4.0])
    assert metrics.mean_absolute_error(values, predicted) == pytest.approx(2.5 / 4)
    assert metrics.root_mean_squared_error(values, predicted) == pytest.approx(math.sqrt(2.25 / 4))
    assert metrics.r_squared(values, predicted) == pytest.approx(1 - 2.25 / 9)
    # Ranks 0, 1.5, 1.5, 3 against 1, 2, 0, 3.
    ours, theirs = np.array([0, 1.5, 1.5, 3]), np.array([1.0, 2, 0, 3])
    assert stats.spearman(values, predicted) == pytest.approx(np.corrcoef(ours, theirs)[0, 1])
    assert metrics.r_squared(np.ones(3), predicted[:3]) is None
    assert stats.spearman(values, np.ones(4)) is None
