"""Samples with few items a class: they grow where the data have more, else the answer says what is open."""

import csv
import dataclasses

import numpy as np
import pytest

from expertise_graph.core.types import Query
from expertise_graph.data.reading import read_data
from expertise_graph.retrieval import evidence
from expertise_graph.retrieval.evidence import draw_sample
from expertise_graph.retrieval.posterior import infer
from expertise_graph.retrieval.scale import accuracy_of, log_odds
from expertise_graph.store.store import Store
from tests.program import invoke
from tests.retrieval.searches import ran, search


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path)
    yield made
    made.close()


@pytest.fixture
def texts(tmp_path):
    """Write texts of classes of given sizes, told by a word of each class."""

    def write(sizes):
        path = tmp_path / "texts.csv"
        rng = np.random.default_rng(0)
        with path.open("w", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(("text", "label"))
            for label, size in enumerate(sizes):
                words = [" ".join([f"word{label}"] * 3 + [str(n) for n in rng.integers(99, size=4)])] * size
                rows.writerows((f"{text} {i}", f"class {label}") for i, text in enumerate(words))
        return path

    return write


def with_labels(found, labels):
    found.sample = dataclasses.replace(found.sample, labels=np.asarray(labels))
    return found


def test_a_sample_grows_until_each_class_has_two_items(texts):
    sample = draw_sample(read_data(texts([5] * 30)), Query(sample=40))
    assert np.bincount(sample.labels).tolist() == [2] * 30
    assert sample.supported == 60
    assert sample.notes == [
        "60 items were looked at instead of 40, for two of each class where there are two"
    ]


def test_a_sample_that_has_two_of_each_class_stays_as_it_was(texts):
    data = read_data(texts([9] * 6))
    sample = draw_sample(data, Query(sample=24))
    assert (len(sample.labels), sample.asked, sample.notes) == (24, None, [])
    assert sample.inputs.sha256.split(":")[-3] == "24"
    whole = draw_sample(data, Query(sample=512))
    assert (whole.asked, whole.notes) == (None, [])


def test_a_class_with_one_item_to_learn_from_is_told(texts):
    sample = draw_sample(read_data(texts([9, 9, 2, 2])), Query())
    assert sample.supported == len(sample.labels) - 2
    (note,) = sample.notes
    assert note.startswith(
        "2 of 4 classes have a single item to learn from: how well those are told is not known"
    )
    assert "give each class three items or more" in note
    alone = draw_sample(read_data(texts([2] * 5)), Query())
    assert alone.supported == 0
    assert alone.notes[0].startswith("each class has a single item to learn from: no accuracy is known")


def test_of_more_classes_than_fit_pairs_of_some_are_drawn(texts, monkeypatch):
    monkeypatch.setattr(evidence, "_LARGEST", 40)
    sample = draw_sample(read_data(texts([2] * 5 + [5] * 45)), Query(sample=10))
    counts = np.bincount(sample.labels)
    assert sorted(counts[counts > 0]) == [2] * 20
    assert sample.notes[1] == "only 20 of 50 classes were looked at"
    again = draw_sample(read_data(texts([2] * 5 + [5] * 45)), Query(sample=10))
    np.testing.assert_array_equal(again.labels, sample.labels)


def test_where_no_class_has_two_items_nothing_is_told(store):
    found = with_labels(search(store, np.eye(3)), np.arange(100))
    belief = infer(ran(found, e0=0.0, e1=0.0))
    assert not belief.scale.known
    assert np.ptp(belief.mean) == pytest.approx(0.0, abs=1e-9)
    assert infer(ran(with_labels(search(store, np.eye(3)), np.arange(100) // 2), e0=0.0, e1=0.0)).scale.known


@pytest.mark.parametrize("alone", [10, 40, 80])
def test_an_interval_reaches_from_none_to_all_that_cannot_be_told(store, alone):
    labels = np.concatenate([np.arange(100 - alone) % 2, 2 + np.arange(alone)])
    accuracy = 0.8 * (100 - alone) / 100
    vague = infer(ran(with_labels(search(store, np.eye(1)), labels), e0=accuracy))
    low, high = vague.interval()
    assert low[0] < accuracy < accuracy + 0.4 * alone / 100 < high[0]
    assert high[0] > 0.8
    doubt = (log_odds(0.8, 100 - alone) - log_odds(accuracy, 100)) / 2 / 1.2816
    # Beside the luck of the items, and what is not known about fine-tuning.
    middle = accuracy + 0.4 * alone / 100
    others = (1 / (100 * middle * (1 - middle))) + vague.scale.shift.deviation**2
    assert vague.scale.doubt == pytest.approx(np.sqrt(doubt**2 + others), rel=0.01)
    sure = infer(ran(with_labels(search(store, np.eye(1)), np.arange(100) % 2), e0=accuracy))
    others = (1 / (100 * accuracy * (1 - accuracy))) + sure.scale.shift.deviation**2
    assert sure.scale.doubt == pytest.approx(np.sqrt(others), rel=0.01)
    assert sure.covariance[0, 0] < vague.covariance[0, 0]
    assert accuracy_of(sure.mean - sure.scale.shift.mean)[0] == pytest.approx(accuracy, abs=0.03)


def test_a_probe_that_is_right_on_every_one_of_a_few_items_may_be_wrong_on_others(store):
    few, many = (
        infer(ran(with_labels(search(store, np.eye(1)), np.arange(n) % 2), e0=1.0)) for n in (48, 480)
    )
    assert few.interval()[0][0] < 0.95 < many.interval()[0][0]


def test_the_answer_says_what_to_do(workspace, texts):
    data = texts([2] * 6)
    answer = invoke("query", data, "--budget", 2, "--json").worked().json
    assert answer["unit"] == "percentile"
    assert any("give each class three items or more" in note for note in answer["notes"])
    assert not any("beats the raw input" in note for note in answer["notes"])
    first, second = answer["candidates"]
    assert abs(first["p_best"] - second["p_best"]) < 0.1
    assert {c["evidence"][0] for c in answer["candidates"]} == {"run on a single item a class"}
    with Store(workspace) as store:
        assert store.scores() == [], "other tasks would take them for probes that all failed"
    printed = invoke("query", data, "--budget", 2).worked().out
    assert "each class has a single item to learn from: no accuracy is known" in printed
    assert "until an expert is run" not in printed
