"""`auto` on real starter experts: within its time, a model that loads, trials on record, resumed."""

import csv
import json
import shutil
import time

import numpy as np
import pytest

from expertise_graph.core.errors import InvalidInputError, NotFoundError, SourceError
from expertise_graph.core.types import Query
from expertise_graph.data.dataset import Columns
from expertise_graph.data.sampling import holdout
from expertise_graph.features.running import machine
from expertise_graph.inference.evaluation import evaluate
from expertise_graph.inference.model import Ensemble, Network
from expertise_graph.inference.opening import open_model, open_network
from expertise_graph.inference.tracing import trace
from expertise_graph.retrieval.results import measured
from expertise_graph.tuning.settings import AutoSettings
from expertise_graph.workspace import Workspace
from tests import materials
from tests.program import invoke


def budget():
    """Seconds for a search of some trials."""
    return round(12.0 * materials.pace(), 1)


SMALL = Query(max_params=480_000)
"""Keeps out all shipped image experts of the tests but clipart."""


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """Pictures of four letters; one of each lies with the next letter, so that no network can be certain."""
    root = materials.pictures(tmp_path_factory.mktemp("auto") / "letters", 4, 8)
    folders = sorted(root.iterdir())
    strays = [sorted(folder.iterdir())[0] for folder in folders]
    for stray, other in zip(strays, [*folders[1:], folders[0]], strict=True):
        stray.rename(other / f"stray-{stray.name}")
    return root


@pytest.fixture(scope="module")
def searched(registered, letters, tmp_path_factory):
    """A workspace after one search, its answer, the folder, and the seconds it took."""
    folder = tmp_path_factory.mktemp("searched") / "workspace"
    shutil.copytree(registered, folder)
    with Workspace(folder) as opened:
        started = time.perf_counter()
        result = opened.auto(letters, folder / "out", settings=AutoSettings(time_budget=budget()))
        return folder, result, time.perf_counter() - started


@pytest.fixture
def after(searched, tmp_path):
    """A copy of that workspace; the folder of its model stays where it was."""
    return shutil.copytree(searched[0], tmp_path / "copy")


def trials_on_record(folder):
    with Workspace(folder) as opened:
        return [e for e in opened.store.edges("transfer") if e.method == "auto"]


def test_it_ends_within_its_time(searched):
    _, result, seconds = searched
    assert seconds < 1.25 * budget()
    assert result.seconds <= seconds
    assert sum(result.spent.values()) <= result.seconds
    assert not result.interrupted


def test_the_first_trial_is_the_defaults_on_the_best_of_the_query(searched, letters):
    _, result, _ = searched
    raw, first = result.trials[:2]
    assert (raw.origin, raw.name, raw.expert) == ("raw input", "raw input", "raw:image")
    assert (first.origin, dict(first.settings), first.recorded) == ("defaults", {}, False)
    assert {t.status for t in result.trials} <= {"done", "pruned", "cut"}
    assert set(result.chosen) <= {t.run for t in result.trials}
    assert result.chosen == tuple(dict.fromkeys(m.run for m in result.members))
    assert len(result.members) > 1


def test_the_model_loads_and_gives_the_accuracy_that_was_reported(searched, letters):
    folder, result, _ = searched
    with Workspace(folder) as opened:
        data = opened.read(letters)
    rows = holdout(data, seed=0).test
    model = open_model(folder / "out")
    guessed = model.logits([data.items[i] for i in rows]).argmax(axis=1)
    assert np.mean(guessed == data.labels[rows]) == pytest.approx(result.accuracy)
    assert model.accuracy == result.accuracy > 0.5


def test_several_networks_answer_together_and_each_alone(searched, letters):
    folder, result, _ = searched
    with Workspace(folder) as opened:
        data = opened.read(letters)
    out, rows = folder / "out", holdout(data, seed=0).test
    assert isinstance(open_model(out), Ensemble)
    items = [data.items[i] for i in rows]
    alone = [open_network(out / m.path) for m in result.members]
    for member, network in zip(result.members, alone, strict=True):
        right = network.logits(items).argmax(axis=1) == data.labels[rows]
        assert network.accuracy == member.accuracy == pytest.approx(right.mean())
    assert result.members[0].accuracy == result.model.accuracy
    shares = [np.log(network.probabilities(network.logits(items))) for network in alone]
    weights = [m.weight for m in result.members]
    assert sum(weights) == pytest.approx(1)
    together = np.exp(np.average(shares, axis=0, weights=weights))
    model = open_model(out)
    np.testing.assert_allclose(
        model.probabilities(model.logits(items)), together / together.sum(axis=1, keepdims=True), atol=1e-5
    )


