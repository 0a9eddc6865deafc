"""A label column has the type that all of its cells speak for."""

import datetime
import decimal
import json
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expertise_graph.core.errors import DatasetError
from expertise_graph.data import CLASS, LABELS, VALUE, Columns, describe, read_data
from expertise_graph.data.label_columns import choose_separator


def csv_of(path, labels):
    lines = [f'text {i},"{str(label).replace(chr(34), chr(34) * 2)}"' for i, label in enumerate(labels)]
    path.write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    return path


def parquet_of(path, labels, features=None):
    table = pa.table({"text": [f"text {i}" for i in range(len(labels))], "label": labels})
    if features:
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": {"label": features}}})}
        )
    pq.write_table(table, path)
    return path


CODES = [
    ["1E50", "1E90", "2E61"],
    ["1E50", "GB04", "2E61"],
    ["1E500", "2E500", "GB04"],
    ["1.1", "1.10", "1.2"],
    ["3.1", "3.10", "3.2"],
    ["12e4", "120e3", "ab12"],
    ["005.1", "005.10", "510.2"],
    ["007", "008", "012"],
    ["E11.9", "I10", "J45.0"],
    ["1.2.3", "1.2.10", "2.0"],
    ["1" * 20, "2" * 20, "3" * 20],
    ["0x1F", "1_000", "٣"],
    ["inf", "sup", "max"],
]


@pytest.mark.parametrize("codes", CODES, ids=" ".join)
@pytest.mark.parametrize("target", [None, "class"])
def test_codes_keep_their_names(tmp_path, codes, target):
    data = read_data(csv_of(tmp_path / "t.csv", codes * 4), columns=Columns(target=target))
    assert (data.kind, set(data.classes)) == (CLASS, set(codes))
    assert np.bincount(data.labels).tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    ("cells", "kind", "outputs"),
    [
        (["0.5", "1.0", "1.5"], VALUE, ("value",)),
        (["1e-05", "3.2e+10", "7"], VALUE, ("value",)),
        (["-.5", "+2.25", "3."], VALUE, ("value",)),
        (["1.0", "2.0", "0.0"], CLASS, ("0", "1", "2")),
        (["1.", "2.", "1"], CLASS, ("1", "2")),
        (["+1.0", "-1.0", "0.0"], CLASS, ("-1", "0", "1")),
        (["3", "1", "20"], CLASS, ("1", "3", "20")),
    ],
)
def test_numbers_are_values_where_one_has_a_fraction_else_classes(tmp_path, cells, kind, outputs):
    data = read_data(csv_of(tmp_path / "t.csv", cells * 4))
    assert (data.kind, data.outputs) == (kind, outputs)


def test_with_target_class_a_cell_is_never_a_number(tmp_path):
    cells = ["0.5", "1.0", "+1", "1e5"]
    data = read_data(csv_of(tmp_path / "t.csv", cells * 3), columns=Columns(target="class"))
    assert set(data.classes) == set(cells)


def test_how_numbers_were_read_is_said_with_the_way_out(tmp_path):
    said = describe(read_data(csv_of(tmp_path / "t.csv", [0, 1, 2] * 4)))
    assert "3 classes from 'label' (whole numbers; `target=value` reads them as values)" in said.line
    said = describe(read_data(csv_of(tmp_path / "t.csv", [0.5, 1, 2] * 4)))
    assert "values from 'label' (numbers; `target=class` reads them as names)" in said.line
    assert describe(read_data(csv_of(tmp_path / "t.csv", ["a", "b"] * 4))).labels == ""


def test_many_different_whole_numbers_are_values(tmp_path):
    cells = [137 * i for i in range(30)]
    data = read_data(csv_of(tmp_path / "t.csv", cells))
    assert (data.kind, data.targets[:, 0].tolist()) == (VALUE, cells)
    assert "whole numbers, 30 different ones; `target=class` reads them as classes" in describe(data).line
    # With two items each they are classes, however many there are; so are few, and identifiers.
    assert read_data(csv_of(tmp_path / "t.csv", cells * 2)).kind == CLASS
    assert read_data(csv_of(tmp_path / "t.csv", range(20))).kind == CLASS
    assert read_data(csv_of(tmp_path / "t.csv", [f"{i:04d}" for i in cells])).kind == CLASS


