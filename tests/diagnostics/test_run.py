"""A look back at runs: real short ones, and the rules on histories as the loop writes them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from expertise_graph import views
from expertise_graph.cli.app import command_line
from expertise_graph.core import stats
from expertise_graph.core.metrics import log_softmax
from expertise_graph.data.dataset import Columns
from expertise_graph.data.reading import read_data
from expertise_graph.data.sampling import holdout
from expertise_graph.diagnostics.finished_run import FinishedRun
from expertise_graph.diagnostics.hardest_examples import CERTAIN, SHOWN
from expertise_graph.diagnostics.verdict import judge, kind_of_run
from expertise_graph.inference.opening import open_model
from expertise_graph.training.config import TrainConfig
from expertise_graph.workspace import Workspace
from tests.diagnostics.planted import letters
from tests.diagnostics.test_check import read_page
from tests.materials import change_json, glosses, pictures
from tests.program import invoke


@pytest.fixture(scope="module")
def finished(registered, tmp_path_factory):
    """A workspace in which a short warm start has been run: its folder, the run's and the data's."""
    folder = tmp_path_factory.mktemp("finished") / "workspace"
    shutil.copytree(registered, folder)
    data = letters(folder / "letters", 6)
    with Workspace(folder) as workspace:
        workspace.warm_start(
            data, folder / "runs" / "a", expert="latin-letters", config=TrainConfig(epochs=2)
        )
    return folder


@pytest.fixture
def run_folder(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(finished)
    return Path(shutil.copytree(finished / "runs" / "a", tmp_path / "a"))


def record(rows, *, stopped="epochs", kept=None, strategy="lp-ft", test=0.8, validation=0.8, n=100):
    history = tuple(
        {
            "epoch": k,
            "train_accuracy": train,
            "validation_accuracy": accuracy,
            "validation_loss": loss,
            "loss": None if train is None else 1 - train,
        }
        for k, (train, accuracy, loss) in enumerate(rows)
    )
    result = {
        "strategy": strategy,
        "stopped": stopped,
        "kept_epoch": len(rows) - 1 if kept is None else kept,
        "epochs": len(rows) - 1,
        "accuracy": test,
        "validation_accuracy": validation,
        "n_validation": n,
        "n_test": n,
        "seed": 0,
    }
    return FinishedRun(
        folder=Path("runs/a"),
        config={"epochs": 20, "lr": 3e-3},
        result=result,
        history=history,
        expert="zoo:x@y",
        task="task:0",
        modality="image",
        classes=("a", "b"),
        kind="class",
    )


PROBE = (None, 0.7, 0.9)
GOOD = [PROBE, (0.9, 0.75, 0.8), (0.95, 0.8, 0.7), (0.95, 0.79, 0.71)]


@pytest.mark.parametrize(
    ("rows", "changes", "kind", "command"),
    [
        ([PROBE, (0.5, 0.6, 1.0)], {"stopped": "nan", "kept": 0}, "diverged", "--lr 0.001 "),
        ([PROBE], {"strategy": "linear-probe"}, "probe", "--strategy lp-ft"),
        ([PROBE], {"stopped": "time"}, "unfinished", "--epochs 40"),
        ([PROBE, (0.9, 0.6, 1.2), (0.99, 0.6, 1.3)], {"kept": 0}, "probe-kept", "--lr 0.001 "),
        ([PROBE, (0.7, 0.75, 0.8), (0.75, 0.8, 0.7)], {}, "unfinished", "--epochs 40"),
        ([PROBE, (0.7, 0.75, 0.8), (0.75, 0.8, 0.7)], {"stopped": "early"}, "under-fitting", "query"),
        ([PROBE, (0.9, 0.8, 0.7), (1.0, 0.78, 0.9)], {"kept": 1}, "over-fitting", "--strategy linear-probe"),
        ([PROBE, (0.9, 0.8, 0.7), (1.0, 0.78, 0.9)], {"kept": 1, "n": 10}, "uncertain", "check"),
        ([PROBE, (0.9, 0.8, 0.7), (1.0, 0.78, 0.75)], {"kept": 1}, "gap", "query"),
        ([PROBE, (0.7, 0.5, 0.8), (0.8, 0.5, 0.75)], {"kept": 1, "stopped": "early"}, "gap", "query"),
        ([PROBE, (0.9, 0.8, 0.7), (0.95, 0.78, 0.75)], {"kept": 1}, "good", "check"),
        (GOOD, {"stopped": "early"}, "good", "check"),
        ([PROBE, (0.9, 1.0, 0.1), (1.0, 1.0, 0.05)], {"validation": 1.0, "test": 0.99}, "good", "check"),
    ],
)
def test_each_rule_of_the_verdict(rows, changes, kind, command):
    given = record(rows, **changes)
    assert kind_of_run(given) == kind
    verdict = judge(given, "my data")
    assert 1 <= len(verdict.commands) <= 3
    lines = [command_line(command) for command in verdict.commands]
    assert any(command in f"{line} " for line in lines)
    assert all(command.arguments == ("my data",) for command in verdict.commands)
    assert "harder" not in verdict.text


def test_a_run_that_time_ended_is_proposed_with_more_time():
    config = TrainConfig(time_budget=10.0).as_dict()
    for rows in ([PROBE], [PROBE, (0.7, 0.75, 0.8), (0.75, 0.8, 0.7)]):
        verdict = judge(dataclasses.replace(record(rows, stopped="time"), config=config), "d")
        assert verdict.kind == "unfinished"
        assert "--time-budget 40 " in f"{command_line(verdict.commands[0])} "
        assert ("before the first epoch" in verdict.text) == (len(rows) == 1)


def test_a_rate_that_was_searched_for_is_lowered_from_what_was_found():
    given = record([PROBE, (0.5, 0.6, 1.0)], stopped="nan", kept=0)
    given = dataclasses.replace(
        given, config={"epochs": 20, "lr": "auto"}, result={**given.result, "lr": 0.03}
    )
    line = command_line(judge(given, "d").commands[0])
    assert "--lr 0.01 " in f"{line} "


def test_of_few_items_a_verdict_says_how_uncertain_it_is():
    rows = [PROBE, (0.8, 0.8, 0.7), (0.94, 0.83, 0.68)]
    verdict = judge(record(rows, test=0.75, validation=10 / 12, n=12), "d")
    assert verdict.kind == "uncertain"
    assert "this gap is over-fitting or chance" in verdict.text
    low, high = stats.wilson(9, 12)
    assert (
        f"Of only 12 test items, the accuracy on new ones may lie anywhere from {100 * low:.0f} % to "
        f"{100 * high:.0f} % (95 % interval)." in verdict.text
    )
    many = judge(record(rows, test=0.75, validation=10 / 12, n=1200), "d")
    assert "interval" not in many.text
    rows = [PROBE, (0.9, 0.9, 0.7), (0.94, 0.92, 0.68)]
    near = judge(record(rows, stopped="early", test=11 / 12, validation=0.92, n=12), "d")
    assert near.kind == "good"
    assert "Of only 12 test items" in near.text


def test_what_to_try_next_keeps_the_settings_of_the_run():
    settings = {"strategy": "l2-sp", "seed": 3, "augment": False, "batch_size": 8, "head": "native"}
    rows = [PROBE, (0.9, 0.8, 0.7), (1.0, 0.78, 0.9)]
    given = dataclasses.replace(record(rows, kept=1), config=TrainConfig(**settings).as_dict())
    lines = [command_line(c) for c in judge(given, "d").commands if c.verb == "warm_start"]
    assert lines
    for line in lines:
        assert all(part in line for part in ("--seed 3", "--no-augment", "--batch-size 8", "--head native"))
        assert "--epochs 20" not in line, "defaults need no words"


def test_a_harder_test_split_is_noted():
    assert "harder (60 % right)" in judge(record(GOOD, stopped="early", test=0.6), "d").text
    assert "harder" not in judge(record(GOOD, stopped="early", test=0.6, n=20), "d").text


def test_a_run_is_looked_back_at(run_folder, tmp_path):
    # So hot that no answer is certain.
    change_json(run_folder / "head.json", temperature=20.0)
    done = invoke("check", run_folder, "--out", tmp_path / "r.html").worked()
    assert done.lines[0].startswith("a: lp-ft on 48 images in 6 classes, 2 epochs in ")
    assert "Try next" in done.lines
    assert len(done.lines) <= 25
    text, reader = read_page(tmp_path / "r.html")
    assert text.count("<svg") == 2
    assert reader.tags.count("img") == SHOWN
    sheet = Image.open(tmp_path / "r-worst.png")
    assert sheet.size == (6 * 136 + 8, 4 * 172 + 8)
    # The first picture stands at its place, and text below it.
    assert np.asarray(sheet.convert("L"))[8:136, 8:136].min() < 80
    assert np.asarray(sheet.convert("L"))[138:170, 8:136].min() < 120


def test_the_worst_examples_are_those_of_the_highest_loss(run_folder):
    found = invoke("check", run_folder, "--json").worked().json
    assert found["kind"] == "run"
    assert found["looked_at"] == 12 + 72
    data = read_data(Path("letters"))
    assert found["data"] == views.data_json(data)
    model = open_model(run_folder)
    splits = holdout(data, seed=0)
    rows = np.sort(np.concatenate([splits.validation, splits.test]))
    likely = log_softmax(model.logits([data.items[i] for i in rows]) / model.temperature)
    assert np.exp(likely).sum(axis=1) == pytest.approx(np.ones(len(rows)))
    losses = -likely[np.arange(len(rows)), data.labels[rows]]
    right = likely.argmax(axis=1) == data.labels[rows]
    doubtful = losses[~right | (np.exp(likely.max(axis=1)) < CERTAIN)]
    assert 0 < len(doubtful) < len(rows)
    assert [w["loss"] for w in found["worst"]] == pytest.approx(
        sorted(doubtful, reverse=True)[:SHOWN], abs=1e-5
    )
    test = np.isin(rows, splits.test)
    assert (likely.argmax(axis=1) == data.labels[rows])[test].mean() == pytest.approx(found["accuracy"])
    worst = found["worst"][0]
    place = rows[int(losses.argmax())]
    assert worst["item"] == str(data.items[place].relative_to(data.locator))
    assert worst["given"] == data.classes[data.labels[place]]


def test_of_other_data_the_items_of_the_training_are_not_looked_at(run_folder, tmp_path):
    data = shutil.copytree("letters", tmp_path / "minus")
    before, splits = read_data(data), holdout(read_data(data), seed=0)
    before.items[splits.train[0]].unlink()
    found = invoke("check", run_folder, "--data", data, "--json").worked().json
    assert found["looked_at"] == len(splits.test)
    assert {example["split"] for example in found["worst"]} == {"new"}
    done = invoke("check", run_folder, "--data", data).worked()
    assert f"among {len(splits.test)} items that are not those of the training" in done.out
    for i in splits.test:
        before.items[i].unlink()
    done = invoke("check", run_folder, "--data", data).worked()
    assert "left out: the run was trained on or validated with every item of minus" in done.out


def test_data_that_moved_or_changed(finished, run_folder):
    (finished / "letters").rename(finished / "moved")
    try:
        done = invoke("check", run_folder).worked()
        assert "note: the hardest examples are left out: there is no" in done.out
        assert "Try next" in done.out
        found = invoke("check", run_folder, "--data", finished / "moved", "--json").worked().json
        assert 0 < len(found["worst"]) <= SHOWN
        (finished / "letters").mkdir()
        shutil.copytree(finished / "moved" / "train", finished / "letters" / "train")
        assert "gives other items or labels than the run had" in invoke("check", run_folder).worked().out
    finally:
        shutil.rmtree(finished / "letters", ignore_errors=True)
        (finished / "moved").rename(finished / "letters")


def test_other_data_and_other_options_are_refused(run_folder, tmp_path):
    table = glosses(tmp_path / "g.csv", 5)
    done = invoke("check", run_folder, "--data", table).worked()
    assert "was trained on 6 classes of images" in done.out
    assert invoke("check", run_folder, "--expert", "emoji").code == 2
    assert invoke("check", table, "--data", table).code == 2


def test_unfinished_and_damaged_runs(run_folder):
    shutil.move(run_folder / "model", run_folder / "elsewhere")
    invoke("check", run_folder).failed("holds no model/", "train it again")
    shutil.move(run_folder / "elsewhere", run_folder / "model")
    (run_folder / "head.safetensors").write_bytes(b"")
    invoke("check", run_folder).failed("head.safetensors")
    change_json(run_folder / "run.json", result=None)
    invoke("check", run_folder).failed("has not finished")
    (run_folder / "run.json").write_text("[]")
    invoke("check", run_folder).failed("is not the record of a run")
    (run_folder / "run.json").write_text(json.dumps({"identity": {}, "result": {}}))
    invoke("check", run_folder).failed("does not hold the record")


def test_a_temperature_takes_confidence(run_folder):
    hardest = {}
    for temperature in (1.0, 4.0):
        change_json(run_folder / "head.json", temperature=temperature)
        hardest[temperature] = invoke("check", run_folder, "--json").worked().json["worst"][0]
    assert hardest[4.0]["confidence"] < hardest[1.0]["confidence"]


def test_data_of_another_kind_are_refused(run_folder):
    change_json(run_folder / "head.json", kind="labels")
    assert "was trained on 6 labels of images: give its data" in invoke("check", run_folder).worked().out


@pytest.fixture(scope="module")
def several(registered, tmp_path_factory):
    """A workspace with a run on several labels and one on values, both of the table t.csv."""
    folder = tmp_path_factory.mktemp("several") / "workspace"
    shutil.copytree(registered, folder)
    data = pictures(folder / "letters", 4, 8)
    rows = ["photo;kinds;much"]
    for number, letter in enumerate(sorted(data.iterdir())):
        for i, picture in enumerate(sorted(letter.iterdir())):
            more = "/odd" if number % 2 else ""
            rows.append(f"{picture.relative_to(folder)};{letter.name}{more};{number + i / 100}")
    (folder / "t.csv").write_text("\n".join(rows) + "\n")
    with Workspace(folder) as workspace:
        for label, target in (("kinds", "labels"), ("much", "value")):
            columns = Columns(
                item="photo", modality="image", label=label, target=target, separator=SLASH.get(label)
            )
            config = TrainConfig(epochs=1, batch_size=8)
            out = folder / label
            workspace.warm_start(folder / "t.csv", out, expert="emoji", config=config, columns=columns)
    return folder


SLASH = {"kinds": "/"}


@pytest.mark.slow
@pytest.mark.parametrize(("label", "metric"), [("kinds", "average precision"), ("much", "r2")])
def test_runs_on_labels_and_values_are_judged_by_their_own_measure(several, monkeypatch, label, metric):
    monkeypatch.chdir(several)
    target = ("--target", "labels", "--separator", "/") if label == "kinds" else ("--target", "value")
    columns = ("--image-column", "photo", "--label-column", label, *target)
    page = several / f"{label}.html"
    done = invoke("check", label, "--out", page).worked()
    assert done.lines[1].startswith(f"{metric} ")
    assert "%" not in done.lines[1]
    assert "right" not in done.out
    assert f"training {metric}" in page.read_text()
    assert (several / f"{label}-worst.png").stat().st_size > 1000
    found = invoke("check", label, "--json").worked().json
    assert found["metric"] == metric.replace(" ", "_")
    assert all(" ".join(columns) in command for command in found["commands"])

    data = read_data(
        several / "t.csv",
        columns=Columns(
            item="photo", modality="image", label=label, target=target[1], separator=SLASH.get(label)
        ),
    )
    model, splits = open_model(several / label), holdout(data, seed=0)
    rows = np.sort(np.concatenate([splits.validation, splits.test]))
    logits = model.logits([data.items[i] for i in rows]).astype(float)
    if label == "much":
        losses = np.abs(logits[:, 0] - data.targets[rows, 0])
        assert found["worst"][0]["confidence"] is None
    else:
        likely = model.probabilities(logits)
        losses = -np.log(np.where(data.targets[rows] > 0, likely, 1 - likely)).mean(axis=1)
        certain = np.maximum(likely, 1 - likely).mean(axis=1) >= CERTAIN
        right = ((likely >= 0.5) == (data.targets[rows] > 0)).all(axis=1)
        losses[certain & right] = -1
        assert set(found["worst"][0]["given"].split(", ")) <= set(data.outputs)
    assert [w["loss"] for w in found["worst"]] == pytest.approx(
        sorted(losses[losses >= 0], reverse=True)[:SHOWN], rel=1e-4
    )
    worst = data.items[rows[losses.argmax()]]
    assert found["worst"][0]["item"].endswith(f"{worst.parent.name}/{worst.name}")


def test_a_value_that_is_predicted_worse_than_by_the_mean_has_a_verdict():
    rows = [(None, -0.4, 1.3), (0.1, -0.3, 1.2), (0.2, -0.35, 1.1)]
    given = dataclasses.replace(record(rows, test=-0.6, validation=-0.3, stopped="early"), kind="value")
    verdict = judge(given, "d")
    assert verdict.kind == "gap"
    assert "r2 -0.30 on validation" in verdict.text


def test_text_runs_have_a_table_only(registered, tmp_path, monkeypatch):
    shutil.copytree(registered, tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w")
    table = glosses(tmp_path / "g.csv", 8)
    with Workspace(tmp_path / "w") as workspace:
        config = TrainConfig(epochs=1)
        workspace.warm_start(table, tmp_path / "run", expert="languages", config=config)
        found = workspace.check_run(tmp_path / "run")
    assert found.sheet is None
    assert found.hardest[0].name.startswith("item ")
    assert found.hardest[0].loss >= found.hardest[-1].loss
