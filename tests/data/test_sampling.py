import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expertise_graph.core.errors import DatasetError, InvalidInputError
from expertise_graph.data.dataset import LabelledData
from expertise_graph.data.sampling import holdout, stratified_sample

labels_strategy = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(np.array)


def data_of(labels, splits=None) -> LabelledData:
    labels = np.asarray(labels)
    return LabelledData(
        name="d",
        modality="text",
        locator="d",
        items=tuple(str(i) for i in range(len(labels))),
        labels=labels,
        classes=tuple(str(i) for i in range(int(labels.max()) + 1)),
        sha256="0" * 64,
        splits=splits or {},
    )


@given(labels_strategy, st.integers(0, 90), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_sample_properties(labels, n, seed):
    sample = stratified_sample(labels, n, seed=seed)
    assert len(sample) == min(n, len(labels))
    assert (np.diff(sample) > 0).all()
    np.testing.assert_array_equal(sample, stratified_sample(labels, n, seed=seed))
    classes, counts = np.unique(labels, return_counts=True)
    drawn = np.array([(labels[sample] == c).sum() for c in classes])
    if n >= np.minimum(counts, 2).sum():
        assert (drawn >= np.minimum(counts, 2)).all()
    elif n >= len(classes):
        assert (drawn >= 1).all()
    else:
        assert drawn.max(initial=0) <= 1


def test_sample_is_proportional():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    counts = np.bincount(labels[stratified_sample(labels, 100, seed=3)])
    assert counts.tolist() == [60, 30, 10]


def test_sample_depends_on_the_seed_and_covers_everything():
    labels = np.repeat([0, 1], 50)
    samples = [stratified_sample(labels, 10, seed=s) for s in range(60)]
    assert len({tuple(s) for s in samples}) > 50
    assert set(np.concatenate(samples)) == set(range(100))


def test_negative_samples_are_refused():
    with pytest.raises(InvalidInputError, match="-1"):
        stratified_sample(np.array([0, 1]), -1, seed=0)


@given(labels_strategy, st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_holdout_properties(labels, seed):
    data = data_of(labels)
    counts = np.bincount(labels)
    if counts.max() < 2:
        with pytest.raises(DatasetError, match="one item per class"):
            holdout(data, seed=seed)
        return
    splits = holdout(data, seed=seed)
    parts = [splits.train, splits.validation, splits.test]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    for label, count in enumerate(counts):
        in_parts = [(labels[part] == label).sum() for part in parts]
        if count == 1:
            assert in_parts == [1, 0, 0]
        elif count == 2:
            assert in_parts == [1, 0, 1]
        elif count >= 3:
            assert min(in_parts) >= 1
    again = holdout(data, seed=seed)
    np.testing.assert_array_equal(splits.test, again.test)


def test_holdout_fractions():
    splits = holdout(data_of(np.repeat([0, 1], [100, 50])), seed=0, test=0.3, validation=0.1)
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [90, 15, 45]


def test_declared_test_is_kept_and_validation_comes_from_train():
    labels = np.tile([0, 1], 20)
    declared = {"train": np.arange(30), "test": np.arange(30, 40)}
    splits = holdout(data_of(labels, declared), seed=1)
    np.testing.assert_array_equal(splits.test, np.arange(30, 40))
    assert len(splits.validation) == 6
    np.testing.assert_array_equal(np.sort(np.r_[splits.train, splits.validation]), np.arange(30))


def test_all_declared_splits_are_kept():
    declared = {"train": np.arange(4), "validation": np.array([5, 4]), "test": np.array([6, 7])}
    splits = holdout(data_of([0, 1] * 4, declared), seed=1)
    assert splits.train.tolist() == [0, 1, 2, 3]
    assert splits.validation.tolist() == [4, 5]
    assert splits.test.tolist() == [6, 7]


def test_declared_validation_alone_leaves_the_test_to_be_drawn():
    declared = {"train": np.arange(10), "validation": np.arange(10, 14)}
    splits = holdout(data_of([0, 1] * 7, declared), seed=1)
    assert splits.validation.tolist() == [10, 11, 12, 13]
    assert len(splits.test) == 2
    assert set(splits.test) < set(range(10))


def test_a_declaration_without_train_is_not_used():
    splits = holdout(data_of([0, 1] * 10, {"test": np.arange(20)}), seed=0)
    assert len(splits.train) == 12


@given(labels_strategy, st.permutations(range(80)), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_the_same_items_are_held_out_in_any_order_and_copies_on_one_side(labels, order, seed):
    texts = [f"{label} {place % 9}" for place, label in enumerate(labels)]
    moved = [i for i in order if i < len(labels)]
    held = []
    for rows in (range(len(labels)), moved):
        data = dataclasses.replace(data_of(labels[list(rows)]), digests=tuple(texts[i] for i in rows))
        varied = max(Counter(text.split()[0] for text in set(texts)).values()) > 1
        parts = holdout(data, seed=seed, test=0.2 if varied else 0.0)
        held.append([sorted(data.digests[i] for i in part) for part in dataclasses.astuple(parts)])
    assert held[0] == held[1]
    assert sum(len(set(part)) for part in held[0]) == len(set(texts))
    assert sum(map(len, held[0])) == len(texts)


def test_copies_count_once():
    data = data_of(np.repeat([0, 1], 30))
    digests = tuple(f"{label} {place // 3}" for place, label in enumerate(data.labels))
    splits = holdout(dataclasses.replace(data, digests=digests), seed=0)
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [36, 12, 12]


def test_where_all_are_copies_they_are_split_as_they_are():
    data = data_of(np.repeat([0, 1], 10))
    alike = dataclasses.replace(data, digests=tuple(map(str, data.labels)))
    splits = holdout(alike, seed=0)
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [12, 4, 4]


def test_bad_fractions():
    with pytest.raises(InvalidInputError, match="less than one"):
        holdout(data_of([0, 1, 0, 1]), seed=0, test=0.6, validation=0.4)


def test_no_test_wanted_leaves_it_empty():
    splits = holdout(data_of([0, 1, 0, 1]), seed=0, test=0, validation=0)
    assert splits.train.tolist() == [0, 1, 2, 3]
    assert len(splits.test) == 0
