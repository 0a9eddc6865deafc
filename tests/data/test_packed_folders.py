"""Folders as archives and challenges come: packed twice, unsorted, with captions, with classes in classes."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expertise_graph.core.errors import DatasetError
from expertise_graph.data import Columns, describe, read_data
from tests.data.files import image_folder, picture


def test_classes_that_are_packed_once_more_beside_themselves_are_read_once(tmp_path):
    image_folder(tmp_path, {"yes": 4, "no": 4})
    image_folder(tmp_path / "brain" / "brain", {"yes": 4, "no": 4})
    found = describe(read_data(tmp_path))
    assert (found.items, found.classes) == (8, 2)
    assert found.skipped == {"in brain/, which holds the class folders beside it once more": 8}
    assert found.notes == (
        "brain/ holds the class folders beside it once more (no, yes) and is left out: set `splits=none` to "
        "read it as a class",
    )
    assert read_data(tmp_path, columns=Columns(splits="none")).classes == ("brain", "no", "yes")


def test_so_they_are_in_the_folder_of_a_split(tmp_path):
    for split, n in (("train", 4), ("test", 2)):
        image_folder(tmp_path / split, {"yes": n, "no": n})
    image_folder(tmp_path / "train" / "all", {"yes": 3, "no": 3}, seed=50)
    data = read_data(tmp_path)
    assert (data.classes, len(data), len(data.skipped)) == (("no", "yes"), 12, 6)


def test_classes_that_hold_folders_of_some_same_name_are_no_copies(tmp_path):
    for name in ("cat", "dog"):
        image_folder(tmp_path / name, {"indoor": 2, "garden": 2})
    image_folder(tmp_path, {"owl": 2})
    with pytest.raises(DatasetError, match="cat, dog repeat the same sub-folders"):
        read_data(tmp_path)
    image_folder(tmp_path / "other", {"cat": 4, "fox": 4, "hen": 4, "cow": 4})
    image_folder(tmp_path / "other" / "owl", {"snowy": 2, "barn": 2})
    assert read_data(tmp_path / "other").classes == ("cat", "cow", "fox", "hen", "owl")


def test_classes_in_classes_are_pointed_out(tmp_path):
    image_folder(tmp_path / "animal", {"cat": 3, "dog": 3})
    image_folder(tmp_path / "plant", {"rose": 3, "oak": 3}, seed=20)
    data = read_data(tmp_path)
    assert data.classes == ("animal", "plant")
    assert describe(data).notes == (
        "each class folder holds folders of its own, as animal/ does (cat, dog), which are not told apart: "
        "give one of them to learn those",
    )
    assert read_data(tmp_path / "animal").classes == ("cat", "dog")
    # A class without such folders shows that they are no classes.
    image_folder(tmp_path, {"stone": 3}, seed=40)
    assert describe(read_data(tmp_path)).notes == ()


def test_a_split_whose_images_are_not_sorted_is_pointed_out_and_can_be_left_out(tmp_path):
    for name in ("n01", "n02"):
        image_folder(tmp_path / "train" / name, {"images": 3}, seed=int(name[1:]) * 10)
    for split, seed in (("val", 40), ("test", 50)):
        image_folder(tmp_path / split, {"images": 3}, seed=seed)
    notes = describe(read_data(tmp_path)).notes
    for split in ("validation", "test"):
        assert (
            f"all items of the {split} split have the label 'images', which no item to train on has: set "
            "`no_label=images` if it means that there is no label"
        ) in notes
    found = describe(read_data(tmp_path, columns=Columns(no_label="images")))
    assert (found.splits, found.skipped, found.notes) == ({"train": 6}, {"no label": 6}, ())


@pytest.mark.parametrize("name", ["-1", "0"])
def test_a_test_split_without_labels_in_a_table_is_pointed_out(tmp_path, name):
    rows = [f"text {i},{i % 2 + 1},train" for i in range(8)] + [f"more {i},{name},test" for i in range(4)]
    (tmp_path / "t.csv").write_text("\n".join(["text,label,split", *rows]) + "\n")
    note = f"all items of the test split have the label '{name}', which no item to train on has"
    assert any(said.startswith(note) for said in describe(read_data(tmp_path / "t.csv")).notes)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_captions_beside_the_classes_of_a_split_are_no_labels(tmp_path, form):
    for split, seed in (("train", 0), ("test", 40)):
        image_folder(tmp_path / split, {"cat": 3, "dog": 3}, seed=seed)
        rows = [
            {"file_name": f"{name}/{i}.png", "caption": f"a {name}, seen {i} times"}
            for name in ("cat", "dog")
            for i in range(3)
        ]
        place = tmp_path / split / f"metadata.{form}"
        if form == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), place)
        elif form == "jsonl":
            place.write_text("\n".join(map(json.dumps, rows)))
        else:
            lines = [f'{row["file_name"]},"{row["caption"]}"' for row in rows]
            place.write_text("\n".join(["file_name,caption", *lines]))
    data = read_data(tmp_path)
    assert (data.classes, {name: len(rows) for name, rows in data.splits.items()}) == (
        ("cat", "dog"),
        {"train": 6, "test": 6},
    )
    assert describe(data).skipped == {"in no class folder": 2}
    # Named by the user they are, and so is a column that is called label.
    assert len(read_data(tmp_path, columns=Columns(label="caption")).classes) == 6
    for split in ("train", "test"):
        (tmp_path / split / f"metadata.{form}").unlink()
        lines = [f"{name}/{i}.png,{'xy'[i % 2]}" for name in ("cat", "dog") for i in range(3)]
        (tmp_path / split / "metadata.csv").write_text("\n".join(["file_name,label", *lines]))
    assert read_data(tmp_path).classes == ("x", "y")


def test_a_folder_around_the_data_is_named_even_where_notes_lie_in_it(tmp_path):
    image_folder(tmp_path / "archive" / "Fruits" / "Fruits", {"apple": 3, "pear": 3})
    (tmp_path / "archive" / "README.txt").write_text("Fruits on a table")
    with pytest.raises(DatasetError, match=r"one folder 'archive'; did you mean .*/archive/Fruits/Fruits\?"):
        read_data(tmp_path)


def test_tables_in_folders_and_one_table_a_class_say_how_to_join_them(tmp_path):
    for name in ("neg", "pos"):
        (tmp_path / "folders" / f"label={name}").mkdir(parents=True)
        (tmp_path / "folders" / f"label={name}" / "part-0.csv").write_text("text\na\nb\n")
        (tmp_path / f"{name}.csv").write_text("text\na\nb\n")
    with pytest.raises(DatasetError, match=r"tables in its folders \(label=neg/part-0.csv, label=pos/part-"):
        read_data(tmp_path / "folders")
    (tmp_path / "flat").mkdir()
    for name in ("neg", "pos"):
        (tmp_path / f"{name}.csv").rename(tmp_path / "flat" / f"{name}.csv")
    with pytest.raises(DatasetError, match="where each is a class, write their rows into one table with a"):
        read_data(tmp_path / "flat")


def test_images_that_are_named_in_no_table_and_lie_in_no_class_are_counted(tmp_path):
    image_folder(tmp_path / "train", {"cat": 4, "dog": 4})
    (tmp_path / "test").mkdir()
    for i in range(4):
        picture(60 + i).save(tmp_path / "test" / f"{i}.png")
    found = describe(read_data(tmp_path))
    assert (found.splits, found.skipped) == ({"train": 8}, {"in no class folder": 4})
