"""Every registered estimator against its definition, its symmetries, and input at the limits."""

import math

import numpy as np
import pytest
import torch

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.transferability.registry import estimators
from tests.transferability.cases import ALL, CASES, HEADS

REGIMES = [(60, 6), (40, 39), (30, 30), (24, 60), (20, 200), (30, 1)]

pytestmark = pytest.mark.filterwarnings("error")
# Two that iterate take as long as all others together.
SLOW = {"linear_probe_accuracy", "logme"}


def of(name, *values, **options):
    """Return parameters of a test, for the slow run only where this estimator takes long."""
    return pytest.param(*values, marks=[pytest.mark.slow] * (name in SLOW), **options)


every_case = pytest.mark.parametrize("case", [of(name, case, id=name) for name, case in ALL.items()])


def planted(seed, n, d, *, signal=1.0, classes=3):
    """Noise around class means, for classes of different sizes."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.repeat(np.arange(classes), 2), rng.integers(0, classes, n - 2 * classes)])
    labels = rng.permutation(labels)
    # In this unit the regularisation of SFDA is neither nothing nor all.
    features = rng.normal(size=(n, d)) + signal * rng.normal(size=(classes, d))[labels]
    return 0.3 * features / d**0.25 + 0.1, labels


def test_every_registered_estimator_has_a_case():
    by_need = {
        n: {name for name in estimators if (estimators[name].needs == "features") == n} for n in (0, 1)
    }
    assert by_need[True] == set(CASES)
    assert by_need[False] == set(HEADS)
    assert all(case.estimator.__name__ == name for name, case in {**CASES, **HEADS}.items())


@pytest.mark.parametrize("name", sorted(estimators))
def test_every_entry_says_what_a_stored_score_must_carry(name):
    entry = estimators[name]
    assert entry.name == name
    assert entry.version.isdigit()
    assert entry.higher_is_better is True
    assert "arXiv" in entry.imported.__doc__ or "19" in entry.imported.__doc__
    assert "References:" in entry.imported.__doc__
    assert entry.decomposed == (entry.needs == "features")


def test_an_entry_is_called_like_its_function():
    features, labels = planted(0, 30, 5)
    assert estimators["parc"](features, labels) == CASES["parc"].estimator(features, labels)


@pytest.mark.parametrize(
    ("case", "n", "d"),
    [
        of(name, case, n, d, id=f"{name}-{n}-{d}")
        for name, case in ALL.items()
        for n, d in REGIMES
        if d > 1 or case.thin
    ],
)
@pytest.mark.parametrize("signal", [0.0, 1.0])
def test_it_is_its_definition(case, n, d, signal):
    features, labels = planted(n + d, n, d, signal=signal)
    expected = case.reference(features, labels)
    assert case.estimator(features, labels) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@every_case
@pytest.mark.parametrize(("n", "d"), [(60, 6), (24, 60)])
def test_names_and_order_do_not_matter_but_labels_do(case, n, d):
    features, labels = planted(1, n, d)
    expected = case.estimator(features, labels)
    order = np.random.default_rng(0).permutation(n)
    assert case.estimator(features, np.array([70, -3, 5])[labels]) == pytest.approx(expected, abs=1e-9)
    assert case.estimator(features[order], labels[order]) == pytest.approx(expected, abs=1e-8)
    assert case.estimator(features, labels[order]) != pytest.approx(expected, abs=1e-3)


@every_case
@pytest.mark.parametrize(("n", "d"), [(60, 6), (24, 60)])
def test_symmetries_are_those_that_are_stated(case, n, d):
    features, labels = planted(2, n, d, signal=0.4)
    expected = case.estimator(features, labels)
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.normal(size=(d, d)))
    uneven = features * np.linspace(0.1, 10, d)
    if case.rotation:
        assert case.estimator(features @ rotation, labels) == pytest.approx(expected, abs=1e-6)
    else:
        assert case.estimator(uneven @ rotation, labels) != pytest.approx(expected, abs=1e-3)
    kept = [
        case.estimator(s * features, labels) == pytest.approx(expected, abs=1e-5) for s in (1e-4, 7.0, 1e6)
    ]
    assert kept == [case.scale] * 3
    moved = [case.estimator(features + 10 * rng.normal(size=d), labels) for _ in range(3)]
    assert (moved == pytest.approx([expected] * 3, abs=1e-6)) == case.translation


@every_case
@pytest.mark.parametrize(("n", "d"), [(80, 8), (60, 200)])
def test_informative_features_beat_noise(case, n, d):
    labels = np.arange(n) % 4
    rng = np.random.default_rng(4)
    noise, signal = 0.1 * rng.normal(size=(n, d)), 0.1 * rng.normal(size=(4, d))[labels]
    scores = [case.estimator(noise + weight * signal, labels) for weight in (0.0, 0.8, 2.4)]
    assert scores == sorted(scores)
    assert scores[2] > scores[0] + 0.01 * abs(scores[0])


@every_case
def test_noise_gains_by_width_only_where_that_is_stated(case):
    labels = np.arange(60) % 3
    draws = {
        d: [case.estimator(np.random.default_rng(s).normal(size=(60, d)), labels) for s in range(12)]
        for d in (8, 512)
    }
    gain = np.mean(draws[512]) - np.mean(draws[8])
    error = math.hypot(*(np.std(v) / math.sqrt(12) for v in draws.values()))
    assert (gain > 4 * error) == case.width
    if not case.width:
        assert abs(gain) < 0.06


@every_case
@pytest.mark.parametrize(("n", "d"), [(60, 6), (24, 60)])
def test_numpy_and_torch_and_lower_precision_agree(case, n, d):
    features, labels = planted(5, n, d)
    expected, before = case.estimator(features, labels), features.copy()
    assert isinstance(expected, float)
    assert case.estimator(torch.from_numpy(features), torch.from_numpy(labels)) == expected
    assert case.estimator(features.tolist(), labels.tolist()) == expected
    assert case.estimator(features, labels.astype(np.int16)) == expected
    assert case.estimator(features.astype(np.float32), labels) == pytest.approx(expected, abs=1e-3)
    assert case.estimator(torch.from_numpy(features).requires_grad_(), labels) == expected
    with torch.no_grad():
        assert case.estimator(features, labels) == expected
    np.testing.assert_array_equal(features, before)


@every_case
def test_the_global_generator_is_not_touched(case):
    features, labels = planted(6, 30, 5)
    state = torch.get_rng_state()
    first = case.estimator(features, labels)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert case.estimator(features, labels) == first


def check(value, expected):
    assert math.isfinite(value)
    if expected is not None:
        assert value == pytest.approx(expected, abs=1e-9)
        # Minus zero reads oddly in a table.
        assert value or math.copysign(1, value) == 1


@every_case
@pytest.mark.parametrize("d", [1, 4, 50])
def test_one_class(case, d):
    features = np.random.default_rng(7).normal(size=(20, d))
    check(case.estimator(features, np.full(20, 7)), case.one_class)


@every_case
@pytest.mark.parametrize("row", [[0.0], [0.1] * 6, [0.1, 0.3, -7.7], np.linspace(-1e9, 0.3, 30)], ids=len)
def test_constant_features(case, row):
    check(case.estimator(np.tile(row, (20, 1)), np.repeat([0, 1, 2], [12, 5, 3])), case.constant)


@every_case
@pytest.mark.parametrize(
    "features", [[[1.0], [2.0]], [[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0, 0.0], [1.0, 0.0, 2.0]]]
)
def test_two_items(case, features):
    if case.least > 2:
        with pytest.raises(InvalidInputError, match="four items"):
            case.estimator(features, [0, 1])
        return
    check(case.estimator(features, [0, 1]), case.pair)
    check(case.estimator(features, [4, 4]), case.one_class)


@every_case
def test_a_thousand_classes_of_one_item(case):
    features = np.random.default_rng(8).normal(size=(1000, 16))
    check(case.estimator(features, np.arange(1000)), case.singles)


@every_case
@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
@pytest.mark.parametrize(("n", "d"), [(60, 6), (24, 60)])
def test_features_in_extreme_units(case, n, d, scale):
    features, labels = planted(9, n, d)
    value = case.estimator(scale * features, labels)
    assert math.isfinite(value)
    if case.scale:
        assert value == pytest.approx(case.estimator(features, labels), abs=1e-5)


@every_case
@pytest.mark.parametrize(
    ("features", "labels"),
    [
        (np.eye(5), np.zeros(4, dtype=int)),
        (np.eye(5), np.zeros((5, 2, 2), dtype=int)),
        (np.eye(5), 3),
        (np.eye(5), list("abcde")),
        (np.where(np.eye(5) > 0, np.nan, 0), np.arange(5)),
        (np.where(np.eye(5) > 0, np.inf, 0), np.arange(5)),
        (np.zeros((1, 3)), [0]),
        (np.zeros((5, 0)), np.arange(5)),
        (np.zeros(5), np.arange(5)),
        ("features", np.arange(5)),
    ],
)
def test_what_cannot_be_scored_is_refused(case, features, labels):
    with pytest.raises(InvalidInputError):
        case.estimator(features, labels)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"logme"}))
@pytest.mark.parametrize("labels", [np.linspace(0, 1, 5), np.zeros((5, 1), dtype=int), torch.zeros(5)])
def test_classification_needs_integers(name, labels):
    with pytest.raises(InvalidInputError, match=r"classification needs \(n,\) integers"):
        estimators[name](np.eye(5), labels)


@every_case
@pytest.mark.parametrize(("n", "d"), [(60, 6), (24, 60)])
def test_a_class_of_one_item_among_others_is_scored_by_the_definition(case, n, d):
    features, labels = planted(10, n, d)
    labels = np.where(np.arange(n) == 7, 3, labels)
    expected = (case.peak or case.reference)(features, labels)
    assert case.estimator(features, labels) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@every_case
@pytest.mark.parametrize(("n", "d"), [(60, 6), (24, 60)])
def test_rows_of_zeros_and_rows_that_are_alike(case, n, d):
    features, labels = planted(11, n, d)
    features[:5] = 0.0
    features[5:9] = features[9]
    order = np.random.default_rng(0).permutation(n)
    value = case.estimator(features, labels)
    assert math.isfinite(value)
    # Where items start a mixture or are dealt into folds, the order of equal rows may matter.
    if case.order_of_equals:
        assert case.estimator(features[order], labels[order]) == pytest.approx(value, abs=1e-8)


@every_case
def test_integers_booleans_and_empty_columns_as_features(case):
    features, labels = planted(12, 40, 5)
    whole = np.round(20 * features).astype(np.int64)
    expected = case.estimator(whole.astype(float), labels)
    assert case.estimator(whole, labels) == expected
    assert case.estimator(whole.astype(np.float16), labels) == expected
    assert math.isfinite(case.estimator(whole > 0, labels > 0))
    with pytest.raises(InvalidInputError):
        case.estimator(whole + 1j, labels)
    with pytest.raises(InvalidInputError):
        case.estimator(np.zeros((0, 5)), np.zeros(0, dtype=int))
