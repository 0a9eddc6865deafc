"""The printed answer: its unit, sets to try, what constraints cost, experts without weights, Ctrl-C."""

import csv
import io
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from expertise_graph.workspace import Workspace
from tests import materials
from tests.conftest import IMAGE_EXPERTS
from tests.program import Done, environment, invoke

FAST = ("--budget", 2, "--json")


def tell(rows):
    """Import results: {task: {expert: accuracy}}."""
    lines = [f"{e},{t},accuracy,{v}" for t, given in rows.items() for e, v in given.items()]
    table = "\n".join(["expert,task,metric,value", *lines])
    return invoke("history", "import", "-", "--modality", "image", stdin=table).worked()


def graded(best, *, tasks, names=IMAGE_EXPERTS):
    """Return results on some tasks that all say that `best` is best."""
    return {
        f"t{k}": {n: 0.9 - 0.01 * k if n == best else 0.5 + 0.02 * i for i, n in enumerate(names)}
        for k in range(tasks)
    }


def test_without_a_level_the_answer_is_in_percentiles_and_says_so(workspace, letters):
    tell(graded("emoji", tasks=1))
    done = invoke("query", letters, "--budget", 0).worked()
    answer = invoke("query", letters, "--budget", 0, "--json").worked().json
    assert (answer["unit"], answer["experts_run"]) == ("percentile", 0)
    assert all(0 <= c["low"] <= c["predicted"] <= c["high"] <= 1 for c in answer["candidates"])
    # Places of four experts are 0, 1/3, 2/3 and 1; whoever is where, they average to a half.
    assert sum(c["predicted"] for c in answer["candidates"]) / 4 == pytest.approx(0.5)
    assert answer["candidates"][0]["name"] == "emoji"
    header = next(line for line in done.lines if " rank " in line)
    assert "percentile" in header
    assert "predicted" not in header
    assert "predictions are percentiles among the candidates" in done.out
    baseline = answer["baseline"]
    assert f"{baseline['name']}: accuracy {baseline['predicted']:.3f}" in done.lines
    rows = list(csv.DictReader(io.StringIO(invoke("query", letters, "--budget", 0, "--csv").worked().out)))
    assert {r["unit"] for r in rows} == {"percentile"}
    assert [float(r["predicted"]) for r in rows] == [c["predicted"] for c in answer["candidates"]]


def test_the_level_of_other_tasks_gives_accuracies(workspace, letters):
    tell(graded("emoji", tasks=3))
    done = invoke("query", letters, "--budget", 0).worked()
    assert " predicted " in done.out
    assert "percentile" not in done.out
    answer = invoke("query", letters, "--budget", 0, "--json").worked().json
    assert answer["unit"] == "accuracy"
    assert 0.75 < answer["candidates"][0]["predicted"] < 0.95
    assert "history" in answer["candidates"][0]["evidence"][0]
    assert any("no expert was run on this one" in note for note in answer["notes"])


def test_a_few_worth_trying_together_are_named(asked, letters):
    answer = invoke("query", letters, *FAST).worked().json
    names = {c["expert"]: c["name"] for c in answer["candidates"]}
    together = [names[i] for i in answer["together"]]
    assert together[0] == answer["candidates"][0]["name"]
    line = f"complementary, worth fine-tuning side by side: {', '.join(together)}"
    assert line in invoke("query", letters, "--budget", 2, "--top", 2).worked().lines
    single = invoke("query", letters, "--budget", 2, "--top", 1).worked().out
    assert "worth fine-tuning side by side" not in single
    assert invoke("query", letters, *FAST, "--top", 1).worked().json["together"] == answer["together"]


def test_where_two_experts_have_a_name_every_line_gives_the_hash(workspace, tmp_path, letters):
    for seed, name in enumerate(IMAGE_EXPERTS, 7):
        invoke("register", f"dir:{materials.resnet(tmp_path / name, seed)}").worked()
    lines = invoke("query", letters, "--budget", 8, "--max-params", "480k").worked().lines
    lines = [line for line in lines if re.match(r"excluded by|complementary|= statistically tied", line)]
    assert any(line.startswith("excluded by") for line in lines)
    named = [word for line in lines for word in re.findall(rf"(?:{'|'.join(IMAGE_EXPERTS)})[^ ,]*", line)]
    assert named
    assert all(re.fullmatch(r"[a-z-]+@[0-9a-f]{8}", word) for word in named)


