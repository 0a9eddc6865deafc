"""Options of the command line reach what they are for, on shipped experts and real pictures."""

import csv
import json

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import load, resolve
from tests import materials
from tests.program import invoke

QUICK = ("--epochs", 1, "--batch-size", 8, "--no-augment")
EXPERT = ("--expert", "hebrew-letters")
TABLE = ("--image-column", "photo", "--label-column", "kinds", "--split-column", "part")
LABELS = ("--target", "labels", "--separator", "/")


@pytest.fixture
def letters(tmp_path):
    return materials.pictures(tmp_path / "letters", 4, 8)


@pytest.fixture
def table(letters):
    """A table of pictures with one or two labels each; the last two of a letter are for the test."""
    path = letters.parent / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "kinds", "part", "label"])
        for number, folder in enumerate(sorted(letters.iterdir())):
            for i, picture in enumerate(sorted(folder.iterdir())):
                kinds = folder.name if i % 2 else f"{folder.name}/{'odd' if number % 2 else 'even'}"
                writer.writerow([picture.relative_to(path.parent), kinds, "test" if i > 5 else "train", "x"])
    return path


def start(data, out, *options):
    return invoke("warm-start", data, "--out", out, *EXPERT, *QUICK, *options, "--json").worked().json


def config(out):
    return json.loads((out / "run.json").read_text())["identity"]["config"]


@pytest.mark.slow
def test_a_table_with_several_labels_is_read_alike_by_every_command(workspace, letters, table):
    kinds = sorted([*(folder.name for folder in letters.iterdir()), "even", "odd"])
    answer = invoke("query", table, *TABLE, *LABELS, "--budget", 1, "--json").worked().json
    trained = start(table, "out", *TABLE, *LABELS)
    assert json.loads((workspace / "out" / "head.json").read_text())["classes"] == kinds
    assert (trained["metric"], trained["task"]) == ("average_precision", answer["task"])
    judged = invoke("evaluate", "out", table, *TABLE, *LABELS, "--json").worked().json
    assert (judged["n"], judged["split"]) == (8, "test")
    assert judged["metrics"]["mean_average_precision"] == pytest.approx(trained["accuracy"], abs=1e-6)
    checked = invoke("check", table, *TABLE, *LABELS, "--json")
    searched = invoke("auto", table, *TABLE, *LABELS, "--out", "auto", "--time-budget", "3s", "--json")
    assert searched.worked().json["metric"] == "average_precision"
    found = checked.worked().json
    assert "classes here are 4 labels, for each item its rarest" in found["notes"]
    assert " ".join((*TABLE, *LABELS)) in found["command"]
    # Without the separator a cell is one label.
    assert "odd" not in invoke("query", table, *TABLE, "--budget", 1, "--json").worked().out


@pytest.mark.slow
def test_pictures_of_a_table_are_predicted_as_their_files(workspace, letters, table):
    start(letters, "out")
    asked = invoke("predict", "out", table, "--image-column", "photo", "--json").worked().json["predictions"]
    plain = invoke("predict", "out", letters, "--json").worked().json["predictions"]
    assert {p["input"]: p["classes"] for p in asked} == {p["input"]: p["classes"] for p in plain}
    assert len(asked) == 32


@pytest.mark.slow
def test_a_step_in_parts_is_the_same_step(workspace, letters):
    plain, parted = start(letters, "a"), start(letters, "b", "--accumulate", 4)
    assert config(workspace / "b")["accumulate"] == 4
    assert parted["accuracy"] == plain["accuracy"]
    weights = [load_file(workspace / out / "model" / "model.safetensors") for out in "ab"]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_stronger_prior_keeps_the_weights_nearer(workspace, letters):
    parent = load(resolve("zoo:clipart", SourceOptions())).module.state_dict()

    def moved(prior):
        out = f"prior-{prior}"
        line = ("warm-start", letters, "--out", out, "--expert", "clipart", "--epochs", 3, "--no-augment")
        invoke(*line, "--strategy", "l2-sp", "--prior", prior, "--batch-size", 8).worked()
        child = load(resolve(f"dir:{workspace / out / 'model'}", SourceOptions())).module.state_dict()
        return sum(float((child[k] - v).square().sum()) for k, v in parent.items() if v.is_floating_point())

    assert moved(100.0) < 0.9 * moved(0.0)


@pytest.mark.slow
def test_softer_answers_of_the_teacher_are_another_loss(workspace, letters):
    options = ("--into", "shrink:0.5", "--distill", 0.5, "--distill-temperature")
    loss = {}
    for temperature in (1.0, 8.0):
        start(letters, f"t{temperature}", *options, temperature)
        history = json.loads((workspace / f"t{temperature}" / "history.json").read_text())
        loss[temperature] = history[-1]["loss"]
    assert loss[1.0] != loss[8.0]


@pytest.mark.slow
def test_augment_on_the_command_line_wins_over_the_file(workspace, letters):
    (workspace / "run.yaml").write_text(yaml.safe_dump({"augment": False, "epochs": 1}))
    for option, expected in (((), False), (("--augment",), True)):
        out = f"out{expected}"
        invoke("warm-start", letters, "--out", out, *EXPERT, "--config", "run.yaml", *option).worked()
        assert config(workspace / out)["augment"] is expected