def test_names_that_are_texts_by_type_are_no_numbers(tmp_path):
    names = [f"{137 * i}" for i in range(30)]
    assert read_data(parquet_of(tmp_path / "t.parquet", names)).classes == tuple(names)
    assert read_data(parquet_of(tmp_path / "t.parquet", ["1.0", "2.5", "NaN"] * 4)).classes == ("1.0", "2.5")
    for name in names:
        (tmp_path / "folders" / name).mkdir(parents=True)
        (tmp_path / "folders" / name / "1.txt").write_text(f"text {name}")
    (tmp_path / "folders" / "nan").mkdir()
    (tmp_path / "folders" / "nan" / "1.txt").write_text("bread")
    data = read_data(tmp_path / "folders")
    assert (data.kind, set(data.classes), describe(data).labels) == (CLASS, {*names, "nan"}, "")


def test_infinite_among_numbers_is_refused(tmp_path):
    for cells in (["0.5", "inf", "1.5"], ["1", "2", "-Infinity"]):
        with pytest.raises(DatasetError, match=r"are infinite .* among numbers"):
            read_data(csv_of(tmp_path / "t.csv", cells * 4))
    with pytest.raises(DatasetError, match="infinite"):
        read_data(parquet_of(tmp_path / "t.parquet", [0.0, 1.0, float("inf")] * 4))
    with pytest.raises(DatasetError, match="infinite"):
        read_data(
            parquet_of(tmp_path / "t.parquet", [0.0, float("inf")] * 4), columns=Columns(target="class")
        )


def test_a_few_words_among_numbers_are_pointed_out(tmp_path):
    data = read_data(csv_of(tmp_path / "t.csv", [*(f"{i}.5" for i in range(18)), "n/a", "?"]))
    assert data.kind == CLASS
    assert "90% of the labels are numbers, and 'n/a', '?' are not" in describe(data).notes[0]


def test_class_ids_with_gaps_stay_classes_and_rows_without_one_are_counted(tmp_path):
    for labels in (
        [1.0, 2.0, None, 0.0] * 4,
        pa.array([1.0, 2.0, float("nan"), 0.0] * 4, pa.float32()),
        pa.array([1, 2, None, 0] * 4, pa.int8()),
        [decimal.Decimal("1.00"), decimal.Decimal(2), None, decimal.Decimal(0)] * 4,
    ):
        data = read_data(parquet_of(tmp_path / "t.parquet", labels))
        assert (data.kind, data.classes, len(data)) == (CLASS, ("0", "1", "2"), 12)
        assert describe(data).skipped == {"no label": 4}
    data = read_data(csv_of(tmp_path / "t.csv", ["1.0", "2.0", "", "0.0", "NaN", "<NA>"] * 3))
    assert (data.classes, describe(data).skipped) == (("0", "1", "2"), {"no label": 9})


DAY = datetime.date(2020, 1, 2)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([decimal.Decimal(1), decimal.Decimal(2)], ("1", "2")),
        ([DAY, DAY.replace(day=3)], ("2020-01-02", "2020-01-03")),
        ([datetime.datetime(2020, 1, 2), datetime.datetime(2020, 1, 3)], ("2020-01-02", "2020-01-03")),
        (
            [datetime.datetime(2020, 1, 2, 8), datetime.datetime(2020, 1, 3)],
            ("2020-01-02 08:00:00", "2020-01-03"),
        ),
        ([datetime.time(8), datetime.time(9)], ("08:00:00", "09:00:00")),
        ([True, False], ("false", "true")),
        ([b"law", b"sport"], ("law", "sport")),
        ([uuid.UUID(int=1).bytes, uuid.UUID(int=2).bytes], (f"{1:032x}", f"{2:032x}")),
        (pa.array(["law", "sport"]).dictionary_encode(), ("law", "sport")),
        (pa.array([7, 9]).dictionary_encode(), ("7", "9")),
        (pa.array(["law", "sport"], pa.string_view()), ("law", "sport")),
    ],
)
def test_types_of_databases_keep_their_names(tmp_path, labels, classes):
    labels = pa.concat_arrays([labels if isinstance(labels, pa.Array) else pa.array(labels)] * 4)
    data = read_data(parquet_of(tmp_path / "t.parquet", labels))
    assert (data.kind, data.classes, len(data)) == (CLASS, classes, 8)


