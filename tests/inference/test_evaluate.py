"""The evaluate command: which items, which classes, and what is measured on them."""

import csv
import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from expertise_graph.core import metrics, stats
from expertise_graph.core.errors import InvalidInputError
from expertise_graph.data.dataset import Columns
from expertise_graph.data.reading import read_data
from expertise_graph.data.sampling import holdout
from expertise_graph.features.running import extract
from expertise_graph.inference.evaluation import evaluate
from expertise_graph.inference.items import choose
from expertise_graph.inference.opening import open_model
from tests import materials
from tests.inference.conftest import finished
from tests.materials import change_json
from tests.program import invoke


def measured(run, data, *options):
    return invoke("evaluate", run, data, *options, "--json").worked().json


def test_by_default_only_items_that_were_kept_for_the_test_are_used(image_run, letters):
    found = measured(image_run, letters)
    data, model = read_data(letters), open_model(image_run)
    rows = holdout(data, seed=3).test
    logits, labels = model.logits([data.items[i] for i in rows]), data.labels[rows]
    assert (found["n"], found["split"]) == (len(rows), "test")
    assert "10 of 50 items: the test split of the run, which the model has never seen" in found["notes"][0]
    assert len(found["notes"]) == 1
    values, right = found["metrics"], logits.argmax(axis=1) == labels
    assert values["accuracy"] == pytest.approx(right.mean()) == pytest.approx(model.accuracy)
    assert found["interval_95"] == pytest.approx(stats.wilson(int(right.sum()), len(rows)))
    assert values["log_loss"] == values["log_loss_uncalibrated"]
    probabilities = torch.from_numpy(logits).double().softmax(dim=1).numpy()
    assert values["log_loss"] == pytest.approx(-np.log(probabilities[np.arange(10), labels]).mean(), rel=1e-4)
    assert values["largest_class"] == 0.2
    assert np.array(found["confusion"]).sum() == 10
    assert np.trace(np.array(found["confusion"])) == right.sum()
    assert [c["support"] for c in found["classes"] if c["support"]] == [2] * 5


