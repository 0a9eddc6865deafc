import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from expertise_graph.core.errors import DatasetError, NotFoundError
from expertise_graph.data.dataset import Columns
from expertise_graph.data.modalities import image
from expertise_graph.data.modalities import text as texts
from expertise_graph.data.reading import read_data
from tests.data.files import image_folder, picture, png, text_csv


def pairs(data):
    """Each item's bytes with its class name."""
    decode = image.to_bytes if data.modality == "image" else texts.to_bytes
    return [(decode(item), data.classes[label]) for item, label in zip(data.items, data.labels, strict=True)]


def test_image_folder(tmp_path):
    data = read_data(str(image_folder(tmp_path / "pets", {"cat": 3, "dog": 2})))
    assert (data.name, data.modality, data.classes) == ("pets", "image", ("cat", "dog"))
    assert data.labels.tolist() == [0, 0, 0, 1, 1]
    assert data.splits == {}
    assert data.skipped == ()
    assert data.locator == str((tmp_path / "pets").resolve())
    np.testing.assert_array_equal(np.asarray(image.decode(data.items[3])), np.asarray(picture(3)))


def test_the_content_hash_is_as_documented_and_free_of_path_and_order(tmp_path):
    one = read_data(image_folder(tmp_path / "one", {"cat": 2, "dog": 2}))
    lines = sorted(f"{hashlib.sha256(b).hexdigest()} {name} -" for b, name in pairs(one))
    assert one.sha256 == hashlib.sha256("\n".join(lines).encode()).hexdigest()
    for folder in ["cat", "dog"]:
        (tmp_path / "two" / folder).mkdir(parents=True)
    for i, file in enumerate(reversed(one.items)):
        file.rename(tmp_path / "two" / file.parent.name / f"renamed{i}.png")
    two = read_data(tmp_path / "two")
    assert two.sha256 == one.sha256
    (tmp_path / "two" / "cat").rename(tmp_path / "two" / "lynx")
    assert read_data(tmp_path / "two").sha256 != one.sha256


def test_declared_split_folders(tmp_path):
    image_folder(tmp_path / "train", {"cat": 3, "dog": 2})
    image_folder(tmp_path / "val", {"cat": 1, "dog": 1}, seed=10)
    image_folder(tmp_path / "test", {"cat": 2}, seed=20)
    data = read_data(tmp_path)
    assert {name: len(indices) for name, indices in data.splits.items()} == {
        "train": 5,
        "validation": 2,
        "test": 2,
    }
    for name, folder in [("train", "train"), ("validation", "val"), ("test", "test")]:
        assert {data.items[i].parent.parent.name for i in data.splits[name]} == {folder}


def test_text_folder_and_csv_of_the_same_texts_are_the_same_task(tmp_path):
    rows = [("good, very", "pos"), ("fine", "pos"), ("bad", "neg"), ("awful", "neg")]
    for i, (text, label) in enumerate(rows):
        (tmp_path / "folder" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / label / f"{i}.txt").write_text(text, encoding="utf-8")
    folder = read_data(tmp_path / "folder")
    table = read_data(text_csv(tmp_path / "t.csv", rows))
    assert folder.modality == table.modality == "text"
    assert sorted(pairs(folder)) == sorted(pairs(table))
    assert folder.sha256 == table.sha256


def test_symlinks_are_followed_but_not_in_circles_and_pipes_and_hidden_files_are_left_out(tmp_path):
    root = image_folder(tmp_path / "d", {"a": 2, "b": 2})
    (tmp_path / "secret.png").write_bytes(png(9))
    (root / "a" / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "a" / "in.png").symlink_to(root / "b" / "0.png")
    (root / "a" / "broken.png").symlink_to(root / "b" / "none.png")
    (root / "a" / "loop").symlink_to(root)
    (root / "c").symlink_to(tmp_path)
    (root / "README").write_text("about")
    os.mkfifo(root / "b" / "pipe.png")
    (root / "b" / ".hidden.png").write_bytes(png(1))
    (root / "b" / "notes.md").write_text("hello")
    data = read_data(root)
    assert len(data) == 6
    assert png(9) in [item.read_bytes() for item in data.items]
    assert data.classes == ("a", "b")
    reasons = {os.path.basename(where): reason for where, reason in data.skipped}
    assert reasons == {
        "broken.png": "broken symlink",
        "loop": "symlink to a folder that it is in",
        "c": "symlink to a folder that it is in",
        "README": "in no class folder",
        "pipe.png": "not a regular file",
        "notes.md": "no image file",
    }


def test_corrupt_images_are_skipped_with_a_reason(tmp_path):
    root = image_folder(tmp_path / "d", {"a": 3, "b": 3})
    (root / "a" / "1.png").write_bytes(png(1)[:50])
    (root / "b" / "2.png").write_text("no image")
    data = read_data(root)
    assert len(data) == 4
    assert [os.path.basename(where) for where, _ in data.skipped] == ["1.png", "2.png"]


def test_mixed_modes_and_sizes(tmp_path):
    for number, mode in enumerate(["L", "RGBA", "P", "1", "RGB"]):
        for name in ["a", "b"]:
            (tmp_path / name).mkdir(exist_ok=True)
            picture(number + (name == "b"), size=(3 + number, 9)).convert(mode).save(
                tmp_path / name / f"{mode}.png"
            )
    data = read_data(tmp_path)
    assert len(data) == 10
    assert {image.decode(item).mode for item in data.items} == {"RGB"}