def test_records_with_a_name_are_classes_of_that_name(tmp_path):
    records = [{"id": 1, "name": "law"}, {"id": 2, "name": "sport"}]
    assert read_data(parquet_of(tmp_path / "t.parquet", records * 4)).classes == ("law", "sport")
    with pytest.raises(DatasetError, match="not dict with the fields id, title; write the label"):
        read_data(parquet_of(tmp_path / "t.parquet", [{"id": 1, "title": "law"}] * 4))


def test_decimals_with_fractions_are_values(tmp_path):
    data = read_data(parquet_of(tmp_path / "t.parquet", [decimal.Decimal(n) / 2 for n in range(3)] * 4))
    assert (data.kind, data.targets[:3, 0].tolist()) == (VALUE, [0.0, 0.5, 1.0])


CLASS_LABEL = {"_type": "ClassLabel", "names": ["law", "sport", "art"]}


@pytest.mark.parametrize(
    "features",
    [{"feature": CLASS_LABEL, "_type": "Sequence"}, {"feature": CLASS_LABEL, "_type": "List"}, [CLASS_LABEL]],
)
def test_lists_of_classes_have_their_names(tmp_path, features):
    data = read_data(parquet_of(tmp_path / "t.parquet", [[0], [1, 2], [], [0, 1]] * 2, features))
    assert (data.kind, data.outputs) == (LABELS, ("art", "law", "sport"))
    assert data.targets[:3].tolist() == [[0, 1, 0], [1, 0, 1], [0, 0, 0]]


def test_the_class_that_means_no_label(tmp_path):
    cells = [-1, 0, 1, 2] * 3
    data = read_data(csv_of(tmp_path / "t.csv", cells))
    assert data.classes == ("-1", "0", "1", "2")
    assert describe(data).notes == (
        "-1 is read as a class: set `no_label=-1` if it means that there is no label",
    )
    data = read_data(csv_of(tmp_path / "t.csv", cells), columns=Columns(no_label="-1"))
    assert (data.classes, describe(data).skipped) == (("0", "1", "2"), {"no label": 3})
    # Opinions are no such case.
    assert describe(read_data(csv_of(tmp_path / "t.csv", [-1, 0, 1] * 3))).notes == ()


TWO = [["law"], ["art", "law"], ["sport"], ["art", "sport"]]


@pytest.mark.parametrize(
    "write",
    [
        str,
        json.dumps,
        lambda names: "[" + " ".join(f"'{n}'" for n in names) + "]",
        lambda names: "{" + ", ".join(map(repr, names)) + "}",
        lambda names: str(tuple(names)),
        lambda names: str(np.array(names, dtype=object)),
        lambda names: "[" + ", ".join(names) + "]",
        lambda names: "{" + ",".join(names) + "}",
    ],
    ids=["Python", "JSON", "numpy", "set", "tuple", "numpy objects", "bare", "PostgreSQL"],
)
@pytest.mark.parametrize("target", [None, "labels"])
def test_lists_that_are_written_out_are_lists(tmp_path, write, target):
    path = csv_of(tmp_path / "t.csv", [write(names) for names in TWO * 3])
    data = read_data(path, columns=Columns(target=target))
    assert (data.kind, data.outputs) == (LABELS, ("art", "law", "sport"))
    assert data.targets[:4].tolist() == [[0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1]]