def test_the_best_that_each_constraint_keeps_out_is_named(asked_of_all, letters):
    options = ("--max-params", "480k", "--max-dim", "112")
    answer = invoke("query", letters, "--budget", 4, "--json", "--max-params", "480k").worked().json
    (excluded,) = answer["excluded"]
    assert set(excluded) == {"constraint", "expert", "name", "predicted", "low", "high"}
    assert (excluded["constraint"], excluded["name"]) == ("--max-params 480k", "latin-letters")
    assert excluded["low"] < excluded["predicted"] < excluded["high"]
    assert [c["name"] for c in answer["candidates"]] == ["clipart"]
    assert excluded["predicted"] > answer["candidates"][0]["predicted"]
    assert answer["candidates"][0]["p_best"] == 1.0
    done = invoke("query", letters, "--budget", 4, "--max-params", "480k").worked()
    line = f"excluded by --max-params 480k: latin-letters (predicted {excluded['predicted']:.2f})"
    assert line in done.lines
    # An expert that fails two constraints is kept out by neither alone.
    assert "excluded by" not in invoke("query", letters, "--budget", 4, *options).worked().out


def test_of_equal_experts_one_that_meets_the_constraints_answers(workspace, tmp_path, letters):
    materials.starter("emoji", tmp_path)
    (tmp_path / "emoji").rename(tmp_path / "mine")
    invoke("register", f"dir:{tmp_path / 'mine'}", "--tag", "mine").worked()
    answer = invoke("query", letters, *FAST, "--tag", "mine").worked().json
    assert [c["name"] for c in answer["candidates"]] == ["mine"]
    assert [i.split(":")[0] for i in answer["candidates"][0]["same_as"]] == ["zoo"]
    assert [e["constraint"] for e in answer["excluded"]] == ["--tag mine"]


@pytest.mark.slow
def test_an_expert_known_by_name_only_can_be_best_and_is_to_be_registered(workspace, letters):
    tell(graded("org/net", tasks=6, names=("org/net", *IMAGE_EXPERTS)))
    done = invoke("query", letters, "--budget", 0).worked()
    answer = invoke("query", letters, "--budget", 0, "--json").worked().json
    best = answer["candidates"][0]
    assert (best["name"], best["runnable"], best["ran"]) == ("org/net", False, False)
    assert "known from imported metadata only" in best["evidence"]
    assert [c["runnable"] for c in answer["candidates"][1:]] == [True] * 4
    assert best["expert"] not in answer["together"]
    assert answer["command"] == "expertise-graph register hf:org/net"
    marked = [line for line in done.lines if "name only" in line]
    assert len(marked) == 1
    assert "org/net" in marked[0]
    assert [c["where"] for c in answer["candidates"]] == ["name only", *["here"] * 4]
    second = answer["candidates"][1]["name"]
    assert f"Rank 1 has no weights here (best registered: {second}@" in done.lines[-2]
    assert done.lines[-1] == "  expertise-graph register hf:org/net"
    # Running the others does not run this one, and a warm start begins from one that is here.
    ran = invoke("query", letters, "--budget", 8, "--json").worked().json
    assert {c["name"] for c in ran["candidates"] if c["ran"]} <= set(IMAGE_EXPERTS)
    assert not any("org/net was not run" in note for note in ran["notes"])
    child = invoke("warm-start", letters, "--out", "out", "--epochs", 1, "--json").worked().json
    assert child["expert"].startswith("zoo:")


def test_names_only_are_all_there_is(blank, letters):
    tell({"t0": {"a": 0.9, "timm:b": 0.8}, "t1": {"a": 0.1, "timm:b": 0.95}, "t2": {"a": 0.2, "timm:b": 0.9}})
    done = invoke("query", letters, "--budget", 3).worked()
    assert "name only" in done.out
    assert done.lines[-1] == "  expertise-graph register timm:b"
    assert "0 experts run" in done.lines[-2]
    invoke("warm-start", letters, "--out", "out").failed("metadata only", "register")


def test_a_budget_in_seconds_runs_what_fits_and_none_answers_from_what_is_known(workspace, letters):
    timed = invoke("query", letters, "--budget", "2s", "--json").worked().json
    assert 1 <= timed["experts_run"] <= 4
    assert sum(c["ran"] for c in timed["candidates"]) == timed["experts_run"]
    rest = invoke("query", letters, "--budget", "0s", "--json").worked().json
    assert rest["experts_run"] == 0
    assert rest["candidates"] == timed["candidates"]


