"""The predict command on files, folders, tables, texts and standard input, and what it skips."""

import csv
import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.features.running import extract
from expertise_graph.inference.opening import open_model
from expertise_graph.inference.prediction import predict
from tests.materials import change_json, gloss_rows
from tests.program import invoke

TEXTS = [text for text, _ in gloss_rows(3, 2)]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """No test needs a workspace."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


def said(run, *arguments, stdin=None):
    done = invoke("predict", run, *arguments, "--json", stdin=stdin).worked().json
    return {p["input"]: p["classes"] for p in done["predictions"]}


def test_a_folder_is_searched_at_any_depth_and_probabilities_are_the_models(image_run, letters):
    model, files = open_model(image_run), sorted(letters.rglob("*.png"))
    expected = model.probabilities(model.logits(files))
    found = said(image_run, letters, "--top", 5)
    assert list(found) == [str(f) for f in files]
    for row, classes in zip(expected, found.values(), strict=True):
        assert [c["class"] for c in classes] == [model.classes[i] for i in np.argsort(-row)]
        assert [c["probability"] for c in classes] == pytest.approx(sorted(row, reverse=True), rel=1e-4)
    assert np.mean([c[0]["class"] in name for name, c in found.items()]) > 0.7


def test_one_file_and_paths_on_standard_input_give_the_same(image_run, letters):
    files = sorted(letters.rglob("*.png"))[:3]
    one = said(image_run, *files)
    piped = said(image_run, "-", stdin="\n".join(map(str, files)) + "\n\n")
    assert list(one) == list(piped) == [str(f) for f in files]
    assert [c[0]["class"] for c in one.values()] == [c[0]["class"] for c in piped.values()]
    assert all(len(classes) == 1 for classes in one.values())


def test_texts_of_every_kind_of_file_give_the_same(text_run, tmp_path):
    (tmp_path / "t.txt").write_text("\n".join(TEXTS) + "\n\n", encoding="utf-8")
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "body text"), *enumerate(TEXTS)])
    rows = [json.dumps({"text": text, "label": "?", "lang": "en"}) for text in TEXTS]
    (tmp_path / "t.jsonl").write_text("\n".join(rows), encoding="utf-8")
    pq.write_table(pa.table({"first": TEXTS, "second": ["x"] * len(TEXTS)}), tmp_path / "t.parquet")
    expected = said(text_run, *(part for text in TEXTS for part in ("--text", text)))
    assert list(expected) == TEXTS
    for arguments in (
        ["t.txt"], ["t.csv"], ["t.jsonl"], ["t.parquet", "--text-column", "first"],
    ):  # fmt: skip
        found = said(text_run, tmp_path / arguments[0], *arguments[1:])
        assert list(found) == TEXTS
        for text in TEXTS:
            assert found[text][0]["class"] == expected[text][0]["class"]
            assert found[text][0]["probability"] == pytest.approx(expected[text][0]["probability"], rel=1e-4)
    assert said(text_run, *TEXTS) == expected
    assert said(text_run, tmp_path / "t.parquet", "--item-column", "first").keys() == expected.keys()
    piped = said(text_run, "-", stdin="\n".join(TEXTS))
    assert {t: c[0]["class"] for t, c in piped.items()} == {t: c[0]["class"] for t, c in expected.items()}


def test_images_of_a_table(image_run, letters, tmp_path):
    file = next(letters.rglob("*.png"))
    shutil.copy(file, tmp_path / "one.png")
    (tmp_path / "t.csv").write_text("image,label\none.png,a\nmissing.png,b\n../../etc/passwd,c\n")
    done = invoke("predict", image_run, tmp_path / "t.csv", "--json")
    assert done.code == 1
    (found,) = done.json["predictions"]
    assert found["input"] == str(tmp_path / "one.png")
    assert [s["input"].rsplit("/")[-1] for s in done.json["skipped"]] == ["missing.png", "passwd"]
    assert done.err.splitlines()[0] == "3 images from 'image'"


def test_what_cannot_be_read_is_reported_and_the_rest_is_done(image_run, letters, tmp_path):
    files = sorted(letters.rglob("*.png"))[:2]
    (tmp_path / "bad.png").write_bytes(files[0].read_bytes()[:40])
    done = invoke("predict", image_run, files[0], tmp_path / "bad.png", "gone.png", files[1], "--csv")
    assert done.code == 1
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["input"] for row in rows] == [str(f) for f in files]
    assert set(rows[0]) == {"input", "rank", "class", "probability"}
    lines = done.err.splitlines()
    assert lines.pop(0) == "4 images"
    assert len(lines) == 2
    assert "bad.png" in lines[0]
    assert "gone.png: No such file" in lines[1]


@pytest.mark.parametrize("name", ["nope.png", "nope.csv", "nope.NPZ", "my reviews.zip", "sub/nope", "./nope"])
def test_the_name_of_a_file_that_is_not_there_is_no_text(name, text_run):
    invoke("predict", text_run, name).failed("there is no", name.removeprefix("./"))
    assert list(said(text_run, "--text", name)) == [name]
    done = invoke("predict", text_run, TEXTS[0], name, "--json")
    assert done.code == 1
    assert [p["input"] for p in done.json["predictions"]] == [TEXTS[0]]
    assert [s["input"] for s in done.json["skipped"]] == [name]


@pytest.mark.parametrize("text", ["black and/or white", "ends in a dot.", "version 2.5", "v2.png is better"])
def test_sentences_are_texts(text, text_run):
    assert list(said(text_run, text)) == [text]


def test_texts_longer_than_the_model_reads_are_said_to_be_cut(text_run, glosses, tmp_path):
    table = tmp_path / "long.csv"
    table.write_text(f"text,label\n{'a word and another ' * 200},art\n")
    done = invoke("predict", text_run, table, "--json").worked()
    (note,) = done.json["notes"]
    assert "100 % of the texts are longer than the" in note
    assert f"note: {note}" in done.err
    assert invoke("predict", text_run, glosses, "--json").worked().json["notes"] == []
    long = tmp_path / "labelled.csv"
    rows = glosses.read_text().splitlines()
    long.write_text(
        "\n".join([rows[0], *(row.replace(",", " " + "word " * 400 + ",", 1) for row in rows[1:])])
    )
    notes = invoke("evaluate", text_run, long, "--json").json["notes"]
    assert any("were cut" in line for line in notes)


def test_what_holds_no_input_is_skipped_beside_what_does(image_run, text_run, letters, tmp_path):
    good = next(letters.rglob("*.png"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "nomodel").mkdir()
    (tmp_path / "nomodel" / "config.yaml").write_text("a: 1")
    bad = [tmp_path / "empty", tmp_path / "nomodel", tmp_path / "gone.csv"]
    done = invoke("predict", image_run, bad[0], good, *bad[1:], "--json")
    assert done.code == 1
    assert [p["input"] for p in done.json["predictions"]] == [str(good)]
    assert [s["input"] for s in done.json["skipped"]] == [str(path) for path in bad]
    assert f"skipped {bad[0]}: {bad[0]} holds no image file" in done.err
    piped = invoke("predict", image_run, good, "-", "--json", stdin=f"{bad[0]}\n{good}\n")
    assert (piped.code, len(piped.json["predictions"]), len(piped.json["skipped"])) == (1, 2, 1)
    (tmp_path / "t.csv").write_text(f"text\n{TEXTS[0]}\n{TEXTS[1]}\n", encoding="utf-8")
    done = invoke("predict", text_run, tmp_path / "t.csv", "nope.png", bad[0], "--json")
    assert (done.code, len(done.json["predictions"]), len(done.json["skipped"])) == (1, 2, 2)
    invoke("predict", image_run, *bad).failed("none of 3 inputs could be read")


def test_nothing_readable_is_one_error(image_run, text_run, tmp_path):
    done = invoke("predict", image_run, "gone.png")
    assert done.code == 1
    assert done.out == ""
    assert "none of 1 inputs could be read" in done.err
    (tmp_path / "empty").mkdir()
    invoke("predict", image_run, tmp_path / "empty").failed("holds no image file")
    invoke("predict", text_run, tmp_path / "empty").failed("is a folder", "give texts as arguments")
    invoke("predict", text_run, "gone.txt").failed("gone.txt")
    (tmp_path / "x.png").write_bytes(b"")
    invoke("predict", text_run, tmp_path / "x.png").failed("cannot be read as texts")
    (tmp_path / "t.csv").write_text("a,b\nx,y\n")
    invoke("predict", text_run, tmp_path / "t.csv").failed("no column is clearly the text")
    invoke("predict", text_run, tmp_path / "t.csv", "--text-column", "c").failed("no column 'c'", "a, b")
    invoke("predict", image_run, "--text", "x").failed("takes images")
    assert invoke("predict", image_run).code == 2
    assert invoke("predict", text_run, "-", stdin="").code == 1


def test_the_table_for_people(image_run, letters, text_run):
    done = invoke("predict", image_run, next(letters.rglob("*.png"))).worked()
    assert done.out.split()[:3] == ["input", "class", "probability"]
    done = invoke(
        "predict", text_run, "--text", "a very long text " * 20, "--text", "\x1b[31mred", "--top", 2
    )
    assert "\x1b" not in done.worked().out
    assert "..." in done.out
    assert "rank" in done.out


def test_several_labels_an_item(run, letters):
    change_json(run / "head.json", kind="labels")
    model, files = open_model(run), sorted(letters.rglob("*.png"))[::10]
    expected = 1 / (1 + np.exp(-model.logits(files).astype(float)))
    for threshold in (0.1, 0.5, 1.0):
        found = said(run, *files, "--threshold", threshold)
        for row, classes in zip(expected, found.values(), strict=True):
            assert {c["class"] for c in classes} == {
                model.classes[i] for i in np.flatnonzero(row >= threshold)
            }
    assert any(not classes for classes in found.values())
    assert invoke("predict", run, *files, "--threshold", 1.0, "--csv").worked().lines[1].endswith(",1,,")


def test_a_value(run, letters):
    weight = load_file(run / "head.safetensors")["weight"][:1].contiguous()
    save_file({"weight": weight, "bias": torch.tensor([2.5])}, run / "head.safetensors")
    change_json(run / "head.json", kind="value", classes=["age"])
    files = sorted(letters.rglob("*.png"))[:4]
    features = extract(open_model(run).backbone, files)
    expected = (features @ weight.numpy().T)[:, 0] + 2.5
    done = invoke("predict", run, *files, "--json").worked().json
    assert done["kind"] == "value"
    assert [p["value"] for p in done["predictions"]] == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert [p["classes"] for p in done["predictions"]] == [[]] * 4
    assert invoke("predict", run, *files, "--csv").worked().lines[0] == "input,value"


def test_json_holds_the_documented_keys(image_run, letters):
    done = invoke("predict", image_run, next(letters.rglob("*.png")), "--json").worked().json
    assert set(done) == {"model", "kind", "temperature", "predictions", "skipped", "notes"}
    assert set(done["predictions"][0]) == {"input", "classes", "value"}
    assert (done["kind"], done["temperature"], done["skipped"]) == ("class", 1.0, [])


@pytest.mark.parametrize("wrong", [{"top": 0}, {"threshold": 1.5}])
def test_wrong_arguments(image_run, wrong):
    with pytest.raises(InvalidInputError):
        predict(open_model(image_run), [], **wrong)


def test_a_name_without_a_folder_and_without_a_registry():
    invoke("predict", "missing", "x.png").failed("no folder missing", "no registry to look")
