"""Lists in a label column: several labels, one label each, or vectors that are no labels."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expertise_graph.core.errors import DatasetError
from expertise_graph.data import CLASS, LABELS, VALUE, Columns, describe, read_data
from tests.data.files import image_folder


def jsonl_of(path, labels):
    path.write_text(
        "".join(json.dumps({"text": f"text {i}", "label": x}) + "\n" for i, x in enumerate(labels))
    )
    return path


def csv_of(path, cells):
    path.write_text("\n".join(["text;label", *(f"text {i};{cell}" for i, cell in enumerate(cells))]) + "\n")
    return path


ONE = ["law", "art", "sport", "law"] * 2


@pytest.mark.parametrize(
    "write", [str, json.dumps, lambda names: f"{{{names[0]!r}}}", lambda n: f"['{n[0]}']"]
)
def test_written_lists_of_one_are_classes_and_the_line_says_so(tmp_path, write):
    path = csv_of(tmp_path / "t.csv", [write([name]) for name in ONE])
    data = read_data(path)
    assert (data.kind, data.classes, data.labels.tolist()) == (
        CLASS,
        ("art", "law", "sport"),
        [1, 0, 2, 1] * 2,
    )
    line = describe(data).line
    assert (
        "3 classes from 'label' (lists of one; `target=labels` reads them as several labels an item)" in line
    )
    assert line.endswith("`target`]")
    several = read_data(path, columns=Columns(target="labels"))
    assert (several.kind, several.outputs) == (LABELS, ("art", "law", "sport"))
    assert several.targets.sum(axis=1).tolist() == [1] * 8


def test_list_columns_of_one_are_what_they_hold(tmp_path):
    def read(labels, **columns):
        return read_data(jsonl_of(tmp_path / "t.jsonl", labels), columns=Columns(**columns))

    data = read([["law"], ["art"], None, ["law"], ["art"]])
    assert (data.kind, data.classes, len(data)) == (CLASS, ("art", "law"), 4)
    assert describe(data).skipped == {"no label": 1}
    data = read([[n % 3] for n in range(12)])
    assert (data.kind, data.classes) == (CLASS, ("0", "1", "2"))
    assert "whole numbers; `target=value` reads them as values" in describe(data).labels
    assert read([[n % 3] for n in range(12)], target="value").targets[:3, 0].tolist() == [0, 1, 2]
    data = read([[n / 2] for n in range(12)])
    assert (data.kind, data.targets[:3, 0].tolist()) == (VALUE, [0.0, 0.5, 1.0])
    assert read([["law"], ["art"]] * 2, target="class").classes == ("art", "law")


@pytest.mark.parametrize("other", [[], ["art", "law"], [None], [""], [float("nan")]])
def test_one_list_without_a_single_label_makes_all_lists_of_several(tmp_path, other):
    data = read_data(jsonl_of(tmp_path / "t.jsonl", [["law"], ["art"], ["law"], other]))
    assert (data.kind, data.outputs) == (LABELS, ("art", "law"))
    assert data.targets[3].tolist() == ([1, 1] if len(other) == 2 else [0, 0])


def test_lists_of_one_class_have_the_names_of_the_schema(tmp_path):
    feature = {"feature": {"_type": "ClassLabel", "names": ["law", "sport"]}, "_type": "List"}
    table = pa.table({"text": [f"text {i}" for i in range(6)], "label": [[i % 2] for i in range(6)]})
    info = json.dumps({"info": {"features": {"label": feature}}})
    pq.write_table(table.replace_schema_metadata({"huggingface": info}), tmp_path / "t.parquet")
    data = read_data(tmp_path / "t.parquet")
    assert (data.kind, data.classes, data.labels.tolist()) == (CLASS, ("law", "sport"), [0, 1] * 3)


HOT = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]] * 2


@pytest.mark.parametrize("target", [None, "labels", "class"])
@pytest.mark.parametrize("cast", [int, float, bool])
def test_vectors_of_zeros_and_ones_are_no_labels(tmp_path, cast, target):
    columns = Columns(target=target)
    hot = [[cast(one) for one in row] for row in HOT]
    with pytest.raises(DatasetError, match=r"vectors of 3 numbers, such as .* class that the 1 stands for"):
        read_data(jsonl_of(tmp_path / "t.jsonl", hot), columns=columns)
    marks = [[cast(1), cast(1), cast(0)], *hot]
    with pytest.raises(DatasetError, match="lists of the names of the labels that the ones stand for"):
        read_data(jsonl_of(tmp_path / "t.jsonl", marks), columns=columns)


@pytest.mark.parametrize(
    "write", [str, lambda row: str(np.array(row)), lambda row: str(np.array(row, float))]
)
def test_written_vectors_are_no_labels(tmp_path, write):
    with pytest.raises(DatasetError, match=r"vectors of 3 numbers, such as .* class that the 1 stands for"):
        read_data(csv_of(tmp_path / "t.csv", [write(row) for row in HOT]))
    with pytest.raises(DatasetError, match="give one class, a list of labels, or one value for each item"):
        read_data(csv_of(tmp_path / "t.csv", [write([0.8, 0.1, 0.1]), write([0.1, 0.7, 0.2])] * 3))


def test_lists_of_class_ids_are_labels_even_where_all_have_one_length(tmp_path):
    lists = [[0, 1], [1, 2], [0, 2], [1, 0]] * 2
    data = read_data(jsonl_of(tmp_path / "t.jsonl", lists))
    assert (data.kind, data.outputs) == (LABELS, ("0", "1", "2"))
    assert data.targets[:2].tolist() == [[1, 1, 0], [0, 1, 1]]


def test_one_hot_arrays_say_how_to_save_the_classes(tmp_path):
    np.savez(tmp_path / "t.npz", texts=np.array([f"text {i}" for i in range(8)]), labels=np.array(HOT))
    with pytest.raises(DatasetError, match=r"shape \(8, 3\); .* labels.argmax\(1\)"):
        read_data(tmp_path / "t.npz")


def test_whole_numbers_of_any_size_are_names(tmp_path):
    large = [10**400, 2**64 + 1, 2**64 + 2, 2**64 + 1]
    for labels in (large, [[n] for n in large]):
        data = read_data(jsonl_of(tmp_path / "t.jsonl", labels * 2))
        assert (data.kind, set(data.classes)) == (CLASS, {str(n) for n in large})
        assert np.bincount(data.labels).tolist() == [2, 4, 2]


def test_folders_with_brackets_around_their_names_are_classes(tmp_path):
    image_folder(tmp_path, {"[0, 10]": 3, "[10, 20]": 3})
    assert (read_data(tmp_path).kind, read_data(tmp_path).classes) == (CLASS, ("[0, 10]", "[10, 20]"))


def test_lists_in_lists_end_in_a_line(tmp_path):
    deep = "x"
    for _ in range(400):
        deep = [deep]
    with pytest.raises(DatasetError, match="one string or number, not list"):
        read_data(jsonl_of(tmp_path / "t.jsonl", [deep, ["a"], ["b"], ["c"]]))