def test_asking_twice_prints_the_same_bytes_but_for_the_seconds(asked, letters):
    tell(graded("emoji", tasks=3))
    invoke("query", letters, *FAST).worked()
    first, again = (invoke("query", letters, *FAST).worked().out for _ in range(2))
    assert re.sub(r'"seconds": [\d.e-]+', "", first) == re.sub(r'"seconds": [\d.e-]+', "", again)


def interrupted(workspace, home, *arguments):
    """Ask about many letters, and press Ctrl-C once an expert was run."""
    command = [sys.executable, "-m", "expertise_graph", "query", str(materials.LETTERS), *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=workspace, env=environment(home), **options) as child:
        deadline = time.monotonic() + 100
        with Workspace(workspace) as opened:
            while not opened.store.scores() and time.monotonic() < deadline:
                time.sleep(0.05)
                assert child.poll() is None, child.stderr.read()
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    return Done(child.returncode, out, err)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGINT")
def test_ctrl_c_prints_what_is_known_so_far_and_ends_with_130(workspace, tmp_path):
    done = interrupted(workspace, tmp_path, "--budget", "4", "--json")
    assert (done.code, len(done.err.splitlines())) == (130, 1)
    answer = done.json
    assert answer["interrupted"] is True
    assert 1 <= answer["experts_run"] < 4
    assert sum(c["ran"] for c in answer["candidates"]) == answer["experts_run"]
    assert len(answer["candidates"]) == len(IMAGE_EXPERTS)
    assert any(note.startswith("interrupted") for note in answer["notes"])
    rest = invoke("query", materials.LETTERS, "--budget", 4, "--json").worked().json
    assert rest["experts_run"] == 4 - answer["experts_run"]
    assert rest["interrupted"] is False


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGINT")
def test_ctrl_c_in_the_query_of_a_warm_start_trains_nothing(workspace, tmp_path):
    command = [sys.executable, "-m", "expertise_graph", "warm-start", str(materials.LETTERS), "--out", "out"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=workspace, env=environment(tmp_path), **options) as child:
        with Workspace(workspace) as opened:
            while not opened.store.scores():
                time.sleep(0.05)
                assert child.poll() is None, child.stderr.read()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    # A partial answer is no reason to train from it.
    assert (child.returncode, out) == (130, "")
    assert err.splitlines()[1:] == ["interrupted; finished work is kept: re-run the same command to resume"]
    assert not (workspace / "out").exists()


@pytest.mark.parametrize(
    "row",
    [
        "emoji,elsewhere,r2,0.02,400",
        "emoji,elsewhere,average_precision,0.1,400",
        "emoji,elsewhere,accuracy,0.0,5",
        "emoji,elsewhere,accuracy,1.0,5",
        "emoji-names,elsewhere,accuracy,0.1,400",
    ],
)
def test_a_result_of_another_kind_or_on_five_items_changes_no_prediction(asked_of_all, letters, row):
    def predicted():
        answer = invoke("query", letters, "--budget", 4, "--json").worked().json
        return {c["name"]: [c["predicted"], c["low"], c["high"]] for c in answer["candidates"]}, answer[
            "notes"
        ]

    before = predicted()
    invoke("history", "import", "-", stdin=f"expert,task,metric,value,n\n{row}\n").worked()
    scores = f"expert,task,estimator,value\n{row.split(',')[0]},elsewhere,ridge_accuracy,0.8\n"
    invoke("scores", "import", "-", stdin=scores).worked()
    after = predicted()
    assert after[1] == before[1]
    assert after[0].keys() == before[0].keys()
    for name, found in after[0].items():
        assert found == pytest.approx(before[0][name], abs=0.005)


def test_results_of_the_same_kind_do_change_it(asked_of_all, letters):
    rows = "".join(f"emoji,t{i},accuracy,0.97,400\n" for i in range(6))
    before = invoke("query", letters, "--budget", 4, "--json").worked().json["candidates"][0]["predicted"]
    invoke("history", "import", "-", stdin=f"expert,task,metric,value,n\n{rows}").worked()
    scores = "".join(f"emoji,t{i},ridge_accuracy,0.6\n" for i in range(6))
    invoke("scores", "import", "-", stdin=f"expert,task,estimator,value\n{scores}").worked()
    answer = invoke("query", letters, "--budget", 4, "--json").worked().json
    assert 1 - answer["candidates"][0]["predicted"] < 0.5 * (1 - before)
    assert any("calibrated on 6 measured runs" in note for note in answer["notes"])
