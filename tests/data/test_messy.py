"""Data as people leave them: read as they are meant, or one line that says what to do."""

import gzip
import json
import zipfile

import pytest

from expertise_graph.core.errors import DatasetError
from expertise_graph.data import CLASS, VALUE, Columns, describe, read_data
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


def test_classes_in_the_names_of_files_are_no_classes(tmp_path):
    for i in range(6):
        picture(i).save(tmp_path / f"{('cat', 'dog')[i % 2]}.{i}.png")
    with pytest.raises(DatasetError, match="in no class folder"):
        read_data(tmp_path)
