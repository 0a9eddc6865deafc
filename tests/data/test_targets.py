from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from expertise_graph.core.errors import DatasetError
from expertise_graph.data.dataset import CLASS, LABELS, VALUE, Columns
from expertise_graph.data.reading import read_data
from expertise_graph.data.sampling import holdout


def write_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def write_jsonl(path, rows):
    path.write_text("\n".join(json.dumps({"text": t, "label": v}) for t, v in rows), encoding="utf-8")
    return path


def test_fractions_are_values_and_ranges_of_them_stand_for_classes(tmp_path):
    rows = [(f"text {i}", f"{i / 10:.1f}") for i in range(48)]
    data = read_data(write_csv(tmp_path / "t.csv", rows))
    assert (data.kind, data.outputs) == (VALUE, ("value",))
    assert data.targets[:, 0].tolist() == [i / 10 for i in range(48)]
    counts = np.bincount(data.labels)
    assert len(counts) == 5
    assert counts.max() - counts.min() <= 2
    assert (np.diff(data.labels) >= 0).all()
    assert data.classes[0].startswith("1: 0 to ")
    assert len(holdout(data, seed=0).test) == 10
    assert data.as_classes.kind == CLASS
    assert data.as_classes.outputs == data.classes


def test_whole_numbers_are_classes_unless_they_are_said_to_be_values(tmp_path):
    path = write_csv(tmp_path / "t.csv", [(f"text {i}", i % 7) for i in range(28)])
    assert read_data(path).kind == CLASS
    data = read_data(path, columns=Columns(target="value", label="label"))
    assert (data.kind, data.outputs, data.targets[:8, 0].tolist()) == (
        VALUE, ("label",), [0, 1, 2, 3, 4, 5, 6, 0],
    )  # fmt: skip


def test_lists_are_labels_and_each_item_stands_for_its_rarest_frequent_one(tmp_path):
    rows = [(f"text {i}", ["even"] if i % 2 == 0 else ["odd"]) for i in range(40)]
    rows = [(t, [*v, "third"] if i % 3 == 0 else v) for i, (t, v) in enumerate(rows)]
    rows[5] = (rows[5][0], ["odd", "only"])
    rows[7] = (rows[7][0], [])
    data = read_data(write_jsonl(tmp_path / "t.jsonl", rows))
    assert (data.kind, data.outputs) == (LABELS, ("even", "odd", "only", "third"))
    assert data.targets[5].tolist() == [0, 1, 1, 0]
    assert data.targets[7].tolist() == [0, 0, 0, 0]
    assert data.targets[6].tolist() == [1, 0, 0, 1]
    names = [data.classes[label] for label in data.labels]
    assert (names[5], names[6], names[7], names[8]) == ("odd", "third", "none", "even")


@pytest.mark.parametrize(("separator", "given"), [(";", None), ("|", None), (" / ", " / ")])
def test_a_cell_of_several_labels(tmp_path, separator, given):
    cells = [separator.join(("red", "round")), "red", separator.join(("round", " red "))] * 4
    path = write_csv(tmp_path / "t.csv", [(f"text {i}", cell) for i, cell in enumerate(cells)])
    data = read_data(path, columns=Columns(target="labels", separator=given))
    assert data.outputs == ("red", "round")
    assert data.targets[:3].tolist() == [[1, 1], [1, 0], [1, 1]]


def test_the_order_of_labels_does_not_change_the_task(tmp_path):
    one = [(f"text {i}", ["a", "b"] if i % 2 else ["c"]) for i in range(8)]
    other = [(t, list(reversed(v))) for t, v in one]
    data = [read_data(write_jsonl(tmp_path / f"{i}.jsonl", rows)) for i, rows in enumerate((one, other))]
    assert data[0].sha256 == data[1].sha256


@pytest.mark.parametrize(
    ("cells", "columns", "problem"),
    [
        (["1.5"] * 8, Columns(), "all 8 values are 1.5; there is nothing to learn"),
        (
            ["1.5", "high"] * 4,
            Columns(target="value"),
            "'high' is not a number, and values are",
        ),
        (
            ["1.5", "inf"] * 4,
            Columns(target="value"),
            "'inf' is infinite; values to learn must be finite",
        ),
        ([";"] * 8, Columns(target="labels"), "none of 8 items has a label"),
    ],
)
def test_targets_that_teach_nothing_are_refused(tmp_path, cells, columns, problem):
    path = write_csv(tmp_path / "t.csv", [(f"text {i}", cell) for i, cell in enumerate(cells)])
    with pytest.raises(DatasetError, match=problem):
        read_data(path, columns=columns)


def test_items_without_a_value_are_skipped(tmp_path):
    cells = ["0.5", "1.5", "", "NaN", "2.5", "3.5", "4.5"]
    data = read_data(write_csv(tmp_path / "t.csv", [(f"text {i}", c) for i, c in enumerate(cells)]))
    assert data.targets[:, 0].tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert [reason for _, reason in data.skipped] == ["no label", "no label"]
