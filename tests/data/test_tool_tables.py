"""Tables as annotation tools, spreadsheets and databases write them."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expertise_graph.core.errors import DatasetError
from expertise_graph.data import CLASS, LABELS, Columns, describe, read_data
from tests.data.files import IMAGE_FEATURES, image_table, picture, save_to_disk

CLASS_LABEL = {"_type": "ClassLabel", "names": ["law", "art", "sport"]}


def csv_of(path, labels):
    lines = [f'text {i},"{label.replace(chr(34), chr(34) * 2)}"' for i, label in enumerate(labels)]
    path.write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    return path


def parquet_of(path, labels, feature):
    table = pa.table({"text": [f"text {i}" for i in range(len(labels))], "label": labels})
    features = json.dumps({"info": {"features": {"label": feature}}})
    pq.write_table(table.replace_schema_metadata({"huggingface": features}), path)
    return path


# First lines


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_of_files_without_a_header_loses_no_item_to_it(tmp_path, mark):
    for i in range(6):
        picture(i).save(tmp_path / f"img_{i}.png")
    rows = [f"img_{i}.png{mark}{'ab'[i % 2]}" for i in range(6)]
    path = tmp_path / ("t.tsv" if mark == "\t" else "t.csv")
    path.write_text("\n".join(rows) + "\n")
    with pytest.raises(DatasetError, match=r"no header line: its first line holds 'img_0.png', which is an"):
        read_data(path)
    path.write_text("\n".join([f"file{mark}label", *rows]) + "\n")
    assert len(read_data(path)) == 6


def test_a_header_line_that_stands_again_between_the_rows_is_no_item(tmp_path):
    once = "text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(4))
    (tmp_path / "t.csv").write_text(once + once.replace("text ", "more "))
    data = read_data(tmp_path / "t.csv")
    assert (data.classes, len(data)) == (("a", "b"), 8)
    assert data.skipped == (("t.csv row 5", "the header line again"),)


# Quotes


@pytest.mark.parametrize(
    "texts",
    [
        ['"Great" movie', "a bore", '"Dull" film', "fine"],
        ['"never closed', "a bore", "dull", 'he said "fine"'],
        # Read as enclosing quotes, the first would swallow the second line, and no line would be uneven.
        ['"begun', 'and ended"', "dull", "fine"],
    ],
)
def test_quotes_in_a_table_of_tabs_are_text_where_they_enclose_no_field(tmp_path, texts):
    lines = ["text\tlabel", *(f"{text}\t{'ab'[i % 2]}" for i, text in enumerate(texts))]
    (tmp_path / "t.tsv").write_text("\n".join(lines) + "\n")
    data = read_data(tmp_path / "t.tsv")
    assert (list(data.items), data.labels.tolist(), data.skipped) == (texts, [0, 1, 0, 1], ())


def test_quotes_that_enclose_fields_of_a_table_of_tabs_are_no_text(tmp_path):
    (tmp_path / "t.tsv").write_text('"text"\t"label"\n"a\tb"\t"x"\n"c\nd"\t"y"\n"e ""f"""\tx\ng\ty\n')
    assert read_data(tmp_path / "t.tsv").items == ("a\tb", "c\nd", 'e "f"', "g")


# Records


@pytest.mark.parametrize(
    ("cells", "names", "marks"),
    [
        (['{"choices": ["law", "art"]}', '{"choices": ["art"]}'], ("art", "law"), [[1, 1], [1, 0]]),
        (['{"choices": ["law", "art"]}', "art"], ("art", "law"), [[1, 1], [1, 0]]),
        (["{'choices': ['law', 'art']}", "{'choices': []}"], ("art", "law"), [[1, 1], [0, 0]]),
    ],
    ids=["records", "a text beside them", "as Python writes them"],
)
def test_choices_of_an_annotation_tool_are_labels(tmp_path, cells, names, marks):
    data = read_data(csv_of(tmp_path / "t.csv", cells * 3))
    assert (data.kind, data.outputs, data.targets[:2].tolist()) == (LABELS, names, marks)


