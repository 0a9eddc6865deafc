"""Data that is partly unusable or of mixed kinds, and tasks that no expert is there for."""

from PIL import Image

from tests import materials
from tests.data.files import text_csv
from tests.program import invoke


def test_corrupt_images_are_skipped_counted_and_listed_on_request(workspace, tmp_path):
    data = materials.pictures(tmp_path / "data", 3, 8)
    pictures = sorted(data.rglob("*.png"))
    pictures[0].write_bytes(b"no image")
    pictures[9].write_bytes(pictures[9].read_bytes()[:60])
    done = invoke("query", data, "--budget", 1, "--json").worked()
    assert len(done.err.splitlines()) == 1
    assert "22 images with 3 classes" in done.err
    assert "2 skipped (the image is not a readable image: 1, the image cannot be decoded" in done.err
    assert done.err.endswith(" (-v lists them)\n")
    assert sum(done.json["data"]["skipped"].values()) == 2
    done = invoke("-v", "query", data, "--budget", 1, "--json").worked()
    assert len(done.err.splitlines()) == 3
    assert str(pictures[0]) in done.err
    assert str(pictures[9]) in done.err


def test_mixed_modes_and_sizes_are_one_dataset(workspace, tmp_path):
    data = materials.pictures(tmp_path / "data", 3, 8)
    changes = [("RGBA", (30, 90)), ("L", (64, 64)), ("P", (7, 5)), ("1", (64, 64)), ("CMYK", (200, 10))]
    for picture, (mode, size) in zip(sorted(data.rglob("*.png")), changes, strict=False):
        kind = "JPEG" if mode == "CMYK" else "PNG"
        Image.open(picture).convert("RGB").convert(mode).resize(size).save(picture, format=kind)
    done = invoke("query", data, "--budget", 4, "--json").worked()
    assert done.err == "data: 24 images with 3 classes; no declared splits\n"
    assert done.json["experts_run"] == 4


def test_a_class_with_one_item_does_not_stop_the_others(workspace, tmp_path):
    data = materials.pictures(tmp_path / "data", 3, 8)
    (data / "lonely").mkdir()
    Image.new("RGB", (64, 64)).save(data / "lonely" / "1.png")
    answer = invoke("query", data, "--budget", 1, "--json").worked().json
    assert len(answer["candidates"]) == 4


def test_classes_that_look_like_code_or_numbers(workspace, tmp_path):
    rows = [(f"text number {i}", ["=cmd()", "\x1b[31m", "007"][i % 3]) for i in range(24)]
    table = text_csv(tmp_path / "t.csv", rows)
    for options in ((), ("--csv",)):
        done = invoke("query", table, "--budget", 1, *options).worked()
        assert "\x1b" not in done.out


def test_a_task_without_an_expert_of_its_modality(blank, tmp_path):
    materials.resnet(tmp_path / "m", 1)
    invoke("register", f"dir:{tmp_path / 'm'}").worked()
    before = materials.counts(blank)
    table = materials.glosses(tmp_path / "t.csv", 6)
    invoke("query", table).failed(
        "no expert of modality 'text' is registered; register one first, e.g. zoo:emoji-names or hf:ORG/NAME"
    )
    invoke("warm-start", table, "--out", tmp_path / "out").failed("no expert of modality 'text'")
    assert materials.counts(blank) == before


def test_a_text_dataset_with_a_small_random_network(blank, tmp_path):
    materials.bert(tmp_path / "bert", 1)
    invoke("register", f"dir:{tmp_path / 'bert'}", "zoo:emoji-names").worked()
    answer = invoke("query", materials.glosses(tmp_path / "t.csv", 12), "--json").worked().json
    assert {c["name"] for c in answer["candidates"]} == {"bert", "emoji-names"}
    assert answer["experts_run"] == 2