def test_trials_are_edges_that_no_answer_takes_for_results(searched, letters):
    folder, result, _ = searched
    edges = trials_on_record(folder)
    of_experts = [t for t in result.trials if t.name != "raw input"]
    assert {e.run: e.weight for e in edges} == {t.run: t.accuracy for t in of_experts}
    assert all(e.metric == "accuracy" and e.meta["split"] == "validation" for e in edges)
    with Workspace(folder) as opened:
        found = measured(opened.store, opened.read(letters).task)
        assert {e: m.accuracy for e, m in found.items()} == {result.model.expert: result.model.accuracy}
        (run,) = opened.runs()
        assert (run.status, run.id) == ("done", result.model.run)
        parents = {e.source for e in opened.store.edges("lineage") if e.target == result.model.child}
    assert parents == ({result.model.expert} if run.child else set())


def test_the_report_says_what_won_and_where_the_time_went(searched):
    folder, result, _ = searched
    report = (folder / "out" / "report.md").read_text()
    assert f"{len(result.members)} networks together: test accuracy {result.accuracy:.3f}" in report
    assert report.count("\n| ") == 2 + len(result.trials) + len(result.members)
    assert "\n\n\n" not in report
    assert f"of {budget():g} s" in report
    assert not list(folder.glob(".auto-*"))


def test_the_same_command_reads_back_the_answer(searched, letters):
    folder, result, _ = searched
    with Workspace(folder) as opened:
        again = opened.auto(letters, folder / "out", settings=AutoSettings(time_budget=budget()))
        other = AutoSettings(time_budget=budget(), seed=1)
        with pytest.raises(
            InvalidInputError, match=r"another command or other data: choose another `out`, or set `force`"
        ):
            opened.auto(letters, folder / "out", settings=other)
    assert json.dumps(again.as_dict()) == json.dumps(result.as_dict())


def test_the_table_of_trials_says_why_each_was_tried(searched, letters):
    folder, result, _ = searched
    seconds = f"{budget():g}s"
    shown = invoke("--workspace", folder, "auto", letters, "--out", folder / "out", "--time-budget", seconds)
    lines = [line.split() for line in shown.worked().lines]
    for number, trial in enumerate(result.trials, 1):
        assert any(line[:1] == [str(number)] and set(trial.origin.split()) <= set(line) for line in lines)


def test_card_and_check_are_of_the_networks_that_answer(searched, letters, tmp_path):
    folder, result, _ = searched
    card = (folder / "out" / "README.md").read_text()
    n, score = len(result.members), result.accuracy
    assert card.count(f"{n} networks answer together here, see `ensemble.json`: {score:.4f} on the test") == 1
    shown = invoke("--workspace", folder, "check", folder / "out").worked().out
    assert f"{n} networks answer together: accuracy {100 * score:.1f} % on the test items" in shown
    broken = shutil.copytree(folder / "out", tmp_path / "broken")
    shutil.rmtree(broken / "members")
    invoke("--workspace", folder, "check", broken).failed("members")


@pytest.mark.slow
def test_another_search_takes_recorded_trials_from_the_record(after, searched, letters, tmp_path):
    before = {e.run: e for e in trials_on_record(after)}
    with Workspace(after) as opened:
        opened.remove(searched[1].model.child)
        result = opened.auto(letters, tmp_path / "again", settings=AutoSettings(time_budget=budget()))
    recorded = {t.run for t in result.trials if t.recorded}
    finished = {run for run, e in before.items() if e.meta["status"] != "cut"}
    assert recorded
    assert recorded <= finished
    now = {e.run: e for e in trials_on_record(after)}
    assert len(now) == len(trials_on_record(after))
    assert all(now[run].created_at == before[run].created_at for run in recorded)
    assert open_model(tmp_path / "again").accuracy == result.accuracy


@pytest.mark.slow
def test_constraints_hold_for_every_trial(workspace, letters):
    with Workspace(workspace) as opened:
        settings = AutoSettings(time_budget=5.0, query=SMALL)
        result = opened.auto(letters, workspace / "out", settings=settings)
    assert {t.name for t in result.trials} <= {"clipart", "raw input"}
    assert result.model.expert.startswith(("zoo:clipart@", "raw:"))
    assert result.members == ()


@pytest.mark.slow
def test_one_network_where_that_is_asked_for(workspace, letters):
    with Workspace(workspace) as opened:
        settings = AutoSettings(time_budget=budget(), members=1)
        result = opened.auto(letters, workspace / "out", settings=settings)
    assert len(result.trials) > 1
    assert (result.members, len(result.chosen)) == ((), 1)
    assert isinstance(open_model(workspace / "out"), Network)
    assert not (workspace / "out" / "members").exists()
    assert result.accuracy == result.model.accuracy


