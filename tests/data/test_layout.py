"""What the sub-folders of a folder are is told by their structure; what cannot be told is one clear line."""

import time

import pytest

from expertise_graph.core.errors import DatasetError
from expertise_graph.data import Columns, describe, read_data
from tests.data.files import image_folder, png, text_csv

CLASSES = {"cat": 3, "dog": 3, "owl": 2}


def sizes(data):
    return {name: len(rows) for name, rows in data.splits.items()}


@pytest.mark.parametrize(
    ("train", "other", "split"),
    [
        ("seg_train", "seg_test", "test"),
        ("training_set", "test_set", "test"),
        ("Train", "Validation_Set", "validation"),
        ("train", "eval", "validation"),
        ("train", "holdout", "test"),
        ("train", "held-out", "test"),
        ("images_train", "images_test", "test"),
        ("train2017", "val2017", "validation"),
        ("TrainData", "TestData", "test"),
        ("imagestrain", "imagestest", "test"),
        ("01-training", "02-testing", "test"),
    ],
)
def test_folders_that_repeat_the_classes_are_splits_whatever_they_are_called(tmp_path, train, other, split):
    image_folder(tmp_path / train, CLASSES)
    image_folder(tmp_path / other, {"cat": 1, "dog": 1, "owl": 1}, seed=50)
    data = read_data(tmp_path)
    assert data.classes == ("cat", "dog", "owl")
    assert sizes(data) == {"train": 8, split: 3}
    assert describe(data).origins == {"train": f"{train}/", split: f"{other}/"}
    assert f"train 8 ({train}/), {split} 3 ({other}/)" in describe(data).line
    assert "`splits`" in describe(data).line


@pytest.mark.parametrize("wrapped", ["train/train", "seg_train/seg_train", "train/images"])
def test_folders_around_the_classes_of_a_split_are_looked_through(tmp_path, wrapped):
    image_folder(tmp_path / wrapped, CLASSES)
    image_folder(tmp_path / wrapped.replace("train", "test"), {"cat": 1, "dog": 1}, seed=50)
    data = read_data(tmp_path)
    assert (data.classes, sizes(data)) == (("cat", "dog", "owl"), {"train": 8, "test": 2})


def test_a_split_alone_may_be_doubled(tmp_path):
    image_folder(tmp_path / "train" / "train", CLASSES)
    assert sizes(read_data(tmp_path)) == {"train": 8}


def test_doubled_splits_without_classes_hold_none(tmp_path):
    image_folder(tmp_path / "train", {"train": 4})
    image_folder(tmp_path / "test", {"test": 4}, seed=50)
    with pytest.raises(DatasetError, match="no folder per class in them"):
        read_data(tmp_path)


def test_a_folder_of_unsorted_files_beside_doubled_splits_is_skipped_and_counted(tmp_path):
    image_folder(tmp_path / "seg_train" / "seg_train", CLASSES)
    image_folder(tmp_path / "seg_test" / "seg_test", {"cat": 1, "dog": 1}, seed=50)
    image_folder(tmp_path / "seg_pred", {"seg_pred": 4}, seed=60)
    data = read_data(tmp_path)
    assert sizes(data) == {"train": 8, "test": 2}
    assert describe(data).skipped == {"in seg_pred/, which is no split": 4}


def test_splits_below_the_classes(tmp_path):
    for name in ("bottle", "cable"):
        image_folder(tmp_path / name, {"train": 4, "test": 2}, seed=len(name) * 10)
    data = read_data(tmp_path)
    assert (data.classes, sizes(data)) == (("bottle", "cable"), {"train": 8, "test": 4})
    assert describe(data).origins["test"] == "<class>/test"


def test_classes_may_be_called_like_splits_and_have_folders_of_their_own(tmp_path):
    image_folder(tmp_path / "vehicles", {"train": 3, "plane": 3, "latest": 2})
    assert read_data(tmp_path / "vehicles").classes == ("latest", "plane", "train")
    image_folder(tmp_path / "nested" / "cat", {"indoor": 2, "garden": 2})
    image_folder(tmp_path / "nested" / "dog", {"beach": 2}, seed=10)
    assert read_data(tmp_path / "nested").classes == ("cat", "dog")


def test_thousands_of_classes_with_the_same_sub_folders_are_classes_and_take_no_time(tmp_path):
    for i in range(1500):
        for place in ("indoor", "outdoor"):
            (tmp_path / f"c{i}" / place).mkdir(parents=True)
            (tmp_path / f"c{i}" / place / "1.txt").write_text(f"text {i} {place}")
    start = time.perf_counter()
    data = read_data(tmp_path)
    assert (len(data.classes), len(data)) == (1500, 3000)
    assert time.perf_counter() - start < 20


def test_names_that_do_not_tell_which_is_which_need_a_word(tmp_path):
    image_folder(tmp_path / "part1", CLASSES)
    image_folder(tmp_path / "part2", CLASSES, seed=50)
    with pytest.raises(DatasetError, match=r"part1, part2 repeat .* set `splits=train=part1,test=part2`, or"):
        read_data(tmp_path)
    data = read_data(tmp_path, columns=Columns(splits="train=part2,test=part1"))
    assert (data.classes, sizes(data)) == (("cat", "dog", "owl"), {"train": 8, "test": 8})
    assert png(50) in [data.items[i].read_bytes() for i in data.splits["train"]]
    assert read_data(tmp_path, columns=Columns(splits="none")).classes == ("part1", "part2")
    assert len(read_data(tmp_path, columns=Columns(splits="train=part1"))) == 8
    with pytest.raises(DatasetError, match="holds no folder 'part3' for `splits`; there are part1, part2"):
        read_data(tmp_path, columns=Columns(splits="train=part3"))
    with pytest.raises(DatasetError, match="does not say which is which"):
        read_data(tmp_path, columns=Columns(splits="part1"))
    with pytest.raises(DatasetError, match=r"'\.\./other' is outside the dataset's folder"):
        read_data(tmp_path, columns=Columns(splits="train=../other"))