def test_names_in_lists_may_hold_quotes_commas_and_blanks(tmp_path):
    names = [["it's", "a, b"], ["New York"], ['say "x"'], []]
    data = read_data(csv_of(tmp_path / "t.csv", [str(n) for n in names * 3]))
    assert data.outputs == ("New York", "a, b", "it's", 'say "x"')
    assert data.targets[3].tolist() == [0, 0, 0, 0]


def test_brackets_in_some_cells_make_no_lists(tmp_path):
    data = read_data(csv_of(tmp_path / "t.csv", ["[a]", "b", "(c)"] * 3))
    assert (data.kind, data.classes) == (CLASS, ("(c)", "[a]", "b"))


@pytest.mark.parametrize("mark", [";", "|", ",", ", ", "/", "+", " ", " ; "])
def test_one_separator_is_chosen_for_the_column(tmp_path, mark):
    path = csv_of(tmp_path / "t.csv", [mark.join(names) for names in TWO * 3])
    data = read_data(path, columns=Columns(target="labels"))
    assert data.outputs == ("art", "law", "sport")
    assert data.targets[:2].tolist() == [[0, 1, 0], [1, 1, 0]]


def test_another_mark_in_the_cells_is_pointed_out(tmp_path):
    cells = ["law, art", "law; other", "art; other", "art, sport", "art, law"] * 2
    data = read_data(csv_of(tmp_path / "t.csv", cells), columns=Columns(target="labels"))
    assert describe(data).notes == (
        "4 labels such as 'law; other' hold ';', too, which is read as a part of names; `separator` chooses",
    )
    assert read_data(tmp_path / "t.csv", columns=Columns(target="labels", separator=";")).outputs[0] == "art"


def test_the_separator_leaves_the_fewest_labels():
    assert choose_separator(["Smith, Ann; Lee, Bo", "Lee, Bo", "Smith, Ann"]) == ";"
    assert choose_separator(["law, art", "law; other", "art; other", "art, sport", "art, law"]) == ","
    assert choose_separator(["New York", "New Jersey", "York"]) == ";"
    assert choose_separator(["A/B testing", "C++", "law"]) == ";"


def test_labels_that_are_never_alone_but_in_several_cells_are_pointed_out(tmp_path):
    cells = ["law, art", "law; other", "art; other", "art, sport", "sport, law"] * 3
    (note,) = describe(read_data(csv_of(tmp_path / "t.csv", cells))).notes
    assert note.endswith("set `target=labels` if ',' separates several")
    names = ["Lee, Ann", "Smith, Bo", "Jones, Cy"] * 5
    assert describe(read_data(csv_of(tmp_path / "names.csv", names))).notes == ()


def test_cells_that_seem_to_hold_several_labels_are_pointed_out(tmp_path):
    data = read_data(csv_of(tmp_path / "t.csv", [";".join(names) for names in TWO * 3]))
    assert data.kind == CLASS
    assert describe(data).notes == (
        "labels such as 'art;law' are read as one class each: set `target=labels` if ';' separates several",
    )
    given = read_data(
        csv_of(tmp_path / "t.csv", [";".join(n) for n in TWO * 3]), columns=Columns(separator=";")
    )
    assert given.kind == LABELS
    assert describe(read_data(csv_of(tmp_path / "t.csv", ["Smith, Ann", "Lee, Bo"] * 3))).notes == ()


@pytest.mark.parametrize("labels", [pa.nulls(12), [None] * 12, [""] * 12, [float("nan")] * 12])
def test_a_column_without_any_label_is_told_with_what_to_do(tmp_path, labels):
    for path in (parquet_of(tmp_path / "data.parquet", labels), csv_of(tmp_path / "data.csv", [""] * 12)):
        with pytest.raises(
            DatasetError, match=r"none of 12 items has a label; name the column .*label_column"
        ):
            read_data(str(path), columns=Columns(label="label"))