def rows_of(table):
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """A finished run on a table whose columns had to be named, and the table."""
    folder = tmp_path_factory.mktemp("named")
    with (folder / "notes.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [(text, label, label[::-1]) for text, label in materials.gloss_rows(10, 2)]
        csv.writer(file).writerows([("body", "topic", "shelf"), *rows])
    data = read_data(folder / "notes.csv", columns=Columns(item="body", modality="text", label="shelf"))
    return finished("languages", data, folder / "run"), folder / "notes.csv"


def test_a_run_knows_the_columns_of_its_data(named, tmp_path):
    run, table = named
    assert json.loads((run / "head.json").read_text())["columns"] == {
        "item": "body",
        "modality": "text",
        "label": "shelf",
    }
    found = measured(run, table)
    assert (found["split"], found["n"]) == ("test", 4)
    assert found["labels"] == sorted({row["shelf"] for row in rows_of(table)})
    predicted = invoke("predict", run, table, "--json").worked().json
    assert [p["input"] for p in predicted["predictions"]] == [row["body"] for row in rows_of(table)]
    # What is given counts: the topics are no classes of the model.
    invoke("evaluate", run, table, "--label-column", "topic").failed("classes are matched by name")


def test_data_without_the_columns_of_the_run_are_read_as_any(named, tmp_path):
    run, table = named
    rows = [(row["body"], row["shelf"]) for row in rows_of(table)]
    with (tmp_path / "others.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    assert measured(run, tmp_path / "others.csv", "--split", "all")["n"] == 20


@pytest.mark.parametrize(("split", "n", "words"), [
    ("validation", 10, "by which its epoch was chosen"),
    ("train", 30, "which it was trained on"),
    ("all", 50, "was trained on or validated with 40 of them"),
])  # fmt: skip
def test_other_splits_say_what_they_are(split, n, words, image_run, letters):
    found = measured(image_run, letters, "--split", split)
    assert (found["n"], found["split"]) == (n, split)
    assert words in found["notes"][0]


def test_the_splits_of_a_run_do_not_overlap(image_run, letters):
    data, model = read_data(letters), open_model(image_run)
    rows = [set(choose(model, data, split).rows) for split in ("train", "validation", "test")]
    assert set.union(*rows) == set(range(50))
    assert sum(map(len, rows)) == 50
    with pytest.raises(InvalidInputError, match="possible are train, validation, test, all"):
        choose(model, data, "dev")


def test_of_other_data_all_new_items_are_used_unless_asked(image_run, letters, tmp_path):
    other = materials.pictures(tmp_path / "other", 5, 6, splits=("train", "test"))
    found = measured(image_run, other)
    # Six of the ten pictures of each letter that the run has seen are among the sixty.
    data = read_data(letters)
    held_out = {data.digests[i] for i in holdout(data, seed=3).test}
    fresh = sum(digest not in set(data.digests) - held_out for digest in read_data(other).digests)
    assert 30 < fresh < 60
    assert (found["n"], found["left_out"], found["split"]) == (fresh, 60 - fresh, "unseen")
    found = measured(image_run, other, "--split", "test")
    assert (found["n"], found["notes"][0]) == (30, "30 of 60 items: the test split that the data declare")
    invoke("evaluate", image_run, other, "--split", "validation").failed("no validation split", "train, test")


def test_another_result_than_the_recorded_one_is_noticed(run, letters):
    change_json(run / "head.json", accuracy=0.1)
    assert "different split (another package version?)" in measured(run, letters)["notes"][1]


def test_the_same_items_are_held_out_under_other_names(image_run, letters, tmp_path):
    other = shutil.copytree(letters, tmp_path / "renamed")
    for place, file in enumerate(sorted(p for p in other.rglob("*") if p.is_file())):
        file.rename(file.with_name(f"{hashlib.md5(str(place).encode()).hexdigest()}{file.suffix}"))
    model = open_model(image_run)
    held = [
        {data.digests[i] for i in choose(model, data, "test").rows}
        for data in (read_data(letters), read_data(other))
    ]
    assert held[0] == held[1]
    assert measured(image_run, other)["metrics"] == measured(image_run, letters)["metrics"]


def test_classes_are_matched_by_name(image_run, tmp_path):
    names = sorted(p.name for p in (materials.LETTERS / "test").iterdir())
    for name in (names[7], names[1], names[0]):
        shutil.copytree(materials.LETTERS / "test" / name, tmp_path / "d" / name)
    found = measured(image_run, tmp_path / "d")
    assert found["n"] == 24
    assert f"left out: 12 items of classes unknown to the model ({names[7]})" in found["notes"]
    assert f"no items of 3 classes of the model ({', '.join(names[2:5])})" in found["notes"]
    assert found["metrics"]["accuracy"] > 0.5
    shutil.rmtree(tmp_path / "d" / names[0])
    shutil.rmtree(tmp_path / "d" / names[1])
    shutil.copytree(materials.LETTERS / "test" / names[8], tmp_path / "d" / names[8])
    invoke("evaluate", image_run, tmp_path / "d").failed("no class of d", names[8], names[0], "by name")


def test_temperature_changes_probabilities_and_nothing_else(run, letters):
    before = measured(run, letters, "--split", "all")
    change_json(run / "head.json", temperature=10.0)
    after = measured(run, letters, "--split", "all")
    assert after["temperature"] == 10
    for name in ("accuracy", "macro_f1", "balanced_accuracy"):
        assert after["metrics"][name] == before["metrics"][name]
    for name in ("log_loss", "calibration_error"):
        assert after["metrics"][f"{name}_uncalibrated"] == pytest.approx(before["metrics"][name])
        assert after["metrics"][name] > before["metrics"][name]
    shown = invoke("evaluate", run, letters).worked().out
    assert "before temperature scaling" in shown


def test_texts_and_the_table_for_people(text_run, glosses):
    done = invoke("evaluate", text_run, glosses, "--split", "all").worked()
    found = measured(text_run, glosses, "--split", "all")
    assert found["n"] == 40
    assert f"{found['metrics']['accuracy']:.3f}  (95 % interval" in done.out
    assert "precision" in done.out
    worst = found["confused"][0]
    assert f"{worst['items']} of {worst['class']} predicted as {worst['predicted']}" in done.out
    assert "before temperature scaling" not in done.out


def test_the_confusion_is_drawn(image_run, letters, tmp_path):
    target = tmp_path / "confusion.png"
    invoke("evaluate", image_run, letters, "--plot", target).worked()
    with Image.open(target) as image:
        assert image.format == "PNG"
        assert len(image.convert("RGB").getcolors(1 << 20)) > 20
    assert [p.name for p in tmp_path.iterdir()] == ["confusion.png"]
    invoke("evaluate", image_run, letters, "--plot", tmp_path / "no" / "x.png").failed("no folder")


def test_data_of_another_modality(image_run, glosses):
    invoke("evaluate", image_run, glosses).failed("holds texts and the model takes images")


def test_a_model_of_classes_is_not_judged_on_several_labels(image_run, letters):
    rows = [f"{path};{path.parent.name}/more" for path in sorted(letters.rglob("*.png"))]
    table = letters.parent / "several.csv"
    table.write_text("\n".join(["image;label", *rows]))
    line = ("evaluate", image_run, table, "--target", "labels", "--separator", "/")
    invoke(*line).failed("holds several labels an item", "gives one class an item")


def test_several_labels_an_item(run, letters):
    change_json(run / "head.json", kind="labels")
    model, data = open_model(run), read_data(letters)
    found = measured(run, letters, "--split", "all")
    scores = 1 / (1 + np.exp(-model.logits(data.items).astype(float)))
    targets = np.eye(5, dtype=int)[data.labels]
    values = found["metrics"]
    assert set(values) == {"macro_f1", "micro_f1", "mean_average_precision"}
    assert values["micro_f1"] == pytest.approx(metrics.micro_f1(targets, scores >= 0.5))
    assert values["macro_f1"] == pytest.approx(metrics.multi_table(targets, scores >= 0.5)[:, 2].mean())
    assert values["mean_average_precision"] == pytest.approx(metrics.mean_average_precision(scores, targets))
    assert found["interval_95"] is None
    invoke("evaluate", run, letters, "--plot", "x.png").failed("of the kind labels")


def test_a_value(run, tmp_path, letters):
    weight = load_file(run / "head.safetensors")["weight"][:1].contiguous()
    save_file({"weight": weight, "bias": torch.tensor([2.5])}, run / "head.safetensors")
    change_json(run / "head.json", kind="value", classes=["age"])
    files = sorted(letters.rglob("*.png"))[:12]
    ages = [3 + i % 4 for i in range(12)]
    with (tmp_path / "ages.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "label"), *((f"{i}.png", a) for i, a in enumerate(ages))])
    for i, path in enumerate(files):
        shutil.copy(path, tmp_path / f"{i}.png")
    found = measured(run, tmp_path / "ages.csv", "--split", "all")["metrics"]
    predicted = (extract(open_model(run).backbone, files) @ weight.numpy().T)[:, 0] + 2.5
    assert found["mean_absolute_error"] == pytest.approx(np.abs(predicted - ages).mean(), rel=1e-4)
    assert found["root_mean_squared_error"] == pytest.approx(
        np.sqrt(((predicted - ages) ** 2).mean()), rel=1e-4
    )
    assert set(found) == {"r2", "mean_absolute_error", "root_mean_squared_error", "spearman"}
    invoke("evaluate", run, letters).failed("gives a value", "give numbers")


def test_json_is_strict_and_holds_the_documented_keys(image_run, letters):
    found = measured(image_run, letters)
    assert set(found) == {
        "model", "kind", "n", "split", "learnt", "left_out", "metrics", "interval_95", "temperature",
        "classes", "confused", "labels", "confusion", "notes", "data",
    }  # fmt: skip
    assert set(found["classes"][0]) == {"name", "precision", "recall", "f1", "support"}
    assert found["labels"] == json.loads((image_run / "head.json").read_text())["classes"]


def test_progress_is_told(image_run, letters):
    seen = []
    evaluate(
        open_model(image_run), read_data(letters), progress=lambda _, done, total: seen.append((done, total))
    )
    assert seen[-1] == (10, 10)