def test_a_train_folder_beside_another_kind_of_folder_needs_a_word(tmp_path):
    image_folder(tmp_path / "train", CLASSES)
    image_folder(tmp_path, {"pictures": 4}, seed=50)
    with pytest.raises(DatasetError, match="'train' may be a split or a class, as pictures beside it"):
        read_data(tmp_path)
    assert sizes(read_data(tmp_path, columns=Columns(splits="train=train"))) == {"train": 8}


def test_two_folders_for_one_split_are_refused(tmp_path):
    for i, name in enumerate(("train_a", "train_b", "test")):
        image_folder(tmp_path / name, CLASSES, seed=20 * i)
    with pytest.raises(DatasetError, match=r"several folders for the train split \(train_a, train_b\)"):
        read_data(tmp_path)


@pytest.mark.parametrize("name", ["unsup", "unlabeled", "Unlabelled"])
def test_folders_without_labels_are_left_out_and_pointed_out(tmp_path, name):
    image_folder(tmp_path / "train", {"pos": 3, "neg": 3, name: 5})
    image_folder(tmp_path / "test", {"pos": 2, "neg": 2}, seed=50)
    data = read_data(tmp_path)
    assert data.classes == ("neg", "pos")
    assert describe(data).skipped == {f"no label (in {name}/)": 5}
    assert any(f"5 files in {name}/ have no label" in note for note in describe(data).notes)
    assert name in read_data(tmp_path, columns=Columns(no_label="-")).classes


SYSTEM = [
    "@eaDir",
    "$RECYCLE.BIN",
    "__MACOSX",
    ".ipynb_checkpoints",
    "lost+found",
    "System Volume Information",
]


@pytest.mark.parametrize("name", [*SYSTEM, "System Volume Information", "#recycle", "@EADIR"])
def test_folders_of_systems_are_nobodys_class(tmp_path, name):
    image_folder(tmp_path, {"cat": 3, "dog": 3})
    image_folder(tmp_path / name, {"thumb": 2})
    (tmp_path / name / "0.png").write_bytes(png(1))
    (tmp_path / "cat" / name).mkdir()
    (tmp_path / "cat" / name / "0.png").write_bytes(png(2))
    for file in ("Thumbs.db", "desktop.ini", ".DS_Store"):
        (tmp_path / "dog" / file).write_bytes(b"x")
    data = read_data(tmp_path)
    assert (data.classes, len(data), data.skipped) == (("cat", "dog"), 6, ())


def test_empty_class_folders_are_pointed_out(tmp_path):
    image_folder(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "owl").mkdir()
    assert describe(read_data(tmp_path)).notes == ("empty folders, no class: owl",)


def test_classes_of_one_split_only_and_names_that_look_the_same_are_pointed_out(tmp_path):
    image_folder(tmp_path / "train", {"cat": 3, "dog": 3, "zero\u200bwidth": 2})
    image_folder(tmp_path / "test", {"Cat": 2, "dog": 2, "zerowidth": 1}, seed=50)
    notes = describe(read_data(tmp_path)).notes
    assert notes[0].startswith("'Cat' and 'cat' differ only by case, blanks or invisible characters")
    assert "'zerowidth' and 'zero<U+200B>width' differ only by" in notes[1]
    assert notes[2] == "2 classes without an item to train on: 'Cat', 'zerowidth'"
    assert notes[3].startswith("2 classes without an item in the test split: 'cat'")


def test_the_same_holds_for_the_labels_of_a_table(tmp_path):
    rows = [("a", "New York"), ("b", "new york"), ("c", "NewYork"), ("d", "unlabeled")]
    notes = describe(read_data(text_csv(tmp_path / "t.csv", rows))).notes
    assert "'New York' and 'NewYork' and 'new york' differ only by" in notes[0]
    assert notes[1] == (
        "'unlabeled' is read as a class: set `no_label=unlabeled` if it means that there is no label"
    )


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (
            ["train/images/0.png", "train/labels/0.txt", "val/images/1.png", "val/labels/1.txt", "data.yaml"],
            "YOLO",
        ),
        (["images/train/0.png", "images/val/1.png", "labels/train/0.txt", "labels/val/1.txt"], "YOLO"),
        (["annotations/instances_train2017.json", "train2017/0.png", "val2017/1.png"], "COCO"),
        (
            ["train/_annotations.coco.json", "train/0.png", "valid/_annotations.coco.json", "valid/1.png"],
            "COCO",
        ),
        (["JPEGImages/0.png", "Annotations/0.xml", "ImageSets/Main/train.txt"], "Pascal VOC"),
        (
            ["train/images/0.png", "train/masks/0.png", "test/images/1.png", "test/masks/1.png"],
            "segmentation",
        ),
    ],
)
def test_exports_for_other_tasks_are_named(tmp_path, files, kind):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(1) if name.endswith(".png") else b"0 .5 .5 .1 .1")
    with pytest.raises(DatasetError, match=rf"{kind}.* is not supported|{kind}.*which is not supported"):
        read_data(tmp_path)


def test_a_table_of_boxes_is_named(tmp_path):
    (tmp_path / "t.csv").write_text("filename,class,xmin,ymin,xmax,ymax\n0.png,cat,1,2,3,4\n")
    with pytest.raises(DatasetError, match="object detection is not supported"):
        read_data(tmp_path / "t.csv")
