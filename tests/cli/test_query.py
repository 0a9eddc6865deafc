"""Queries through the command line: every kind of input, the contract, and what the answer rests on."""

import csv
import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from expertise_graph.core.types import Query
from expertise_graph.retrieval.evidence import draw_sample
from expertise_graph.workspace import Workspace
from tests import materials
from tests.conftest import IMAGE_EXPERTS
from tests.data.files import IMAGE_FEATURES, image_table, save_to_disk
from tests.program import invoke

FAST = ("--budget", 2, "--json")


def image_folder(path):
    return materials.pictures(path, 3, 6), ()


def csv_file(path):
    table = materials.glosses(path.with_suffix(".csv"), 8, 3)
    return table, ("--text-column", "text", "--label-column", "label")


def jsonl_file(path):
    rows = [json.dumps({"text": t, "label": y}) for t, y in materials.gloss_rows(8, 3)]
    path.with_suffix(".jsonl").write_text("\n".join(rows), encoding="utf-8")
    return path.with_suffix(".jsonl"), ()


def parquet_file(path):
    texts, labels = zip(*materials.gloss_rows(8, 3), strict=True)
    pq.write_table(pa.table({"sentence": texts, "field": labels}), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet"), ("--text-column", "sentence", "--label-column", "field")


def npz_file(path):
    folder = materials.pictures(path, 3, 6)
    files = sorted(folder.rglob("*.png"))
    images = np.stack([np.asarray(Image.open(f).convert("L")) for f in files])
    labels = np.repeat(np.arange(3), 6)
    np.savez(path.with_suffix(".npz"), images=images, labels=labels)
    return path.with_suffix(".npz"), ()


def datasets_folder(path):
    return save_to_disk(path, image_table([0, 1] * 8), IMAGE_FEATURES, shards=2), ()


KINDS = {
    image_folder: ("image", 18, 3),
    csv_file: ("text", 24, 3),
    jsonl_file: ("text", 24, 3),
    parquet_file: ("text", 24, 3),
    npz_file: ("image", 18, 3),
    datasets_folder: ("image", 16, 2),
}


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_every_kind_of_input_is_answered_and_becomes_a_task(workspace, tmp_path, make):
    modality, n, classes = KINDS[make]
    data, options = make(tmp_path / "data")
    answer = invoke("query", data, *options, *FAST).worked().json
    assert answer["experts_run"] == 2
    with Workspace() as opened:
        modalities = {opened.store.expert(c["expert"]).modality for c in answer["candidates"]}
        (task,) = opened.store.tasks()
    assert modalities == {modality}
    assert (task.id, task.n, len(task.classes), task.modality) == (answer["task"], n, classes, modality)
    for option, value in zip(options[::2], options[1::2], strict=True):
        assert f"{option} {value}" in answer["command"]


def test_json_holds_the_documented_keys_with_their_types(workspace, letters):
    answer = invoke("query", letters, *FAST).worked().json
    assert set(answer) == {
        "task", "task_name", "experts_run", "unit", "baseline", "candidates", "together", "excluded",
        "failed", "interrupted", "notes", "seconds", "command", "data", "best_here", "sources",
        "proposal",
    }  # fmt: skip
    assert answer["failed"] == []
    assert (answer["unit"], answer["interrupted"], answer["excluded"]) == ("accuracy", False, [])
    assert len(answer["together"]) == len(set(answer["together"])) == 3
    assert set(answer["together"]) < {c["expert"] for c in answer["candidates"]}
    assert isinstance(answer["task"], str)
    assert isinstance(answer["experts_run"], int)
    assert isinstance(answer["command"], str)
    assert set(answer["baseline"]) == {"name", "predicted"}
    kinds = {
        "expert": str, "predicted": float, "low": float, "high": float, "p_best": float, "ran": bool,
        "runnable": bool, "where": str, "tied": bool,
        "license": str, "params": int, "bytes": int, "evidence": list,
    }  # fmt: skip
    assert len(answer["candidates"]) == len(IMAGE_EXPERTS)
    for candidate in answer["candidates"]:
        assert {key: type(candidate[key]) for key in kinds} == kinds
        assert 0 < candidate["low"] <= candidate["predicted"] <= candidate["high"] < 1
        assert candidate["evidence"]
        assert all(isinstance(e, str) for e in candidate["evidence"])
    predicted = [c["predicted"] for c in answer["candidates"]]
    assert predicted == sorted(predicted, reverse=True)
    assert sum(c["p_best"] for c in answer["candidates"]) == pytest.approx(1.0, abs=1e-3)
    assert sum(c["ran"] for c in answer["candidates"]) == answer["experts_run"] == 2
    best = answer["candidates"][0]
    assert answer["command"].startswith(f"expertise-graph warm-start {letters} --expert {best['name']}@")


def test_asking_again_runs_nothing_and_gives_the_same_answer(workspace, letters):
    first, again = (invoke("query", letters, *FAST).worked().json for _ in range(2))
    assert (first["experts_run"], again["experts_run"]) == (2, 0)
    assert first["candidates"] == again["candidates"]
    more = invoke("query", letters, "--budget", 4, "--json").worked().json
    assert more["experts_run"] == 2
    assert all(c["ran"] for c in more["candidates"])


@pytest.mark.slow
def test_other_file_names_change_neither_sample_nor_answer(workspace, registered, tmp_path, letters):
    other = shutil.copytree(letters, tmp_path / "renamed")
    for place, file in enumerate(sorted(other.rglob("*.*"), reverse=True)):
        file.rename(file.with_name(f"{place:03}{file.suffix}"))
    elsewhere = shutil.copytree(registered, tmp_path / "elsewhere")
    answers = []
    for home, first in ((workspace, letters), (elsewhere, other)):
        invoke("--workspace", home, "query", first, *FAST).worked()
        # Features that the first question left in the cache meet the labels of these files.
        told = invoke("--workspace", home, "query", other, "--budget", 4, "--json").worked().json
        assert told["experts_run"] == 2
        answers.append(told["candidates"])
    assert answers[0] == answers[1]


def test_history_answers_without_a_budget(asked, letters):
    answer = invoke("query", letters, "--budget", 0, "--json").worked().json
    assert answer["experts_run"] == 0
    assert sum(c["ran"] for c in answer["candidates"]) == 2


@pytest.mark.slow
def test_the_same_question_in_two_workspaces_has_one_answer(registered, tmp_path, letters):
    answers = []
    for name in ("one", "two"):
        shutil.copytree(registered, tmp_path / name)
        answer = invoke("--workspace", tmp_path / name, "query", letters, *FAST).worked().json
        answer.pop("seconds")
        answers.append(answer)
    assert answers[0] == answers[1]
    seed = invoke("--workspace", tmp_path / "one", "query", letters, *FAST, "--seed", 1).worked().json
    assert seed["experts_run"] == 2


@pytest.mark.parametrize("splits", [("train",), ("train", "test")])
def test_items_to_be_tested_on_are_not_looked_at(registered, tmp_path, splits):
    """Test pictures that are ruined once the data are read change nothing in the scores."""
    data = materials.pictures(tmp_path / "data", 3, 10, splits=splits)
    scores = []
    for ruin in (False, True):
        home = shutil.copytree(registered, tmp_path / f"home-{ruin}")
        with Workspace(home) as opened:
            labelled = opened.read(data)
            sample = draw_sample(labelled, Query())
            held = set(range(len(labelled))) - {labelled.items.index(i) for i in sample.inputs.items}
            for i in held if ruin else ():
                Image.new("RGB", (64, 64), (i, 0, 0)).save(labelled.items[i])
            opened.query(labelled, Query(budget=2))
            found = opened.store.scores(labelled.task.id)
            scores.append(sorted((s.expert, s.estimator, s.value) for s in found))
    assert len(held) == (6 if len(splits) == 1 else 30)
    assert np.bincount(sample.labels).tolist() == ([8] * 3 if len(splits) == 1 else [10] * 3)
    assert scores[0] == scores[1]
    assert len(scores[0]) == 2 * len(Query().estimators)


def test_experts_of_letters_are_found_for_letters(workspace):
    data = materials.LETTERS
    answer = invoke("query", data, "--budget", 4, "--sample", 300, "--json").worked().json
    places = [c["name"] for c in answer["candidates"]]
    assert set(places[:2]) == {"latin-letters", "hebrew-letters"}
    by_name = {c["name"]: c for c in answer["candidates"]}
    worst = min(by_name[n]["predicted"] for n in places[:2])
    assert worst > max(by_name[n]["predicted"] for n in ("emoji", "clipart")) + 0.05
    assert by_name[places[0]]["low"] > max(by_name[n]["predicted"] for n in ("emoji", "clipart"))
    assert by_name[places[0]]["predicted"] > answer["baseline"]["predicted"]


def test_a_table_shows_places_ties_baseline_and_the_command(asked, letters):
    done = invoke("query", letters, "--budget", 2).worked()
    answer = invoke("query", letters, *FAST).worked().json
    for candidate in answer["candidates"]:
        assert f"{candidate['name']}@" in done.out
    assert answer["baseline"]["name"].partition(",")[0] in done.out  # the rest may be on the next line
    for note in answer["notes"]:
        assert note in done.out
    tied = [c["name"] for c in answer["candidates"] if c["tied"]]
    assert (f"statistically tied with rank 1: {', '.join(tied)}" in done.out) == bool(tied)
    assert answer["command"] in done.out.splitlines()[-1]


def test_quiet_and_csv_are_for_programs(asked, letters):
    answer = invoke("query", letters, *FAST).worked().json
    ids = invoke("query", letters, "-q").worked().lines
    assert sorted(ids) == sorted(c["expert"] for c in answer["candidates"])
    rows = list(csv.DictReader(io.StringIO(invoke("query", letters, "--csv").worked().out)))
    assert [r["id"] for r in rows] == ids
    assert not [v for r in rows for v in r.values() if v.startswith(("=", "+", "@"))]


def test_top_shortens_the_list_and_not_the_search(asked, letters):
    whole = invoke("query", letters, *FAST).worked().json
    short = invoke("query", letters, *FAST, "--top", 1).worked().json
    assert short["candidates"] == whole["candidates"][:1]


def test_filters_leave_out_what_does_not_meet_them(asked, letters):
    def names(*options):
        answer = invoke("query", letters, *FAST, *options).worked().json
        return {c["name"] for c in answer["candidates"]}

    assert names("--max-params", "480k") == {"clipart"}
    assert names("--max-mb", 0.98) == {"clipart"}
    assert names("--license", "Apache-2.0") == set(IMAGE_EXPERTS)
    assert names("--exclude-license", "unknown") == set(IMAGE_EXPERTS)
    assert names("--modality", "image") == set(IMAGE_EXPERTS)
    before = materials.counts(asked)
    for options in (("--license", "gpl-3.0"), ("--tag", "none"), ("--max-params", 10), ("--max-mb", 0.001)):
        invoke("query", letters, "--budget", 1, *options).failed("none of 4 experts meets the constraints")
    assert materials.counts(asked) == before
    invoke("query", letters, "--modality", "text").failed("--modality text", "holds images")


@pytest.mark.slow
def test_the_same_weights_appear_once(workspace, tmp_path, letters):
    materials.starter("emoji", tmp_path)
    (tmp_path / "emoji").rename(tmp_path / "mine")
    invoke("register", f"dir:{tmp_path / 'mine'}").worked()
    answer = invoke("query", letters, *FAST).worked().json
    by_name = {c["name"]: c for c in answer["candidates"]}
    assert set(by_name) == set(IMAGE_EXPERTS)
    assert [i.split(":")[0] for i in by_name["emoji"]["same_as"]] == ["dir"]


def test_an_expert_that_is_gone_is_passed_over_and_named(blank, tmp_path, letters):
    for i in range(3):
        materials.resnet(tmp_path / f"m{i}", i)
        invoke("register", f"dir:{tmp_path / f'm{i}'}").worked()
    shutil.rmtree(tmp_path / "m1")
    answer = invoke("query", letters, "--budget", 3, "--json").worked().json
    ran = {c["name"]: c["ran"] for c in answer["candidates"]}
    assert ran == {"m0": True, "m2": True}
    assert any(note.startswith("m1 was not run: no folder at") for note in answer["notes"])
