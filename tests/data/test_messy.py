"""Data as people leave them: read as they are meant, or one line that says what to do."""

import gzip
import json
import zipfile

import pytest

from expertise_graph.core.errors import DatasetError
from expertise_graph.data import CLASS, VALUE, Columns, describe, read_data, read_inputs
from tests.data.files import image_folder, picture

MANY = 44


def table(path, cells, *, mark=",", header=("text", "label"), start=""):
    lines = [f'text {i}{mark}"{cell}"' for i, cell in enumerate(cells)]
    path.write_bytes((start + "\r\n".join([mark.join(header), *lines, ""])).encode())
    return path


@pytest.mark.parametrize(
    ("cells", "first", "said"),
    [
        ([f"{i},{i % 10}" for i in range(MANY)], 0.0, "'0,0' = 0.0"),
        (["0,5", "1,0", "1,5", "-2"] * 11, 0.5, "'0,5' = 0.5"),
        ([f"{i}%" for i in range(MANY)], 0.0, "'0%' = 0"),
        ([f"{1000 + 37 * i:,}" for i in range(MANY)], 1000.0, "'1,000' = 1000"),
        ([f"{1 + i}.{100 + i},{i % 10}" for i in range(MANY)], 1100.0, "'1.100,0' = 1100.0"),
    ],
)
def test_numbers_of_spreadsheets_are_values_and_the_line_says_so(tmp_path, cells, first, said):
    path = table(tmp_path / "t.csv", cells, mark=";", start="\ufeff")
    data = read_data(path)
    assert (data.kind, data.targets[0, 0]) == (VALUE, first)
    assert f"numbers such as {said}; `target=class`: names" in describe(data).line
    assert read_data(path, columns=Columns(target="class")).kind == CLASS
    assert read_data(path, columns=Columns(target="value")).targets.tolist() == data.targets.tolist()


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["0%", "50%", "100%"] * 4, ("0%", "100%", "50%")),
        (["1,2", "1", "2", "3"] * 4, ("1", "1,2", "2", "3")),
        (["1,1", "1,10", "2,1"] * 4, ("1,1", "1,10", "2,1")),
        (["1,5", "1.5", "2"] * 4, ("1,5", "1.5", "2")),
        (["1,2,3", "2,3", "4"] * 4, ("1,2,3", "2,3", "4")),
    ],
)
def test_few_shares_lists_codes_and_mixtures_stay_names(tmp_path, cells, classes):
    assert read_data(table(tmp_path / "t.csv", cells)).classes == classes


def test_cells_that_are_no_numbers_are_named_where_values_are_asked_for(tmp_path):
    path = table(tmp_path / "t.csv", ["1,5", "2,5", "high", "3"] * 2)
    with pytest.raises(DatasetError, match="'1,5' is not a number"):
        read_data(path, columns=Columns(target="value"))


def test_what_stands_for_no_label_is_pointed_out(tmp_path):
    notes = describe(read_data(table(tmp_path / "t.csv", ["yes", "no", "N/A", "?", ""] * 2))).notes
    assert notes == tuple(
        f"{name!r} is read as a class: set `no_label={name}` if it means that there is no label"
        for name in ("?", "N/A")
    )


def test_notes_beside_the_images_are_counted(tmp_path):
    image_folder(tmp_path, {"cat": 6, "dog": 6})
    (tmp_path / "cat" / "notes.txt").write_text("a cat")
    found = describe(read_data(tmp_path))
    assert (found.modality, found.items, found.skipped) == ("image", 12, {"no image file": 1})
    for i in range(3):
        (tmp_path / "dog" / f"{i}.txt").write_text("a dog")
    with pytest.raises(DatasetError, match="12 image files and 4 text files"):
        read_data(tmp_path)


