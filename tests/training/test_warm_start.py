"""Warm starts through the command line: the files, the child, its edges, and reading it all back."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from expertise_graph.features.running import extract
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import load, resolve
from expertise_graph.training.config import TrainConfig
from expertise_graph.workspace import Workspace
from tests import materials
from tests.models.test_factory import module, weights  # noqa: F401
from tests.program import invoke

QUICK = ("--epochs", 2, "--batch-size", 8, "--no-augment")


@pytest.fixture
def letters(tmp_path):
    return materials.pictures(tmp_path / "letters", 4, 8)


def start(data, out, *options):
    return invoke("warm-start", data, "--out", out, *QUICK, *options, "--json")


def edges(workspace):
    with Workspace(workspace) as opened:
        return {
            kind: [(e.source, e.target, e.run) for e in opened.store.edges(kind)]
            for kind in ("transfer", "lineage")
        }


@pytest.mark.slow
def test_the_query_before_it_takes_a_share_of_the_time_budget(workspace, letters):
    ran = []
    for limits in (("--time-budget", "0.01s"), ()):
        result = start(letters, f"out-{len(ran)}", *limits).worked().json
        with Workspace(workspace) as opened:
            ran.append(len({score.expert for score in opened.store.scores(result["task"])}))
    assert ran[0] == 1 < ran[1]


def test_without_time_for_an_epoch_the_answer_is_a_probe_and_is_recorded_as_one(workspace, letters):
    line = ("warm-start", letters, "--out", "out", "--expert", "hebrew-letters", "--time-budget", "0.01s")
    printed = invoke(*line).worked().out
    assert "the time budget ended before the first epoch: this is a linear probe" in printed
    assert "whose weights did not change: no new expert is registered" in printed
    with Workspace(workspace) as opened:
        (edge,) = opened.store.edges("transfer")
    assert edge.method == "linear-probe"


def test_json_holds_the_documented_keys_and_the_folder_the_model(workspace, letters):
    result = start(letters, "out", "--expert", "hebrew-letters").worked().json
    assert set(result) >= {
        "expert", "child", "task", "strategy", "accuracy", "cold_accuracy",
        "seed", "epochs", "seconds", "path",
    }  # fmt: skip
    assert result["expert"] == "zoo:hebrew-letters@resnet"
    assert (result["strategy"], result["cold_accuracy"], result["seed"]) == ("lp-ft", None, 0)
    assert 0.5 < result["accuracy"] <= 1
    assert (workspace / result["path"]).resolve() == workspace / "out"
    head = json.loads((workspace / "out" / "head.json").read_text())
    assert head["accuracy"] == result["accuracy"]
    assert len(head["classes"]) == 4
    assert load_file(workspace / "out" / "head.safetensors")["weight"].shape == (4, 128)
    card = (workspace / "out" / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "base_model: zoo:hebrew-letters@resnet" in card
    assert not list((workspace / "out").rglob("checkpoint"))


def test_the_child_is_an_expert_with_lineage_and_a_measured_edge(workspace, letters):
    result = start(letters, "out", "--expert", "emoji").worked().json
    with Workspace() as opened:
        child, parent = opened.store.expert(result["child"]), opened.store.expert(result["expert"])
        assert (child.base_model, child.license) == (parent.id, parent.license)
        assert child.datasets[-1] == "letters"
        assert child.weights_sha != parent.weights_sha
        assert Path(child.locator) == workspace / "out" / "model"
        (transfer,) = opened.store.edges("transfer")
        assert (transfer.source, transfer.target) == (parent.id, result["task"])
        assert (transfer.metric, transfer.weight, transfer.seed) == ("accuracy", result["accuracy"], 0)
        assert transfer.n == 8
        assert transfer.run == result["run"]
        assert transfer.seconds == pytest.approx(result["seconds"])
        assert [(e.source, e.target) for e in opened.store.edges("lineage")] == [(parent.id, child.id)]
        assert parent.id in [n.expert.id for n in opened.similar(child.id, 5)]
        (run,) = opened.runs()
        assert (run.status, run.child, run.result["accuracy"]) == ("done", child.id, result["accuracy"])
    (row,) = invoke("runs", "--json").worked().json
    assert (row["status"], row["accuracy"]) == ("done", result["accuracy"])
    pictures = sorted(letters.rglob("*.png"))[:3]
    again = resolve(f"dir:{workspace / 'out' / 'model'}", SourceOptions())
    assert again.id == child.id
    assert np.isfinite(extract(load(again), pictures)).all()


@pytest.mark.slow
def test_the_same_command_reads_back_and_adds_nothing(workspace, letters):
    first = start(letters, "out", "--expert", "emoji").worked().json
    before, counted = edges(workspace), materials.counts(workspace)
    weights_before = (workspace / "out" / "model" / "model.safetensors").stat().st_mtime_ns
    again = start(letters, "out", "--expert", "emoji").worked().json
    assert again == first
    assert edges(workspace) == before
    assert materials.counts(workspace) == counted
    assert (workspace / "out" / "model" / "model.safetensors").stat().st_mtime_ns == weights_before
    with Workspace() as opened:
        assert [r.status for r in opened.runs()] == ["done"]


@pytest.mark.slow
def test_the_same_command_without_an_expert_goes_on_with_the_one_it_chose(workspace, letters):
    first = start(letters, "out").worked().json
    with Workspace() as opened:
        (transfer,) = opened.store.edges("transfer")
        # A result so poor that a new query would choose another expert.
        with opened.store.transaction():
            opened.store.drop_run_edges(first["run"])
            opened.store.put_edges([dataclasses.replace(transfer, weight=0.0)])
        best = opened.query(letters).best.expert.id
    assert best != first["expert"]
    again = start(letters, "out").worked().json
    assert (again["expert"], again["accuracy"]) == (first["expert"], first["accuracy"])
    with Workspace() as opened:
        assert len(opened.runs()) == 1


def test_a_run_without_an_expert_named_keeps_its_own_also_when_that_was_removed(workspace, letters):
    line = (letters, "out", "--epochs", 1)
    first = start(*line, "--expert", "emoji").worked().json
    again = start(*line).worked()
    assert f"out holds a finished run from {expert_called('emoji')}: its expert is kept" in again.err
    assert again.json == first
    short = expert_called("emoji")
    removed = invoke("rm", "emoji").worked().err
    assert removed == f"removed {short}; 1 fine-tuned child and 1 measured result stay\n"
    gone = start(*line).worked()
    assert f"out holds a finished run from {short}: its expert is kept" in gone.err
    assert gone.json == first
    # Other settings are another run: replacing the model that is there is not the first thing to try.
    start(letters, "out", "--epochs", 2).failed(
        f"holds a run from {short}, which is not registered any more: choose another --out, or register it "
        "again with: expertise-graph register zoo:emoji to go on with that run"
    )
    invoke("register", "zoo:emoji").worked()
    start(letters, "out", "--epochs", 2).failed(
        "holds another run (epochs was 1, is 2): choose another --out, or replace it with --force"
    )


def expert_called(name):
    with Workspace() as opened:
        return opened.expert(name).short


@pytest.mark.slow
def test_another_run_is_not_overwritten_without_force(workspace, letters):
    first = start(letters, "out", "--expert", "emoji").worked().json
    counted = materials.counts(workspace)
    start(letters, "out", "--expert", "emoji", "--seed", 1).failed("holds another run", "--force")
    start(letters, "out", "--expert", "clipart").failed("holds another run", "--force")
    assert materials.counts(workspace) == counted
    assert json.loads((workspace / "out" / "head.json").read_text())["accuracy"] == first["accuracy"]
    other = start(letters, "out", "--expert", "emoji", "--seed", 1, "--force").worked().json
    assert other["seed"] == 1
    assert other["run"] != first["run"]


def test_a_folder_with_other_files_is_never_touched(workspace, letters):
    (workspace / "mine").mkdir()
    (workspace / "mine" / "thesis.txt").write_text("years of work")
    for force in ((), ("--force",)):
        start(letters, "mine", "--expert", "emoji", *force).failed("mine", "--out")
    assert [p.name for p in (workspace / "mine").iterdir()] == ["thesis.txt"]
    (workspace / "file").write_text("x")
    start(letters, "file", "--expert", "emoji").failed("file")
    assert materials.counts(workspace)["runs"] == 0


@pytest.mark.slow
def test_a_frozen_expert_is_measured_and_stays_a_candidate(workspace, letters):
    result = start(letters, "out", "--expert", "emoji", "--strategy", "linear-probe").worked().json
    assert (result["strategy"], result["child"]) == ("linear-probe", result["expert"])
    assert materials.counts(workspace)["experts"] == 6
    assert edges(workspace)["lineage"] == []
    ((source, task, _),) = edges(workspace)["transfer"]
    assert (source, task) == ("zoo:emoji@resnet", result["task"])
    by_name = {c["name"]: c for c in invoke("query", letters, "--json").worked().json["candidates"]}
    assert by_name["emoji"]["evidence"][0].startswith(f"measured {result['accuracy']:.3f} on 8 test items")


@pytest.mark.slow
def test_a_cold_start_is_no_evidence_about_the_expert(workspace, letters):
    result = start(letters, "out", "--expert", "emoji", "--strategy", "from-scratch").worked().json
    assert result["strategy"] == "from-scratch"
    assert edges(workspace) == {"transfer": [], "lineage": []}
    with Workspace() as opened:
        child = opened.store.expert(result["child"])
    assert child.base_model is None
    assert "from-scratch" in child.tags


@pytest.mark.slow
def test_compare_cold_measures_both_on_the_same_test_items(workspace, letters):
    result = start(letters, "out", "--expert", "hebrew-letters", "--compare-cold").worked().json
    assert result["transfer_gain"] == pytest.approx(result["accuracy"] - result["cold_accuracy"])
    assert result["accuracy"] > result["cold_accuracy"]
    recorded = [json.loads((workspace / "out" / p / "run.json").read_text())["result"] for p in ("", "cold")]
    assert recorded[0]["n_test"] == recorded[1]["n_test"]
    with Workspace() as opened:
        (transfer,) = opened.store.edges("transfer")
    assert transfer.meta["cold_accuracy"] == result["cold_accuracy"]
    text = invoke(
        "warm-start", letters, "--out", "out", *QUICK, "--expert", "hebrew-letters", "--compare-cold"
    )
    assert f"{100 * result['transfer_gain']:+.1f} points" in text.worked().out


@pytest.mark.slow
def test_the_query_afterwards_rests_on_the_result_and_leaves_the_child_out(workspace, letters):
    before = invoke("query", letters, "--json").worked().json
    result = start(letters, "out", "--expert", "clipart").worked().json
    grandchild = start(materials.pictures(workspace / "other", 3, 6), "next", "--expert", result["child"])
    after = invoke("query", letters, "--json").worked().json
    assert after["experts_run"] == 0
    names = [c["name"] for c in after["candidates"]]
    assert sorted(names) == sorted(c["name"] for c in before["candidates"])
    ids = {c["expert"] for c in after["candidates"]}
    assert not ids & {result["child"], grandchild.worked().json["child"]}
    clipart = next(c for c in after["candidates"] if c["name"] == "clipart")
    assert clipart["evidence"][0].startswith(f"measured {result['accuracy']:.3f} on 8 test items in run:")
    elsewhere = invoke(
        "query",
        materials.pictures(workspace / "third", 5, 6, splits=("test",)),
        *("--budget", 2, "--top", 30, "--json"),
    )
    shown = [name for c in elsewhere.worked().json["candidates"] for name in (c["expert"], *c["same_as"])]
    assert result["child"] in shown


@pytest.mark.slow
@pytest.mark.parametrize("expert", ["emoji-names", "random"])
def test_texts(workspace, tmp_path, expert):
    materials.bert(tmp_path / "random", 1)
    invoke("register", f"dir:{tmp_path / 'random'}").worked()
    table = materials.glosses(tmp_path / "table.csv", 12, 3)
    options = ("--expert", expert, "--text-column", "text", "--label-column", "label")
    result = start(table, "out", *options).worked().json
    assert 0 <= result["accuracy"] <= 1
    with Workspace() as opened:
        child = opened.store.expert(result["child"])
        texts = [text for text, _ in materials.gloss_rows(2, 3)]
        assert np.isfinite(extract(load(child), texts)).all()
    assert child.modality == "text"
    assert start(table, "out", *options).worked().json == result


@pytest.mark.slow
def test_a_native_head_is_read_by_transformers_alone(workspace, tmp_path):
    table = materials.glosses(tmp_path / "table.csv", 12, 3)
    columns = ("--text-column", "text", "--label-column", "label")
    start(table, "out", "--expert", "languages", *columns, "--head", "native").worked()
    texts = [text for text, _ in materials.gloss_rows(4, 3)]
    asked = [part for text in texts for part in ("--text", text)]
    answers = invoke("predict", "out", *asked, "--top", 3, "--json").worked().json["predictions"]
    folder, head = workspace / "out" / "model", json.loads((workspace / "out" / "head.json").read_text())
    alone = AutoModelForSequenceClassification.from_pretrained(folder)
    tokens = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        found = torch.softmax(alone(**tokens).logits / head["temperature"], dim=1)
    for row, answer in zip(found, answers, strict=True):
        told = {c["class"]: c["probability"] for c in answer["classes"]}
        assert told == pytest.approx(
            {alone.config.id2label[i]: float(p) for i, p in enumerate(row)}, abs=1e-3
        )
    assert "reads `model/` alone" in (workspace / "out" / "README.md").read_text()
    refused = start(
        table, "lora", "--expert", "languages", *columns, "--head", "native", "--strategy", "lora"
    )
    refused.failed("strategy lora keeps the expert's features")


def test_a_factory_expert_needs_the_flag_at_every_step(blank, letters, module, weights):  # noqa: F811
    declared = ("--input-size", 16, "--channels", 1, "--weights", weights, "--name", "mine")
    invoke("register", f"factory:{module}:network", *declared, "--trust-code").worked()
    answer = invoke("query", letters, "--budget", 1, "--trust-code", "--json").worked().json
    assert "--trust-code" in answer["command"]
    assert answer["candidates"][0]["trusted_code"]
    start(letters, "out", "--expert", "mine").failed("is code that would be run", "--trust-code")
    assert materials.counts(blank)["runs"] == 0
    result = start(letters, "out", "--expert", "mine", "--trust-code").worked().json
    with Workspace() as opened:
        child = opened.store.expert(result["child"])
        assert child.trusted_code
        assert child.base_model == result["expert"]
    assert edges(blank)["lineage"] == [(result["expert"], result["child"], result["run"])]
    start(letters, "again", "--expert", child.short).failed("--trust-code")
    start(letters, "again", "--expert", child.short, "--trust-code").worked()


@pytest.mark.slow
def test_python_does_what_the_command_does(workspace, letters):
    told = start(letters, "one", "--expert", "emoji").worked().json
    with Workspace() as opened:
        config = TrainConfig(epochs=2, batch_size=8, augment=False)
        result = opened.warm_start(letters, workspace / "two", expert="emoji", config=config)
    assert (result.accuracy, result.child, result.transfer_gain) == (told["accuracy"], told["child"], None)


@pytest.mark.slow
def test_a_child_of_the_same_items_is_no_candidate_and_its_result_no_test(workspace, tmp_path):
    """The same texts under other labels, and with another seed's split: equal contents tell."""
    data, renamed = materials.glosses(tmp_path / "data.csv", 15, 3), tmp_path / "renamed.csv"
    lines = data.read_text().splitlines()
    renamed.write_text("\n".join([lines[0], *(f"{line}s" for line in lines[1:])]) + "\n")
    child = start(data, "child", "--expert", "languages", "--strategy", "full").worked().json["child"]
    for given in ((renamed,), (data, "--seed", 7)):
        ids = [c["expert"] for c in invoke("query", *given, "--json").worked().json["candidates"]]
        assert child not in ids
        assert "zoo:languages@bert" in ids
    before = edges(workspace)["transfer"]
    clean = start(renamed, "clean", "--expert", "languages").worked().json
    assert clean["note"] == ""
    result = start(renamed, "again", "--expert", child, "--seed", 7).worked().json
    n = int(re.search(r"trained on (\d+) of the 9 test items", result["note"])[1])
    assert 5 <= n <= 9
    assert f"trained on {n} of the 9 test items" in (workspace / "again" / "README.md").read_text()
    assert len(edges(workspace)["transfer"]) == len(before) + 1
    told = invoke("evaluate", "again", renamed, "--json").worked().json["notes"][0]
    assert f"the test split of the run without {n} that it, or what it was made from, was trained on" in told
    same = start(data, "on", "--expert", child).worked().json
    assert same["note"] == ""


@pytest.mark.slow
def test_children_have_short_names_and_a_number_where_one_is_taken(workspace, letters):
    def child(out, *options):
        return start(letters, out, *options).worked().json["child"]

    first = child("a", "--expert", "hebrew-letters")
    second = child("b", "--expert", "hebrew-letters", "--lr", 3e-3)
    of_child = child("c", "--expert", first, "--seed", 1)
    assert child("a", "--expert", "hebrew-letters") == first
    with Workspace(workspace) as opened:
        names = [opened.store.expert(id).name for id in (first, second, of_child)]
    assert names == ["letters-from-hebrew-letters", "letters-from-hebrew-letters-2", "letters-from-letters"]
