"""COCO exports with one category an image are read; boxes of several kinds are named."""

import json

import pytest

from expertise_graph.core.errors import DatasetError
from expertise_graph.data import Columns, describe, read_data
from tests.data.files import image_folder, png

NAMES = ["flowers", "daisy", "tulip"]


def coco(path, images, *, names=NAMES, category=lambda i: 1 + i % 2):
    """Write an export of images called `images`, with two boxes of one category each."""
    boxes = [
        {"id": 2 * i + k, "image_id": i, "category_id": category(i), "bbox": [0, 0, 2 + k, 2]}
        for i in range(len(images))
        for k in range(2)
        if category(i) is not None
    ]
    content = {
        "info": {},
        "images": [{"id": i, "file_name": name, "width": 12} for i, name in enumerate(images)],
        "annotations": boxes,
        "categories": [{"id": i, "name": name, "supercategory": "none"} for i, name in enumerate(names)],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def pictures(folder, names, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        (folder / name).write_bytes(png(seed + i))
    return names


def sizes(data):
    return {name: len(rows) for name, rows in data.splits.items()}


@pytest.mark.parametrize(
    ("train", "other", "images"),
    [
        ("train/_annotations.coco.json", "valid/_annotations.coco.json", ("train", "valid")),
        (
            "annotations/instances_train2017.json",
            "annotations/instances_val2017.json",
            ("train2017", "val2017"),
        ),
        ("annotations/train.json", "annotations/val.json", ("images/train", "images/val")),
        ("train.json", "val.json", ("images", "images")),
        ("train/labels.json", "val/labels.json", ("train/data", "val/data")),
    ],
)
def test_exports_of_splits(tmp_path, train, other, images):
    coco(tmp_path / train, pictures(tmp_path / images[0], [f"{i}.png" for i in range(6)]))
    coco(tmp_path / other, pictures(tmp_path / images[1], [f"v{i}.png" for i in range(4)], seed=9))
    data = read_data(tmp_path)
    assert (data.modality, data.classes, sizes(data)) == (
        "image",
        ("daisy", "tulip"),
        {"train": 6, "validation": 4},
    )
    assert [data.classes[label] for label in data.labels[:3]] == ["daisy", "tulip", "daisy"]
    assert describe(data).origins == {"train": train, "validation": other}
    assert describe(data).columns == {"image": "file_name", "label": "category"}


def test_same_names_in_two_splits_are_two_images(tmp_path):
    for split, seed in (("train", 0), ("test", 50)):
        coco(
            tmp_path / f"annotations/instances_{split}.json",
            pictures(tmp_path / split, ["a.png", "b.png"], seed),
        )
    data = read_data(tmp_path)
    assert [item.parent.name for item in data.items] == ["train", "train", "test", "test"]


@pytest.mark.parametrize("given", [".", "result.json"])
def test_one_export_with_its_images_beside_or_below(tmp_path, given):
    names = pictures(tmp_path / "images", [f"{i}.png" for i in range(6)])
    coco(tmp_path / "result.json", [f"images/{name}" for name in names])
    data = read_data(tmp_path / given)
    assert (len(data), data.classes, sizes(data)) == (6, ("daisy", "tulip"), {})


def test_images_without_annotations_or_files_are_counted(tmp_path):
    names = pictures(tmp_path, [f"{i}.png" for i in range(8)])
    path = coco(
        tmp_path / "a.json", [*names, "gone.png"], category=lambda i: None if i in (2, 5) else 1 + i % 2
    )
    content = json.loads(path.read_text())
    content["annotations"].append({"id": 99, "image_id": 77, "category_id": 1})
    path.write_text(json.dumps(content))
    found = describe(read_data(tmp_path))
    assert found.items == 6
    assert found.skipped == {
        "no label": 2,
        "annotated but not listed": 1,
        "cannot read the file: No such file or directory": 1,
    }


def test_an_export_of_several_categories_an_image_is_named(tmp_path):
    pictures(tmp_path / "train", ["a.png", "b.png"])
    path = coco(tmp_path / "train/_annotations.coco.json", ["a.png", "b.png"])
    content = json.loads(path.read_text())
    content["annotations"].append({"id": 99, "image_id": 0, "category_id": 2})
    path.write_text(json.dumps(content))
    with pytest.raises(
        DatasetError, match=r"1 of 2 images have several categories \(as 'a.png': daisy, tulip\)"
    ):
        read_data(tmp_path)


def test_which_export_is_which_split_can_be_said(tmp_path):
    for name, seed in (("one", 0), ("two", 50)):
        coco(tmp_path / name / "c.json", pictures(tmp_path / name, [f"{i}.png" for i in range(4)], seed))
    with pytest.raises(
        DatasetError, match=r"several COCO exports.*`splits=train=one/c.json,test=two/c.json`"
    ):
        read_data(tmp_path)
    data = read_data(tmp_path, columns=Columns(splits="train=one,test=two"))
    assert sizes(data) == {"train": 4, "test": 4}
    assert sizes(read_data(tmp_path, columns=Columns(splits="none"))) == {}


def test_images_of_a_strangers_export_stay_in_its_folder(tmp_path):
    snapshot = tmp_path / "set"
    names = pictures(snapshot, [f"{i}.png" for i in range(6)])
    pictures(tmp_path, ["secret.png"], seed=70)
    coco(snapshot / "train.json", [*names, "../secret.png"])
    data = read_data("hf:org/set", download=lambda *_: snapshot)
    assert len(data) == 6
    assert [reason for _, reason in data.skipped] == ["'../secret.png' is outside the dataset's folder"]


@pytest.mark.parametrize(
    "content",
    [
        '{"images": [{"file_name": "a"}]}',
        '{"images": 3}',
        "[1]",
        "{",
        '{"images": [{"id": [1], "file_name": "0.png"}], "annotations": 1}',
    ],
)
def test_other_json_beside_class_folders_changes_nothing(tmp_path, content):
    image_folder(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "class_to_idx.json").write_text(content)
    assert read_data(tmp_path).classes == ("cat", "dog")


def test_a_yolo_set_for_classification_is_read(tmp_path):
    image_folder(tmp_path / "train", {"cat": 3, "dog": 3})
    image_folder(tmp_path / "val", {"cat": 1, "dog": 1}, seed=50)
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\ntrain: train\nval: val\n")
    assert sizes(read_data(tmp_path)) == {"train": 6, "validation": 2}


@pytest.mark.parametrize("label", ["0 0.5 0.5 0.1 0.2\n", "3 .1 .2 .3 .4 .5 .6 0 1", "1 0.5 1 1e-3 0.5"])
def test_yolo_boxes_beside_the_images_are_named(tmp_path, label):
    pictures(tmp_path / "obj_train_data", [f"{i}.png" for i in range(4)])
    for i in range(4):
        (tmp_path / "obj_train_data" / f"{i}.txt").write_text(label)
    with pytest.raises(DatasetError, match="YOLO export for object detection"):
        read_data(tmp_path)