def test_a_budget_too_short_for_any_expert_gives_a_model_of_the_raw_input(workspace, letters, tmp_path):
    with Workspace(workspace) as opened:
        before = opened.store.experts()
        result = opened.auto(letters, workspace / "out", settings=AutoSettings(time_budget=0.2))
        data = opened.read(letters)
        assert (opened.runs(), opened.store.experts()) == ([], before)
        with pytest.raises(SourceError, match="without a network: predict and evaluate use it, and nothing"):
            opened.register(f"dir:{workspace / 'out' / 'model'}")
    assert [t.name for t in result.trials] == ["raw input"]
    assert (result.model.strategy, result.model.run) == ("linear-probe", "")
    assert result.model.child == result.model.expert == "raw:image"
    (note,) = result.notes
    assert note.startswith("a whole fine-tune of ")
    model = open_model(workspace / "out")
    assert model.accuracy == result.accuracy > 0.3
    assert evaluate(model, data, split="test").metrics["accuracy"] == pytest.approx(result.accuracy)
    with pytest.raises(InvalidInputError, match="which no graph holds: use predict"):
        trace(model)
    line = ("auto", letters, "--out", workspace / "out", "--time-budget", "0.2s")
    shown = invoke("--workspace", workspace, *line).worked().out
    assert "out, which has no network and so is no expert" in shown
    described = workspace / "out" / "model" / "raw_input.json"
    described.write_text(described.read_text().replace('"version": 1', '"version": 0'))
    with pytest.raises(InvalidInputError, match="describes image by version 0, and this package"):
        open_model(workspace / "out")


def test_texts_need_no_network_either_and_predict_answers(workspace, tmp_path):
    table = tmp_path / "table.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *materials.gloss_rows(14)])
    with Workspace(workspace) as opened:
        result = opened.auto(table, workspace / "out", settings=AutoSettings(time_budget=0.2))
    assert [t.expert for t in result.trials] == ["raw:text"]
    text, label = materials.gloss_rows(1)[0]
    answer = invoke("predict", workspace / "out", text, "--json").worked().json["predictions"]
    assert answer[0]["classes"][0]["class"] == label
    assert "without a network" in (workspace / "out" / "README.md").read_text()


@pytest.mark.slow
def test_an_expert_too_slow_to_fine_tune_is_tried_by_its_probe_and_others_beside_it(workspace, letters):
    with Workspace(workspace) as opened:
        best = opened.query(letters).start
        opened.store.add_timing(best, machine(), items=10_000, seconds=500.0)
        result = opened.auto(letters, workspace / "out", settings=AutoSettings(time_budget=budget()))
    first, *others = result.trials
    assert (first.expert, first.origin) == (best.id, "linear probe")
    assert (first.settings, first.epochs) == ({"strategy": "linear-probe"}, 0)
    second, *others = [t for t in others if t.origin != "raw input"]
    assert (second.origin, second.settings) == ("defaults", {})
    assert best.id not in {t.expert for t in (second, *others)}
    model = open_model(workspace / "out")
    assert model.accuracy == result.accuracy > 0.3


class Stop:
    """Raises an error at the first step of what has one of some words in its label."""

    def __init__(self, *words, error):
        self.words, self.error = words, error

    def __call__(self, label, done, total):
        if self.error and done and any(word in label for word in self.words):
            error, self.error = self.error, None
            raise error


@pytest.mark.slow
def test_ctrl_c_finishes_with_the_best_so_far(workspace, letters):
    with Workspace(workspace, progress=Stop("trial 3", error=KeyboardInterrupt())) as opened:
        result = opened.auto(
            letters, workspace / "out", settings=AutoSettings(time_budget=60.0 * materials.pace())
        )
    assert result.interrupted
    assert result.seconds < 40 * materials.pace()
    assert [t.status for t in result.trials] == ["done", "done", "cut"]
    assert open_model(workspace / "out").accuracy == result.accuracy