def test_folders_around_the_data_are_looked_through_for_the_hint(tmp_path):
    for split in ("train", "test"):
        image_folder(tmp_path / "data" / "images" / split, {"cat": 2, "dog": 2})
    with pytest.raises(DatasetError, match=r"the one folder 'data'; did you mean .*data/images\?"):
        read_data(tmp_path)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("t.zip", "unpack it first"),
        ("t.csv.gz", "unpack it first"),
        ("t.xlsx", "save it as .csv first"),
        ("t.json", "write one object a line, as .jsonl"),
    ],
)
def test_other_files_are_told_what_to_do_first(tmp_path, name, what):
    path = tmp_path / name
    if name == "t.zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("cat/0.png", b"x")
    else:
        path.write_bytes(gzip.compress(b"x") if ".gz" in name else json.dumps([{"text": "a"}]).encode())
    with pytest.raises(DatasetError, match=f"cannot be read as a dataset: {what}"):
        read_data(path)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("{kind}_{i:03d}.png", "cat: 3, dog: 3"),
        ("{kind}.{i}.png", "cat: 3, dog: 3"),
        ("{kind} ({i}).png", "cat: 3, dog: 3"),
        ("{i:04d}-{kind}.png", "cat: 3, dog: 3"),
    ],
)
@pytest.mark.parametrize("where", [".", "images", "train"])
def test_classes_in_the_names_of_files_are_named_with_what_to_do(tmp_path, name, classes, where):
    (tmp_path / where).mkdir(exist_ok=True)
    for i in range(6):
        picture(i).save(tmp_path / where / name.format(kind=("cat", "dog")[i % 2], i=i))
    said = rf"they seem to be of 2 classes \({classes}\): put the files of each class into a folder"
    with pytest.raises(DatasetError, match=said):
        read_data(tmp_path)


@pytest.mark.parametrize("name", ["{i}.png", "IMG_{i}.png", "{word}.png"])
def test_names_of_files_that_tell_no_class_are_not_taken_for_such(tmp_path, name):
    for i in range(6):
        picture(i).save(tmp_path / name.format(i=i, word="abcdef"[i]))
    with pytest.raises(DatasetError, match="6 files in no class folder: put the files of each class into"):
        read_data(tmp_path)


def marked(path, rows, *, header="text,law,sport,art"):
    path.write_text("\n".join([header, *(f"text {i},{row}" for i, row in enumerate(rows))]) + "\n")
    return path


@pytest.mark.parametrize("rows", [["1,0,0", "0,1,0", "0,0,1"], ["True,False,False", "False,True,False"] * 2])
def test_one_hot_columns_are_named_with_what_to_do(tmp_path, rows):
    rows = [*rows, "0,0,1", "0,0,1"] if "1" in rows[0] else [*rows, "False,False,True"]
    with pytest.raises(
        DatasetError, match=r"columns law, sport, art hold 0 and 1 with one 1 in each row"
    ) as e:
        read_data(marked(tmp_path / "t.csv", rows))
    assert "into one column called label, or name one of them with `label_column`" in str(e.value)


def test_columns_of_several_marks_are_named_and_one_can_be_learned_alone(tmp_path):
    # The inputs have a name of no table that is known, as in the comments of the Jigsaw challenge.
    path = marked(tmp_path / "t.csv", ["1,0,1", "0,1,0", "0,0,0", "1,1,0"], header="comment,law,sport,art")
    with pytest.raises(DatasetError, match="law, sport, art hold 0 and 1, a mark for each label") as e:
        read_data(path)
    assert "separated by ';', and set `target=labels`" in str(e.value)
    data = read_data(path, columns=Columns(label="sport"))
    assert (data.items[1], data.classes, data.labels.tolist()) == ("text 1", ("0", "1"), [0, 1, 0, 1])


