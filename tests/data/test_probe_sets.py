import hashlib
import json
import zipfile

import numpy as np
import pytest

from expertise_graph.core.errors import DatasetError, NotFoundError
from expertise_graph.data.modalities import image
from expertise_graph.data.probe_sets import ProbeItem, probe_set_from, read_probe_set, write_probe_set
from expertise_graph.data.reading import read_data
from tests.data.files import image_folder, picture, png, text_csv


def written(path, n=5, **changes):
    items = [ProbeItem(item=png(i), origin=f"made {i}", license="CC0-1.0") for i in range(n)]
    arguments = {"name": "tiny", "version": "1", "modality": "image", "items": items, **changes}
    return write_probe_set(path, **arguments)


def rewritten(path, change):
    """Apply `change(members)` to the zip's members and write them back."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_images_round_trip(tmp_path):
    made = written(tmp_path / "p.zip")
    read = read_probe_set(tmp_path / "p.zip")
    assert read == made
    assert read.items == tuple(png(i) for i in range(5))
    hashes = [hashlib.sha256(png(i)).hexdigest() for i in range(5)]
    assert read.probe_set.id == "probe:" + hashlib.sha256("\n".join(["image", *hashes]).encode()).hexdigest()
    assert (read.probe_set.n, read.probe_set.license, read.probe_set.name) == (5, "CC0-1.0", "tiny")
    assert read.manifest["items"][2] == {
        "file": "items/0002.png",
        "origin": "made 2",
        "license": "CC0-1.0",
        "sha256": hashes[2],
    }


def test_texts_round_trip_in_order(tmp_path):
    items = [
        ProbeItem(item=t, origin="x", license=lic)
        for t, lic in zip("ßbcd", ["MIT", "CC0-1.0"] * 2, strict=True)
    ]
    for path, given in [("a.zip", items), ("b.zip", items[::-1])]:
        write_probe_set(tmp_path / path, name="t", version="2", modality="text", items=given)
    first, second = read_probe_set(tmp_path / "a.zip"), read_probe_set(tmp_path / "b.zip")
    assert first.items == ("ß", "b", "c", "d")
    assert first.probe_set.license == "CC0-1.0 AND MIT"
    assert first.probe_set.id != second.probe_set.id


def test_bytes_are_reproducible_and_stored_uncompressed(tmp_path):
    written(tmp_path / "a.zip")
    written(tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.testzip() is None


def test_a_failed_write_leaves_the_old_file(tmp_path):
    written(tmp_path / "p.zip")
    before = (tmp_path / "p.zip").read_bytes()
    bad = [ProbeItem(item=png(0), origin="x"), ProbeItem(item=b"junk", origin="y")]
    with pytest.raises(DatasetError, match="not a readable image"):
        written(tmp_path / "p.zip", items=bad)
    with pytest.raises(DatasetError, match="same input twice"):
        written(tmp_path / "p.zip", items=[ProbeItem(item=png(0), origin="x")] * 4)
    with pytest.raises(DatasetError, match="has 3 items; possible are 4 to 4096"):
        written(tmp_path / "p.zip", n=3)
    with pytest.raises(NotFoundError, match="no modality called 'smell'"):
        written(tmp_path / "p.zip", modality="smell")
    assert (tmp_path / "p.zip").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["p.zip"]


def edit(**changes):
    def change(members):
        manifest = json.loads(members["manifest.json"])
        members["manifest.json"] = json.dumps({**manifest, **changes}).encode()

    return change


def edit_item(**changes):
    def change(members):
        manifest = json.loads(members["manifest.json"])
        manifest["items"][0] = {k: v for k, v in {**manifest["items"][0], **changes}.items() if v is not None}
        members["manifest.json"] = json.dumps(manifest).encode()

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update({"items/0001.png": png(99)}), "0001.png is not what its sha256 says"),
        (lambda m: m.pop("items/0001.png"), "0001.png is not what its sha256 says"),
        (lambda m: m.update({"../evil.png": b"x"}), r"'\.\./evil\.png', which is neither"),
        (lambda m: m.update({"/abs": b"x"}), "neither"),
        (lambda m: m.update({"items/..": b"x"}), "neither"),
        (lambda m: m.update({"items/a\\b": b"x"}), "neither"),
        (lambda m: m.update({"items/extra.png": b"x"}), "does not list"),
        (lambda m: m.pop("manifest.json"), "not a readable probe set"),
        (lambda m: m.update({"manifest.json": b"[" * 100_000}), "not a readable probe set"),
        (lambda m: m.update({"manifest.json": b"[]"}), "does not list items"),
        (lambda m: m.update({f"items/{i}": b"" for i in range(5000)}), "larger than 4096 items"),
        (lambda m: m.update({"items/big": bytes(65 << 20)}), "64 MiB"),
        (edit(name=3), "has no name"),
        (edit(items=[]), "0 items"),
        (edit(items=[1, 2, 3, 4]), "not made of texts"),
        (edit_item(sha256="0" * 64), "sha256"),
        (edit_item(text="both"), "needs text or file"),
        (edit_item(license=None), "needs text or file, origin, license"),
        (edit_item(file="items/0001.png"), "sha256"),
        (edit_item(file=7), "not made of texts"),
    ],
)
def test_what_is_not_as_declared_is_refused(tmp_path, change, message):
    written(tmp_path / "p.zip")
    rewritten(tmp_path / "p.zip", change)
    with pytest.raises(DatasetError, match=message) as caught:
        read_probe_set(tmp_path / "p.zip")
    assert "\n" not in str(caught.value)


def test_compressed_and_repeated_members_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", "{}" * 1000)
    with pytest.raises(DatasetError, match="compressed"):
        read_probe_set(tmp_path / "p.zip")
    written(tmp_path / "q.zip")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "q.zip", "a") as archive:
        archive.writestr("items/0000.png", png(0))
    with pytest.raises(DatasetError, match="twice"):
        read_probe_set(tmp_path / "q.zip")


def test_damage_anywhere_is_found_or_harmless(tmp_path):
    good = written(tmp_path / "p.zip")
    data = (tmp_path / "p.zip").read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(data), 300):
        bad = bytearray(data)
        bad[place] ^= 1 << rng.integers(0, 8)
        (tmp_path / "p.zip").write_bytes(bytes(bad))
        try:
            read = read_probe_set(tmp_path / "p.zip")
        except (DatasetError, NotFoundError):
            continue
        assert read.items == good.items


def test_missing_file(tmp_path):
    with pytest.raises(NotFoundError, match="there is no probe set file"):
        read_probe_set(tmp_path / "none.zip")


def test_drawn_from_a_dataset_spreads_over_the_classes(tmp_path):
    data = read_data(image_folder(tmp_path, {"a": 20, "b": 10, "c": 2}))
    draft = probe_set_from(data, 16, seed=3, license="MIT")
    assert draft == probe_set_from(data, 16, seed=3, license="MIT")
    assert draft != probe_set_from(data, 16, seed=4, license="MIT")
    classes = [data.labels[int(probe.origin.split()[-1])] for probe in draft.items]
    assert np.bincount(classes).tolist() == [9, 5, 2]
    number = int(draft.items[0].origin.split()[-1])
    expected = np.asarray(image.decode(data.items[number]))
    np.testing.assert_array_equal(np.asarray(image.decode(draft.items[0].item)), expected)
    made = write_probe_set(
        tmp_path / "p.zip", name="d", version="1", modality=draft.modality, items=draft.items
    )
    assert made.probe_set.license == "MIT"


def test_drawn_from_an_unlabelled_folder(tmp_path):
    for i in range(8):
        picture(i % 6, size=(300, 150)).save(tmp_path / f"{i}.png")
    (tmp_path / "9.png").write_bytes(b"junk")
    draft = probe_set_from(tmp_path, 7, seed=0)
    assert len(draft.items) == 6  # two are copies, one is no image
    assert {image.decode(probe.item).size for probe in draft.items} == {(224, 112)}
    assert all(probe.origin.startswith(f"{tmp_path.name}/") for probe in draft.items)


def test_drawn_texts(tmp_path):
    data = read_data(text_csv(tmp_path / "t.csv", [(f"text {i}", i % 2) for i in range(9)]))
    draft = probe_set_from(data, 6, seed=1)
    assert draft.modality == "text"
    assert {probe.item for probe in draft.items} < set(data.items)
    assert len(draft.items) == 6


def test_too_little_to_draw_from(tmp_path):
    for i in range(3):
        picture(i).save(tmp_path / f"{i}.png")
    with pytest.raises(DatasetError, match="only 3 different inputs"):
        probe_set_from(tmp_path, 5, seed=0)
    with pytest.raises(NotFoundError, match="no folder"):
        probe_set_from(tmp_path / "none", 5, seed=0)