@pytest.mark.slow
def test_ctrl_c_in_the_last_trainings_finishes_with_what_is_there(workspace, letters):
    stop = Stop("on all items", error=KeyboardInterrupt())
    with Workspace(workspace, progress=stop) as opened:
        result = opened.auto(letters, workspace / "out", settings=AutoSettings(time_budget=budget()))
    assert stop.error is None
    assert result.interrupted
    assert result.members == ()
    assert result.reason.endswith("the model is that trial")
    assert open_model(workspace / "out").accuracy == result.accuracy > 0.5


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_with_what_is_on_record(workspace, letters):
    settings, stop = (
        AutoSettings(time_budget=10.0 * materials.pace()),
        Stop("trial 3", "on all items", error=SystemExit()),
    )
    with Workspace(workspace, progress=stop) as opened, pytest.raises(SystemExit):
        opened.auto(letters, workspace / "out", settings=settings)
    (first,) = trials_on_record(workspace)
    assert list(workspace.glob(".auto-*"))
    with Workspace(workspace) as opened:
        result = opened.auto(letters, workspace / "out", settings=settings)
    assert result.trials[1].run == first.run
    assert result.trials[1].recorded
    assert not list(workspace.glob(".auto-*"))
    assert open_model(workspace / "out").accuracy == result.accuracy


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"time_budget": 0.0}, r"time_budget is 0.0: give a number of seconds above 0"),
        ({"time_budget": float("inf")}, r"time_budget is inf"),
        ({"strategies": ()}, r"no strategy was given: give some of lp-ft"),
        ({"strategies": ("lp-tf",)}, r"no strategy called 'lp-tf'.*Did you mean 'lp-ft'"),
        ({"experts": 0}, r"at least 1 expert"),
        ({"members": 0}, r"at least 1 member"),
    ],
)
def test_settings_are_checked(changes, match):
    with pytest.raises(InvalidInputError, match=match):
        AutoSettings(**{"time_budget": 1.0, **changes})


def test_nothing_is_written_where_nothing_can_be_done(workspace, letters, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "note.txt").write_text("mine")
    with Workspace(workspace) as opened:
        with pytest.raises(InvalidInputError, match=r"taken holds other files: choose a new or empty folder"):
            opened.auto(letters, taken, settings=AutoSettings(time_budget=3.0))
        none = AutoSettings(time_budget=3.0, query=Query(max_params=1000))
        with pytest.raises(NotFoundError, match=r"`max_params=1k` alone excludes 4"):
            opened.auto(letters, workspace / "out", settings=none)
    assert not (workspace / "out").exists()
    assert [p.name for p in taken.iterdir()] == ["note.txt"]
    assert trials_on_record(workspace) == []


@pytest.mark.slow
def test_the_command_prints_the_documented_json(workspace, letters):
    line = ("auto", letters, "--out", "out", "--time-budget", "4s", "--max-params", "480k", "--json")
    answer = invoke(*line).worked().json
    assert set(answer) == {
        "run", "expert", "child", "task", "strategy", "metric", "accuracy", "cold_accuracy",
        "transfer_gain", "seed", "epochs", "seconds", "path", "note", "members", "reason", "chosen", "trials",
        "experts_run", "time_budget", "total_seconds", "spent", "interrupted", "notes", "data", "lr",
        "lr_search",
    }  # fmt: skip
    again = invoke(*line[:-1]).worked()
    assert f"test accuracy {answer['accuracy']:.3f}" in again.out
    assert invoke(*line, "--seed", 1).code == 1
    assert invoke(*line, "--seed", 1, "--strategy", "linear-probe", "--force").worked().json["seed"] == 1


def test_the_command_refuses_bad_lines(workspace, letters):
    wrong = invoke("auto", letters, "--out", "o", "--time-budget", "soon")
    assert (wrong.code, "is not a duration" in wrong.err) == (2, True)
    assert invoke("auto", letters, "--out", "o").code == 2
    other = workspace / "other"
    other.mkdir()
    (other / "x").write_text("")
    line = ("auto", letters, "--out", "other", "--time-budget", "3s")
    invoke(*line, "--force").failed("other is not the output of auto: nothing was removed")
    invoke(*line).failed("holds other files")
    invoke(*line[:3], "o", *line[4:], "--strategy", "lp-tf").failed("Did you mean 'lp-ft'", code=2)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "metric"), [("labels", "average_precision"), ("value", "r2")])
def test_labels_and_values_are_searched_for_and_answered_together_too(kind, metric, workspace, tmp_path):
    texts = materials.gloss_rows(14)
    names = sorted({name for _, name in texts})
    several = {name: f"{name};{names[i // 2 * 2]}" for i, name in enumerate(names)}
    target = several if kind == "labels" else {name: f"{i + 0.25:.2f}" for i, name in enumerate(names)}
    table = tmp_path / "table.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "target"), *((text, target[name]) for text, name in texts)])
    columns = Columns(label="target", target=kind)
    with Workspace(workspace) as opened:
        settings = AutoSettings(time_budget=budget())
        result = opened.auto(table, workspace / "out", settings=settings, columns=columns)
        data = opened.read(table, columns=columns)
    assert result.model.metric == metric
    assert len(result.members) > 1
    model = open_model(workspace / "out")
    assert (model.kind, model.accuracy) == (kind, result.accuracy)
    measured = evaluate(model, data, split="test").metrics
    # An r2 near 0 is the difference of two sums that rounding moves.
    expected = pytest.approx(result.accuracy, abs=1e-6)
    assert measured["mean_average_precision" if kind == "labels" else "r2"] == expected