def test_columns_that_only_look_like_marks_keep_their_meaning(tmp_path):
    # One column of 0 and 1 is the label; beside a label others are left alone.
    assert read_data(marked(tmp_path / "a.csv", ["0", "1"] * 3, header="text,spam")).classes == ("0", "1")
    path = marked(tmp_path / "b.csv", ["law,0,1", "art,1,0"] * 3, header="text,label,short,long")
    assert read_data(path).classes == ("art", "law")


def test_a_row_without_a_text_is_known_by_its_number(tmp_path):
    (tmp_path / "t.csv").write_text('text,extra\nhello,1\n,2\n"  ",3\nbye,4\n')
    found = read_inputs(tmp_path / "t.csv", modality="text")
    assert [record.where for record in found.records] == ["hello", "t.csv row 2", "t.csv row 3", "bye"]


@pytest.mark.parametrize("mark", ["/", "&", "#", "+", "\n"])
def test_marks_that_seldom_separate_are_pointed_out_where_the_parts_are_labels(tmp_path, mark):
    path = tmp_path / "t.jsonl"
    cells = ["law", "art", f"art{mark}law"] * 3
    path.write_text("\n".join(json.dumps({"text": f"t {i}", "label": c}) for i, c in enumerate(cells)))
    data = read_data(path)
    assert data.kind == CLASS
    assert f"read as one class each: set `target=labels` if {mark!r} separates" in describe(data).notes[0]
    assert read_data(path, columns=Columns(target="labels")).outputs == ("art", "law")
    # Degrees of a label, and names with such marks, are none.
    path.write_text(
        "\n".join(
            json.dumps({"text": f"t {i}", "label": cell})
            for i, cell in enumerate(["good", "very good", "very", "AT&T", "R&D", "C/C++"] * 2)
        )
    )
    assert describe(read_data(path)).notes == ()


def test_a_label_that_says_something_else_of_each_item_is_pointed_out(tmp_path):
    rows = [f"text {i},https://example.org/{i}" for i in range(12)]
    (tmp_path / "t.csv").write_text("\n".join(["text,url", *rows]))
    assert describe(read_data(tmp_path / "t.csv")).notes == (
        "12 of 12 classes have one item only, from which nothing can be learned and measured; another column "
        "is read with `label_column`",
    )
    # A few rare classes among others are usual.
    table(tmp_path / "u.csv", ["a", "b", "c", "d", "e"] * 4 + ["f", "g", "h", "i"])
    assert describe(read_data(tmp_path / "u.csv")).notes == ()


def test_the_same_number_written_in_two_ways_is_pointed_out(tmp_path):
    data = read_data(table(tmp_path / "t.csv", ["1", "1.0", "2", "other", "v1.0", "v1"] * 3))
    assert data.classes == ("1", "1.0", "2", "other", "v1", "v1.0")
    assert describe(data).notes == (
        "'1' and '1.0' are the same number and are read as 2 classes: give them one name if they are one",
    )


def test_json_says_how_it_is_to_be_written(tmp_path):
    rows = [{"text": f"t {i}", "label": i % 2} for i in range(6)]
    for indent in (None, 1):
        (tmp_path / "t.jsonl").write_text(json.dumps(rows, indent=indent))
        with pytest.raises(DatasetError, match="holds a JSON array: write one object a line"):
            read_data(tmp_path / "t.jsonl")
    (tmp_path / "t.json").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DatasetError, match=r"it holds one object a line, so call it \.jsonl"):
        read_data(tmp_path / "t.json")


def test_a_table_of_texts_without_a_header_line_says_so(tmp_path):
    (tmp_path / "t.csv").write_text("".join(f"{'spam' if i % 2 else 'ham'},Hi there {i}\n" for i in range(8)))
    with pytest.raises(DatasetError, match="If the first line is a row and no header, write one above it"):
        read_data(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("v1,v2,,\n" + "".join(f"ham,Hi there {i},,\n" for i in range(8)))
    with pytest.raises(DatasetError, match=r"its columns are v1, v2\.$"):
        read_data(tmp_path / "t.csv")
