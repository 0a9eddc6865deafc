"""Images are found by what tables call them, read by content, and followed through symlinks."""

import base64
import hashlib
import os
import time
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expertise_graph.core.errors import DatasetError
from expertise_graph.data import Columns, describe, probe_set_from, read_data, read_inputs, read_lines
from tests.data.files import (
    IMAGE_FEATURES,
    image_folder,
    image_table,
    picture,
    png,
    save_to_disk,
    text_csv,
)


def photos(folder, n=6, *, suffix=".png", kind="PNG"):
    """Write n pictures called photo_0 and so on, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        picture(i).save(folder / f"photo_{i}{suffix}", format=kind)
    return [folder / f"photo_{i}{suffix}" for i in range(n)]


def table(path, cells, header="image,label"):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header, *(f'"{cell}",{"ab"[i % 2]}' for i, cell in enumerate(cells))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


WAYS = {
    "stem": lambda file: file.stem,
    "name": lambda file: file.name,
    "path": lambda file: f"img/{file.name}",
    "dotted": lambda file: f"./img/{file.name}",
    "absolute": str,
    "backslashes": lambda file: f"img\\{file.name}",
    "query": lambda file: f"img/{file.name}?w=10&h=2",
    "url": lambda file: f"https://example.org/a/b/{file.stem}.jpg?size=10",
    "quoted url": lambda file: f"https://example.org/{file.stem.replace('_', '%5F')}.jpg",
    "another suffix": lambda file: f"img/{file.stem}.jpeg",
    "of another machine": lambda file: f"/media/disk/img/{file.name}",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("header", ["image,label", "image_id,class", "img_path,label"])
def test_a_column_called_image_holds_images_however_it_names_them(tmp_path, way, header):
    cells = [WAYS[way](file) for file in photos(tmp_path / "img")]
    data = read_data(table(tmp_path / "labels.csv", cells, header))
    assert (data.modality, len(data), data.skipped) == ("image", 6, ())
    assert [item.read_bytes() for item in data.items] == [
        (tmp_path / "img" / f"photo_{i}.png").read_bytes() for i in range(6)
    ]
    assert describe(data).columns["image"] == header.partition(",")[0]


def test_the_folder_of_such_a_table_is_the_dataset(tmp_path):
    table(tmp_path / "labels.csv", [file.stem for file in photos(tmp_path / "img")])
    data = read_data(tmp_path)
    assert (data.modality, data.classes, len(data)) == ("image", ("a", "b"), 6)


def test_ids_are_images_where_files_are_called_so(tmp_path):
    photos(tmp_path / "train")
    cells = [f"photo_{i}" for i in range(6)]
    assert read_data(table(tmp_path / "train.csv", cells, "id,breed")).modality == "image"
    photos(tmp_path / "numbers", 0)
    for i in range(6):
        picture(i).save(tmp_path / "numbers" / f"{i}.png")
    path = tmp_path / "numbers" / "t.jsonl"
    path.write_text("\n".join(f'{{"image_id": {i}, "label": "{i % 2}"}}' for i in range(6)))
    assert (read_data(path).modality, len(read_data(path))) == ("image", 6)


def test_ids_beside_texts_are_no_images_unless_there_are_files(tmp_path):
    lines = ["image_id,text,label", *(f"{i},text {i},{i % 2}" for i in range(6))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert read_data(tmp_path / "t.csv").modality == "text"
    for i in range(6):
        picture(i).save(tmp_path / f"{i}.png")
    with pytest.raises(DatasetError, match=r"both images \('image_id'\) and texts \('text'\)"):
        read_data(tmp_path / "t.csv")


def test_a_column_called_image_without_files_is_one_clear_error(tmp_path):
    with pytest.raises(
        DatasetError, match=r"none of 6 items can be used; .* row 1: cannot read .*No such file"
    ):
        read_data(table(tmp_path / "t.csv", [f"photo_{i}" for i in range(6)]))
    with pytest.raises(DatasetError, match=r"nothing is downloaded, and there is no '0.jpg' here"):
        read_data(table(tmp_path / "u.csv", [f"https://example.org/{i}.jpg" for i in range(6)]))


def test_a_file_of_the_same_name_in_another_folder_is_not_taken(tmp_path):
    image_folder(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "cat" / "1.png").unlink()
    cells = [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(3)]
    data = read_data(table(tmp_path / "t.csv", cells))
    ((_, reason),) = data.skipped
    assert (len(data), reason.partition(": ")[2]) == (5, "No such file or directory")
    cells = [f"{i}.png" for i in (0, 1, 2)] * 2
    with pytest.raises(DatasetError, match=r"several files may be meant: cat/0.png, dog/0.png"):
        read_data(table(tmp_path / "u.csv", cells))


def test_names_in_several_folders_are_those_of_the_folder_of_the_table(tmp_path):
    photos(tmp_path / "train")
    for i, file in enumerate(photos(tmp_path / "test")):
        picture(100 + i).save(file)
    data = read_data(table(tmp_path / "train.csv", [f"photo_{i}" for i in range(6)]))
    assert {item.parent.name for item in data.items} == {"train"}


@pytest.mark.parametrize("first", ["see attached screenshot.png", "Crash when opening IMG_01.JPG", "a/b.ico"])
def test_one_cell_does_not_make_texts_images(tmp_path, first):
    rows = [(first, "x"), *((f"a text {i}", "xy"[i % 2]) for i in range(8))]
    data = read_data(text_csv(tmp_path / "t.csv", rows))
    assert (data.modality, len(data), data.items[0]) == ("text", 9, first)


def test_a_column_of_file_names_is_images_even_where_one_cell_is_not(tmp_path):
    cells = ["no picture", *(f"img/{file.name}" for file in photos(tmp_path / "img"))]
    data = read_data(table(tmp_path / "t.csv", cells, "where,label"))
    assert (data.modality, len(data), len(data.skipped)) == ("image", 6, 1)


@pytest.mark.parametrize("form", ["base64", "data URI", "broken lines"])
def test_images_in_cells(tmp_path, form):
    write = {
        "base64": lambda data: base64.b64encode(data).decode(),
        "data URI": lambda data: f"data:image/png;base64,{base64.b64encode(data).decode()}",
        "broken lines": lambda data: base64.encodebytes(data).decode(),
    }[form]
    cells = [write(png(i)) for i in range(6)]
    columns = {"image": cells, "label": ["a", "b"] * 3}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    data = read_data(tmp_path / "t.parquet")
    assert (data.modality, data.items) == ("image", tuple(png(i) for i in range(6)))
    pq.write_table(pa.table({**columns, "image": [cells[0][:-5] + "$", *cells[1:]]}), tmp_path / "t.parquet")
    assert describe(read_data(tmp_path / "t.parquet")).skipped


RECORDS = {
    "bytes and path": lambda data: {"bytes": data, "path": None},
    "other names": lambda data: {"data": data, "name": "x.png"},
    "a list of one": lambda data: [{"bytes": data, "path": None}],
    "plain bytes": lambda data: data,
}


@pytest.mark.parametrize("form", RECORDS)
def test_images_in_records(tmp_path, form):
    cells = [RECORDS[form](png(i)) for i in range(6)]
    pq.write_table(pa.table({"image": cells, "label": ["a", "b"] * 3}), tmp_path / "t.parquet")
    assert read_data(tmp_path / "t.parquet").items == tuple(png(i) for i in range(6))


def test_bytes_that_are_utf8_are_texts(tmp_path):
    texts = [f"näher {i}".encode() for i in range(6)]
    pq.write_table(pa.table({"text": texts, "label": ["a", "b"] * 3}), tmp_path / "t.parquet")
    data = read_data(tmp_path / "t.parquet")
    assert (data.modality, data.items[2]) == ("text", "näher 2")


def test_parts_of_a_table_are_one(tmp_path):
    for name in ("0000", "0001", "0010"):
        rows = pa.table({"text": [f"{name} {i}" for i in range(4)], "label": [0, 1] * 2})
        pq.write_table(rows, tmp_path / f"{name}.parquet")
    data = read_data(tmp_path)
    assert (len(data), data.splits, data.items[4]) == (12, {}, "0001 0")
    spark = tmp_path / "spark"
    spark.mkdir()
    (spark / "_SUCCESS").write_text("")
    for i, part in enumerate("ab"):
        name = f"part-0000{i}-c7cb9a5{part}-1f6c-4d3f-9a55-0c2a40a6a0f{i}-c000.snappy.parquet"
        pq.write_table(pa.table({"text": [f"{i} {k}" for k in range(4)], "label": [0, 1] * 2}), spark / name)
    assert len(read_data(spark)) == 8
    (tmp_path / "x").mkdir()
    text_csv(tmp_path / "x" / "a.csv", [("a", 1)])
    text_csv(tmp_path / "x" / "b.csv", [("a", 1)])
    with pytest.raises(DatasetError, match=r"holds 2 tables \(a.csv, b.csv\): give one of them"):
        read_data(tmp_path / "x")


def test_a_declared_test_split_is_kept_even_where_its_columns_differ(tmp_path):
    text_csv(tmp_path / "reviews_train.csv", [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y")])
    text_csv(tmp_path / "reviews_test.csv", [("e", "x"), ("f", "y")], header="sentence,category")
    data = read_data(tmp_path)
    assert {name: rows.tolist() for name, rows in data.splits.items()} == {
        "train": [0, 1, 2, 3],
        "test": [4, 5],
    }
    assert describe(data).notes == ("reviews_test.csv has other columns: read are 'sentence' and 'category'",)
    assert describe(data).origins == {"train": "reviews_train.csv", "test": "reviews_test.csv"}


def test_the_one_other_table_beside_a_test_split_is_for_training(tmp_path):
    text_csv(tmp_path / "reviews.csv", [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y")])
    text_csv(tmp_path / "test.csv", [("e", "x")])
    assert {k: len(v) for k, v in read_data(tmp_path).splits.items()} == {"train": 4, "test": 1}
    text_csv(tmp_path / "test.csv", [("e", 1), ("f", 2)], header="text,id")
    data = read_data(tmp_path)
    assert describe(data).skipped == {"no label column ...": 2}


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("split", ["train", "train", "train", "TEST"], {"train": 3, "test": 1}),
        ("set", ["Training", "training", "Training", "holdout"], {"train": 3, "test": 1}),
        ("is_valid", ["False", "False", "False", "True"], {"train": 3, "validation": 1}),
        ("is_test", ["0", "0", "0", "1"], {"train": 3, "test": 1}),
        ("partition", ["train", "train", "dev", "unused"], {"train": 2, "validation": 1}),
        ("set", ["x", "x", "y", "y"], {}),
    ],
)
def test_columns_of_splits(tmp_path, column, values, expected):
    lines = [f"text,label,{column}", *(f"t{i},{'ab'[i % 2]},{value}" for i, value in enumerate(values))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    data = read_data(tmp_path / "t.csv", strict=False)
    assert {name: len(rows) for name, rows in data.splits.items()} == expected
    assert describe(data).origins == {name: f"column {column!r}" for name in expected}


def test_values_of_a_split_column_that_tell_nothing_need_a_word(tmp_path):
    lines = ["text,label,split", *(f"t{i},{'ab'[i % 2]},{i // 6}" for i in range(9))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    data = read_data(tmp_path / "t.csv")
    assert data.splits == {}
    assert "column 'split' has the values 0, 1, which do not tell a split" in describe(data).notes[0]
    data = read_data(tmp_path / "t.csv", columns=Columns(splits="train=0,test=1"))
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 6, "test": 3}
    assert describe(read_data(tmp_path / "t.csv", columns=Columns(splits="none"))).notes == ()


@pytest.mark.parametrize(
    "text",
    [
        "text|label\na, b|x\nc; d|y\ne|x\nf|y\n",
        '"text, body";label\n"a, b";x\nc;y\ne;x\nf;y\n',
        "sep=;\ntext;label\na, b;x\nc, d;y\ne;x\nf;y\n",
        '"sep=\t"\r\ntext\tlabel\r\na, b\tx\r\nc\ty\r\ne\tx\r\nf\ty\r\n',
    ],
)
def test_what_stands_between_cells_is_found_out(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    data = read_data(tmp_path / "t.csv")
    assert (data.items[0], data.classes) == ("a, b", ("x", "y"))


def test_a_dataset_in_one_folder_of_a_repository_is_found_and_several_are_named(tmp_path):
    (tmp_path / "plain_text").mkdir()
    for split, rows in (("train", 4), ("test", 2), ("unsupervised", 3)):
        part = pa.table(
            {"text": [f"{split} {i}" for i in range(rows)], "label": [i % 2 for i in range(rows)]}
        )
        pq.write_table(part, tmp_path / "plain_text" / f"{split}-00000-of-00001.parquet")
    data = read_data("hf:org/imdb", download=lambda repo, revision: tmp_path)
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 4, "test": 2}
    assert describe(data).notes == (
        "tables beside the splits are not read: unsupervised-00000-of-00001.parquet",
    )
    (tmp_path / "other").mkdir()
    text_csv(tmp_path / "other" / "train.csv", [("a", 1)])
    with pytest.raises(DatasetError, match=r"several datasets \(other, plain_text\): give one of them"):
        read_data(tmp_path)


def test_splits_of_a_saved_dataset_may_be_named(tmp_path):
    for name in ("fold_a", "fold_b"):
        save_to_disk(tmp_path / name, image_table([0, 1, 1, 0], seed=len(name)), IMAGE_FEATURES)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["fold_a", "fold_b"]}')
    with pytest.raises(DatasetError, match="no split called train"):
        read_data(tmp_path)
    data = read_data(tmp_path, columns=Columns(splits="train=fold_b,test=fold_a"))
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 4, "test": 4}
    assert describe(data).origins == {"train": "fold_b", "test": "fold_a"}


def test_tables_of_a_folder_may_be_named_splits(tmp_path):
    for name in ("old", "new", "notes"):
        text_csv(tmp_path / f"{name}.csv", [(f"{name} {i}", i % 2) for i in range(4)])
    with pytest.raises(DatasetError, match=r"holds 3 tables"):
        read_data(tmp_path)
    data = read_data(tmp_path, columns=Columns(splits="train=old.csv,test=new"))
    assert {name: data.items[rows[0]] for name, rows in data.splits.items()} == {
        "train": "old 0",
        "test": "new 0",
    }


# Formats


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        *(
            (".jfif", "JPEG"),
            (".avif", "AVIF"),
            (".jp2", "JPEG2000"),
            ("", "PNG"),
            ("", "AVIF"),
            (".JPG", "JPEG"),
        ),
        *(
            (".jpg", "AVIF"),
            (".image", "TIFF"),
            (".png", "WEBP"),
            (".0", "BMP"),
            (".qoi", "QOI"),
            (".x", "PCX"),
        ),
    ],
)
def test_images_are_read_by_content(tmp_path, suffix, kind):
    for name in "ab":
        photos(tmp_path / name, 4, suffix=suffix, kind=kind)
    data = read_data(tmp_path)
    assert (data.modality, len(data), data.skipped) == ("image", 8, ())
    found = read_inputs(tmp_path, modality="image")
    assert (len(found.records), found.skipped) == (8, ())
    assert len(probe_set_from(tmp_path, 4, seed=0).items) == 4


def test_what_is_no_image_is_counted(tmp_path):
    image_folder(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "x.svg").write_text("<svg/>")
    (tmp_path / "a" / "y.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "b" / "z").write_bytes(b"")
    data = read_data(tmp_path)
    assert describe(data).skipped == {"no image file": 3}
    found = read_inputs(tmp_path, modality="image")
    assert Counter(reason for _, reason in found.skipped) == {"no image file": 3}


def test_texts_without_a_suffix_are_read(tmp_path):
    for name in ("alt.atheism", "sci.space"):
        (tmp_path / name).mkdir()
        for i in range(3):
            (tmp_path / name / f"4996{i}").write_text(f"From: {name}\n\nNumber {i}")
    data = read_data(tmp_path)
    assert (data.modality, data.classes, len(data)) == ("text", ("alt.atheism", "sci.space"), 6)


# Symlinks


def linked(store, place, data):
    """Store content under its hash, and link `place` to it."""
    store.mkdir(parents=True, exist_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    blob = store / hashlib.sha256(data).hexdigest()
    blob.write_bytes(data)
    place.symlink_to(os.path.relpath(blob, place.parent))


@pytest.mark.parametrize("store", ["blobs", ".git/annex/objects", "../cache/files/md5"])
def test_the_name_of_a_link_counts_not_that_of_what_it_points_to(tmp_path, store):
    root = tmp_path / "repo"
    for i in range(6):
        linked(root / store, root / "images" / "ab"[i % 2] / f"{i}.png", png(i))
    rows = "text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(6))
    linked(root / store, root / "data" / "reviews.csv", rows.encode())
    images = read_data(root / "images")
    assert (images.classes, len(images), images.name) == (("a", "b"), 6, "images")
    texts = read_data(root / "data" / "reviews.csv")
    assert (texts.name, texts.locator, len(texts)) == ("reviews", str(root / "data" / "reviews.csv"), 6)
    assert read_data(root / "data").sha256 == texts.sha256
    assert len(read_inputs(root / "images", modality="image").records) == 6
    assert len(read_inputs(root / "data" / "reviews.csv", modality="text").records) == 6
    assert len(probe_set_from(root / "images", 6, seed=0).items) == 6


def test_links_to_classes_splits_and_the_whole(tmp_path):
    plain = image_folder(tmp_path / "plain", {"a": 3, "b": 3, "c": 3})
    (tmp_path / "subset").mkdir()
    for name in "ab":
        (tmp_path / "subset" / name).symlink_to(plain / name)
    assert (read_data(tmp_path / "subset").classes, len(read_data(tmp_path / "subset"))) == (("a", "b"), 6)
    (tmp_path / "splits").mkdir()
    for name in ("train", "test"):
        (tmp_path / "splits" / name).symlink_to(plain)
    assert {k: len(v) for k, v in read_data(tmp_path / "splits").splits.items()} == {"train": 9, "test": 9}
    (tmp_path / "whole").symlink_to(plain)
    assert (read_data(tmp_path / "whole").name, read_data(tmp_path / "whole").sha256) == (
        "whole",
        read_data(plain).sha256,
    )


def test_a_table_behind_a_link_that_has_no_suffix(tmp_path):
    path = text_csv(tmp_path / "t.csv", [(f"t{i}", i % 2) for i in range(6)])
    (tmp_path / "latest").symlink_to(path)
    assert len(read_data(tmp_path / "latest")) == 6


def test_links_in_circles_end(tmp_path):
    image_folder(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "a").symlink_to(tmp_path / "a")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    data = read_data(tmp_path)
    assert np.bincount(data.labels).tolist() == [6, 6]
    reasons = Counter(reason for _, reason in data.skipped)
    assert reasons == {
        "broken symlink": 1,
        "symlink to a folder that it is in": 2,
        "its folder is read already": 2,
    }


def test_folders_that_all_lead_to_one_another_end_soon(tmp_path):
    names = [f"d{i}" for i in range(12)]
    for name in names:
        (tmp_path / "all" / name).mkdir(parents=True)
        for other in names:
            (tmp_path / "all" / name / f"to_{other}").symlink_to(tmp_path / "all" / other)
    table(tmp_path / "t.csv", [f"photo_{i}" for i in range(6)])
    start = time.perf_counter()
    for path in (tmp_path, tmp_path / "all", tmp_path / "t.csv"):
        with pytest.raises(DatasetError):
            read_data(path)
    assert time.perf_counter() - start < 10


def test_a_downloaded_dataset_is_not_left(tmp_path):
    image_folder(tmp_path / "snapshot", {"a": 3, "b": 3})
    (tmp_path / "secret.png").write_bytes(png(99))
    (tmp_path / "snapshot" / "a" / "x.png").symlink_to(tmp_path / "secret.png")
    data = read_data("hf:org/name", download=lambda repo, revision: tmp_path / "snapshot")
    assert (len(data), describe(data).skipped) == (6, {"symlink that leaves the folder": 1})
    assert len(read_data(tmp_path / "snapshot")) == 7


def test_pictures_are_the_same_task_whatever_they_are_called(tmp_path):
    image_folder(tmp_path / "one", {"a": 3, "b": 3})
    for name in "ab":
        for file in (tmp_path / "one" / name).iterdir():
            (tmp_path / "two" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "two" / name / file.stem).write_bytes(file.read_bytes())
    assert read_data(tmp_path / "one").sha256 == read_data(tmp_path / "two").sha256


ELSEWHERE = {
    "absolute": str,
    "upwards": lambda file: f"../photos/{file.name}",
    "upwards with backslashes": lambda file: f"..\\photos\\{file.name}",
    "from home": lambda file: f"~/photos/{file.name}",
    "through another folder": lambda file: f"{file.parent}/../photos/./{file.name}",
}


@pytest.mark.parametrize("way", ELSEWHERE)
def test_the_users_own_images_may_lie_anywhere(tmp_path, monkeypatch, way):
    monkeypatch.setenv("HOME", str(tmp_path))
    files = photos(tmp_path / "photos")
    data = read_data(table(tmp_path / "tables" / "t.csv", [ELSEWHERE[way](file) for file in files]))
    assert [item.read_bytes() for item in data.items] == [file.read_bytes() for file in files]
    monkeypatch.chdir(tmp_path)
    assert len(read_lines("~/photos\n", modality="image").records) == 6


@pytest.mark.parametrize("way", ELSEWHERE)
def test_a_strangers_table_leads_to_none_of_them(tmp_path, monkeypatch, way):
    monkeypatch.setenv("HOME", str(tmp_path))
    files = photos(tmp_path / "photos")
    table(tmp_path / "set" / "train.csv", [ELSEWHERE[way](file) for file in files])
    with pytest.raises(DatasetError, match="none of 6 items can be used"):
        read_data("hf:org/set", download=lambda *_: tmp_path / "set")