@pytest.mark.slow
def test_auto_tries_no_more_experts_than_told(workspace, letters):
    line = ("auto", letters, "--out", "out", "--time-budget", "15s", "--experts", 1, "--json")
    answer = invoke(*line).worked().json
    tried = {trial["expert"] for trial in answer["trials"]}
    assert len(tried - {"raw:image"}) == 1


def test_a_transform_of_the_users_own_replaces_the_declared_one(blank):
    (blank / "own_net.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef network():\n    return nn.Conv2d(1, 6, 3)\n\n\n"
        "def rough(image):\n    pixels = image.convert('L').resize((9, 9)).tobytes()\n"
        "    return torch.tensor(list(pixels)).reshape(1, 9, 9) / 255\n"
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(torch.nn.Conv2d(1, 6, 3).state_dict(), blank / "own.safetensors")
    line = ("register", "factory:own_net:network", "--weights", "own.safetensors", "--input-size", 16)
    line += ("--channels", 1, "--trust-code")
    invoke(*line, "--transform", "own_net:missing").failed("own_net", "missing")
    assert materials.counts(blank)["experts"] == 0
    invoke(*line, "--name", "fine").worked()
    invoke(*line, "--transform", "own_net:rough", "--name", "rough").worked()
    (near,) = invoke("similar", "rough", "--json").worked().json
    assert near["expert"].startswith("fine")
    assert near["cka"] < 0.999


@pytest.mark.slow
def test_ids_alone_one_a_line(workspace, letters):
    start(letters, "out")
    for words in ("ls", "runs", "tasks ls", "probe ls", "similar emoji", "history ls"):
        full = invoke(*words.split(), "--json").worked().json
        assert full, words
        assert invoke(*words.split(), "-q").worked().lines == [row["id"] for row in full], words
    answer = invoke("query", letters, "--json").worked().json
    ids = invoke("query", letters, "-q").worked().lines
    assert ids == [candidate["expert"] for candidate in answer["candidates"]]
    new = invoke("register", "zoo:greek-letters", "-q").worked().lines
    assert new == [e["id"] for e in invoke("ls", "--json").worked().json if e["name"] == "greek-letters"]


@pytest.mark.slow
def test_statistics_of_children_that_differ_are_averaged_when_told(workspace, letters):
    """By default they are taken anew from the training items."""
    folders = [workspace / name for name in ("hebrew-letters", "emoji", "kept", "anew")]
    for folder in folders[:2]:
        invoke("warm-start", letters, "--out", folder, "--expert", folder.name, *QUICK).worked()
    line = ("merge", *folders[:2], "--data", letters, "--force", "--out")
    invoke(*line, "kept", "--keep-statistics").worked()
    invoke(*line, "anew").worked()
    states = [load_file(folder / "model" / "model.safetensors") for folder in folders]
    name = next(name for name in states[0] if name.endswith("running_mean"))
    mean = (states[0][name] + states[1][name]) / 2
    torch.testing.assert_close(states[2][name], mean)
    assert not torch.allclose(states[3][name], mean)


CALLED = ("Model", "Set", "Measure", "Result", "Run", "Rows", "How", "Took", "Day", "Tested")
ROW = {
    "expert": "emoji", "task": "pets", "metric": "eval_loss_gain", "value": "0.5", "seed": "3",
    "n_train": "100", "method": "full", "seconds": "12.5", "date": "2026-01-02", "n": "40",
}  # fmt: skip


def test_every_column_of_a_history_can_be_called_otherwise(workspace):
    for name, header in (("plain.csv", ROW), ("named.csv", CALLED)):
        (workspace / name).write_text(f"{','.join(header)}\n{','.join(ROW.values())}\n")
    options = [f"--{name.replace('_', '-')}-column" for name in ROW]
    columns = [word for pair in zip(options, CALLED, strict=True) for word in pair]
    better = ("--higher-is-better", "eval_loss_gain", "--json")
    invoke("history", "import", "named.csv", *columns, *better).worked()
    (found,) = invoke("history", "ls", "--json").worked().json
    assert (found["metric"], found["value"], found["seed"], found["n"]) == ("eval_loss_gain", 0.5, 3, 40)
    again = invoke("history", "import", "plain.csv", *better).worked().json
    assert (again["rows"], again["added"]) == (1, 0)


def test_rows_that_cannot_be_read_are_left_out_when_told(workspace):
    tables = {
        "h": "expert,task,metric,value\nemoji,pets,accuracy,.5\nemoji,pets,accuracy,x\n",
        "s": "expert,task,estimator,value,took\nemoji,pets,logme,.5,2\nemoji,pets,logme,x,1\n",
        "m": "expert,params\nemoji,1000\n,2000\n",
        "d": "task,with,far\npets,dtd,.5\npets,dtd2,x\n",
    }
    for name, text in tables.items():
        (workspace / f"{name}.csv").write_text(text)
    lines = (
        ("history", "import", "h.csv"),
        ("scores", "import", "s.csv", "--seconds-column", "took"),
        ("meta", "import", "m.csv"),
        ("tasks", "import-distance", "d.csv", "--other-column", "with", "--distance-column", "far"),
    )
    for line in lines:
        assert invoke(*line, "--json").code == 1, line
        report = invoke(*line, "--skip-invalid", "--json").worked().json
        assert (report["added"], sum(report["left_out"].values())) == (1, 1), line