def test_records_of_one_field_are_what_it_holds(tmp_path):
    data = read_data(csv_of(tmp_path / "t.csv", ['{"topic": "law"}', '{"topic": "art"}', ""] * 3))
    assert (data.kind, data.classes, describe(data).skipped) == (CLASS, ("art", "law"), {"no label": 3})
    rows = [{"text": f"text {i}", "label": {"topic": ["law", "art"][i % 2]}} for i in range(6)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read_data(tmp_path / "t.jsonl").classes == ("art", "law")


def test_records_of_several_fields_are_no_names(tmp_path):
    path = csv_of(tmp_path / "t.csv", ['{"law": 1, "art": 0}', '{"law": 0, "art": 1}'] * 3)
    with pytest.raises(DatasetError, match="not dict with the fields law, art; write the label of each item"):
        read_data(path)
    # As names they can still be had, and braces alone make no record.
    assert read_data(path, columns=Columns(target="class")).classes[0] == '{"law": 0, "art": 1}'
    assert read_data(csv_of(tmp_path / "u.csv", ["{law}", "x{art}"] * 3)).classes == ("x{art}", "{law}")


@pytest.mark.parametrize(
    ("label", "what"),
    [
        ([[0, 2, "ORG"], [3, 5, "PER"]], r"not list in a list as in \[\[0, 2, 'ORG'\], \[3, 5, 'PER'\]\]"),
        ({"bbox": [[1, 2, 3, 4]], "category": [0]}, "not dict with the fields bbox, category"),
    ],
)
def test_marks_in_texts_and_boxes_in_images_are_named(tmp_path, label, what):
    rows = [{"text": f"text {i}", "label": label} for i in range(6)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DatasetError, match=f"{what}: boxes in images and marks in texts are not supported"):
        read_data(tmp_path / "t.jsonl")


# Classes of a schema


@pytest.mark.parametrize(
    ("labels", "feature"),
    [
        ([0.0, 1.0, None, 2.0], CLASS_LABEL),
        (pa.array([0, 1, None, 2], pa.float32()), CLASS_LABEL),
        ([{"topic": 0}, {"topic": 1}, {"topic": None}, {"topic": 2}], {"topic": CLASS_LABEL}),
        ([[0], [1], None, [2]], {"feature": CLASS_LABEL, "_type": "List"}),
    ],
    ids=["as pandas writes gaps", "float32", "in records", "in lists of one"],
)
def test_numbers_of_classes_have_their_names_in_whatever_type_they_are_kept(tmp_path, labels, feature):
    labels = pa.concat_arrays([labels if isinstance(labels, pa.Array) else pa.array(labels)] * 3)
    data = read_data(parquet_of(tmp_path / "t.parquet", labels, feature))
    assert (data.classes, len(data)) == (("art", "law", "sport"), 9)
    assert data.labels[:3].tolist() == [1, 0, 2]
    assert describe(data).skipped == {"no label": 3}


def test_a_class_without_a_name_in_the_schema_is_not_taken_for_no_label(tmp_path):
    data = read_data(parquet_of(tmp_path / "t.parquet", [0, 1, -1, 3] * 3, CLASS_LABEL))
    assert describe(data).skipped == {"no label": 3, "no name in the schema for class N": 3}
    lists = read_data(
        parquet_of(
            tmp_path / "t.parquet", [[0, 1], [0, 7], [1]] * 3, {"feature": CLASS_LABEL, "_type": "List"}
        )
    )
    assert lists.skipped[0] == ("t.parquet row 2", "no name in the schema for class 7")
    saved = read_data(save_to_disk(tmp_path / "saved", image_table([0, 1, 2, 0, 1]), IMAGE_FEATURES))
    assert (len(saved), [reason for _, reason in saved.skipped]) == (4, ["no name in the schema for class 2"])
