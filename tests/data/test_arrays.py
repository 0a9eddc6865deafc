import zipfile

import numpy as np
import pytest

from expertise_graph.core.errors import DatasetError
from expertise_graph.data.modalities import image
from expertise_graph.data.reading import read_data


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_grey_images_with_named_classes(tmp_path):
    x = pixels(5, 7, 6)
    np.savez(
        tmp_path / "d.npz", images=x, labels=np.array([1, 0, 1, 0, 0]), classes=np.array(["zero", "one"])
    )
    data = read_data(tmp_path / "d.npz")
    assert [data.classes[i] for i in data.labels] == ["one", "zero", "one", "zero", "zero"]
    for item, expected in zip(data.items, x, strict=True):
        np.testing.assert_array_equal(
            np.asarray(image.decode(item)), np.repeat(expected[:, :, None], 3, axis=2)
        )


@pytest.mark.parametrize("channels", [1, 3])
def test_channels(tmp_path, channels):
    x = pixels(4, 5, 6, channels)
    np.savez_compressed(tmp_path / "d.npz", X=x, y=np.array([[0], [1], [0], [1]]))
    data = read_data(tmp_path / "d.npz")
    expected = np.broadcast_to(x, (4, 5, 6, 3))
    np.testing.assert_array_equal(np.stack([np.asarray(image.decode(i)) for i in data.items]), expected)


def test_alpha_is_laid_on_white(tmp_path):
    x = np.zeros((4, 1, 3, 4), dtype=np.uint8)
    x[:, 0, :, 3] = [0, 128, 255]
    np.savez(tmp_path / "d.npz", x=x, y=[0, 1, 0, 1])
    decoded = np.asarray(image.decode(read_data(tmp_path / "d.npz").items[0]))
    assert decoded[0, :, 0].tolist() == [255, 127, 0]


def test_declared_splits(tmp_path):
    np.savez(
        tmp_path / "d.npz",
        x_train=pixels(4, 3, 3),
        y_train=np.array([5, 3, 5, 3]),
        x_test=pixels(2, 4, 4),
        y_test=np.array([3, 5]),
    )
    data = read_data(tmp_path / "d.npz")
    assert data.classes == ("3", "5")
    assert data.labels.tolist() == [1, 0, 1, 0, 0, 1]
    assert {k: v.tolist() for k, v in data.splits.items()} == {"train": [0, 1, 2, 3], "test": [4, 5]}


def test_texts(tmp_path):
    np.savez(tmp_path / "d.npz", texts=np.array(["a", "bb", "ü", ""]), labels=np.array(["p", "q", "p", "q"]))
    with pytest.raises(DatasetError, match="3 usable items and 1 skipped"):
        read_data(tmp_path / "d.npz")
    np.savez(tmp_path / "d.npz", texts=np.array(["a", "bb", "ü", "d"]), labels=np.array(["p", "q", "p", "q"]))
    assert read_data(tmp_path / "d.npz").items == ("a", "bb", "ü", "d")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((4, 3, 3)), "labels": [0, 1, 0, 1]}, r"items are float64 \(4, 3, 3\)"),
        ({"images": pixels(4, 3, 3), "labels": [0, 1, 0]}, "4 items but labels of shape"),
        ({"images": pixels(4, 3, 3), "labels": np.eye(4)}, "one label per item"),
        ({"pictures": pixels(4, 3, 3), "labels": [0, 1, 0, 1]}, "holds the arrays labels, pictures"),
        (
            {"images": pixels(4, 3, 3), "labels": [0, 1, 0, 2], "classes": ["a", "b"]},
            "labels run from 0 to 2",
        ),
        ({"images": np.array([{}] * 4, dtype=object), "labels": [0, 1, 0, 1]}, "plain arrays"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DatasetError, match=message):
        read_data(tmp_path / "d.npz")


def test_bombs_and_garbage(tmp_path):
    (tmp_path / "d.npz").write_bytes(b"garbage")
    with pytest.raises(DatasetError, match="plain arrays"):
        read_data(tmp_path / "d.npz")
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999,), }"
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("images.npy", header.ljust(127) + b"\n")
    with pytest.raises(DatasetError, match="plain arrays"):
        read_data(tmp_path / "d.npz")


@pytest.mark.parametrize(
    "member", [b"text", b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x10\x00((((((((((((((((", b"PK"]
)
def test_members_that_are_no_arrays_are_refused_in_a_line(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", member)
        archive.writestr("y.npy", member)
    with pytest.raises(DatasetError, match="cannot be read as plain arrays"):
        read_data(tmp_path / "a.npz")


def test_splits_of_two_kinds_are_not_one_dataset(tmp_path):
    images, texts = np.zeros((6, 8, 8, 3), np.uint8), np.array(list("abcdef"))
    labels = np.array([0, 1] * 3)
    np.savez(tmp_path / "a.npz", x_train=texts, y_train=labels, x_test=images, y_test=labels)
    with pytest.raises(DatasetError, match=r"holds (text and image|image and text) items"):
        read_data(tmp_path / "a.npz")