def test_a_class_with_one_item_is_kept(tmp_path):
    data = read_data(image_folder(tmp_path, {"a": 3, "b": 1}))
    assert np.bincount(data.labels).tolist() == [3, 1]


def test_missing_path_names_what_is_near(tmp_path):
    image_folder(tmp_path / "flowers", {"a": 2, "b": 2})
    with pytest.raises(NotFoundError, match=r"there is no .*flower'.*Did you mean 'flowers'"):
        read_data(tmp_path / "flower")
    with pytest.raises(NotFoundError, match="Did you mean 'flowers'"):
        read_data(tmp_path / "flowrs" / "deep" / "er")
    with pytest.raises(NotFoundError, match="hf:stanford/imdb"):
        read_data("stanford/imdb")


def test_odd_locators_are_one_line(tmp_path):
    for locator in ["x" * 5000, "a\0b", "", "-rf", "hf:../../x", "hf:a/b/c", "hf:a b", "line\nbreak"]:
        with pytest.raises((NotFoundError, DatasetError)) as caught:
            read_data(locator) if locator else read_data(tmp_path)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600


def test_empty_folder(tmp_path):
    with pytest.raises(DatasetError, match="no folder per class"):
        read_data(tmp_path)


def test_images_in_no_class_folder(tmp_path):
    for i in range(5):
        picture(i).save(tmp_path / f"{i}.png")
    with pytest.raises(DatasetError, match="in no class folder: put the files of each class"):
        read_data(tmp_path)


def test_one_class_two_rows_and_all_corrupt(tmp_path):
    with pytest.raises(DatasetError, match="one class 'a'"):
        read_data(image_folder(tmp_path / "one", {"a": 5}))
    with pytest.raises(DatasetError, match="2 usable items"):
        read_data(image_folder(tmp_path / "two", {"a": 1, "b": 1}))
    for name in "ab":
        (tmp_path / "bad" / name).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "bad" / name / f"{i}.png").write_text("x")
    with pytest.raises(DatasetError, match=r"none of 6 items can be used; for example .*0\.png"):
        read_data(tmp_path / "bad")


def test_a_folder_around_the_dataset_is_pointed_out(tmp_path):
    image_folder(tmp_path / "archive" / "images", {"a": 3, "b": 3})
    with pytest.raises(DatasetError, match=r"did you mean .*images"):
        read_data(tmp_path / "archive")


def test_split_folders_without_classes(tmp_path):
    image_folder(tmp_path, {"train": 3, "test": 3})
    with pytest.raises(DatasetError, match="no folder per class in them"):
        read_data(tmp_path)


def test_images_and_texts_in_one_folder_need_a_choice(tmp_path):
    image_folder(tmp_path, {"a": 3, "b": 3})
    for name in "ab":
        for i in range(2):
            (tmp_path / name / f"{i}.txt").write_text(f"{name}{i}")
    with pytest.raises(DatasetError, match="6 image files and 4 text files"):
        read_data(tmp_path)
    assert read_data(tmp_path, columns=Columns(modality="image")).modality == "image"
    assert len(read_data(tmp_path, columns=Columns(modality="text"))) == 4


def test_an_unknown_kind_of_file(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"\.csv, \.jsonl, \.npz, \.parquet, \.tsv"):
        read_data(tmp_path / "a.xlsx")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no device file here")
def test_devices_are_not_read():
    with pytest.raises(DatasetError, match="neither a file nor a folder"):
        read_data("/dev/zero")


def test_hub_datasets_come_through_the_given_download(tmp_path):
    snapshot = tmp_path / "snapshots" / "abc"
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (snapshot / "data").mkdir(parents=True)
    for split, rows in [("train", [("a", 0), ("b", 1), ("c", 0)]), ("test", [("d", 1)])]:
        text_csv(blobs / split, rows)
        (snapshot / "data" / f"{split}.csv").symlink_to(blobs / split)
    asked = []

    def download(repo_id, revision):
        asked.append((repo_id, revision))
        return snapshot

    data = read_data("hf:org/reviews@v1.0", download=download)
    assert asked == [("org/reviews", "v1.0")]
    assert (data.name, data.locator) == ("reviews", "hf:org/reviews@v1.0")
    assert {name: indices.tolist() for name, indices in data.splits.items()} == {
        "train": [0, 1, 2],
        "test": [3],
    }
    read_data("hf:imdb", download=download)
    assert asked[-1] == ("imdb", None)
    with pytest.raises(DatasetError, match="no download function was given"):
        read_data("hf:org/reviews")


def test_a_local_path_wins_over_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image_folder(tmp_path / "hf:org" / "name", {"a": 2, "b": 2})
    assert len(read_data("hf:org/name")) == 4


def test_reading_imports_neither_torch_nor_datasets(tmp_path):
    image_folder(tmp_path, {"a": 2, "b": 2})
    code = (
        "import sys; from expertise_graph.data import read_data; read_data(sys.argv[1]); "
        "print([m for m in ('torch', 'faiss', 'datasets', 'pandas') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"
