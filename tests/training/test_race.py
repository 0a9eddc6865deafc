"""`query --race`: real starter experts are fine-tuned briefly before the answer."""

import math
import shutil
import signal
import uuid

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.core.types import Edge, Query
from expertise_graph.data.sampling import holdout
from expertise_graph.models.loading import load
from expertise_graph.retrieval.results import measured
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.trainer import train
from expertise_graph.workspace import Workspace
from tests import materials
from tests.conftest import IMAGE_EXPERTS
from tests.nodes import task
from tests.program import ROOT, invoke

QUERY = Query(budget=3, sample=100, race=4)


@pytest.fixture(scope="module")
def emoji(tmp_path_factory):
    """Emoji as others draw them: ten of each group to train on, three to test on."""
    root = tmp_path_factory.mktemp("emoji") / "emoji-redrawn"
    for split, most in (("train", 10), ("test", 3)):
        for group in sorted((ROOT / "examples" / "emoji-redrawn" / split).iterdir()):
            (root / split / group.name).mkdir(parents=True)
            for picture in sorted(group.iterdir())[:most]:
                shutil.copy(picture, root / split / group.name)
    return root


@pytest.fixture(scope="module")
def raced(registered, emoji, tmp_path_factory):
    """A workspace after a race of four, its answers without and with the race, and what was trained."""
    folder = tmp_path_factory.mktemp("raced") / "workspace"
    shutil.copytree(registered, folder)
    trained = []
    with Workspace(folder, progress=lambda label, *_: trained.append(label)) as opened:
        before = opened.query(emoji, Query(budget=3, sample=100))
        after = opened.query(emoji, QUERY)
    return folder, before, after, [t for t in dict.fromkeys(trained) if t.startswith("race")]


@pytest.fixture
def after_race(raced, tmp_path):
    """A copy of the workspace after the race."""
    return shutil.copytree(raced[0], tmp_path / "copy")


@pytest.fixture
def letters(tmp_path):
    return materials.pictures(tmp_path / "letters", 3, 6)


def edges_of(workspace, method="race"):
    with Workspace(workspace) as opened:
        return [e for e in opened.store.edges("transfer") if e.method == method]


def scratch(workspace):
    return list(workspace.glob(".race-*"))


@pytest.mark.slow
def test_all_are_trained_briefly_and_the_better_half_goes_on(raced):
    folder, _, answer, trained = raced
    edges = edges_of(folder)
    names = {c.expert.id: c.expert.name for c in answer.candidates}
    first, second = ([e for e in edges if e.meta["rung"] == rung] for rung in (0, 1))
    assert [len(first), len(second)] == [4, 2]
    went_on = {e.source for e in second}
    assert min(e.weight for e in first if e.source in went_on) >= max(
        e.weight for e in first if e.source not in went_on
    )
    assert sorted(trained) == sorted(
        [f"race {names[e.source]}, 1 epoch" for e in first]
        + [f"race {names[e.source]}, 3 epochs" for e in second]
    )
    assert not scratch(folder)
    with Workspace(folder) as opened:
        assert {e.name for e in opened.experts()} == {*IMAGE_EXPERTS, "emoji-names", "languages"}
        assert opened.runs() == []


@pytest.mark.slow
def test_edges_hold_what_was_measured(raced, emoji, tmp_path):
    """The first rung is one epoch of a warm start: the loop itself gives the same number."""
    folder, _, answer, _ = raced
    with Workspace(folder) as opened:
        data = opened.read(emoji)
        splits = holdout(data, seed=0)
        edges = [e for e in opened.store.edges("transfer") if e.method == "race"]
        edge = next(e for e in edges if e.meta["rung"] == 0)
        expert = opened.store.expert(edge.source)
        result = train(load(expert), data, out=tmp_path / "out", config=TrainConfig(epochs=1), expert=expert)
    assert edge.weight == result.validation_accuracy
    for e in edges:
        assert (e.target, e.metric, e.seed, e.n) == (answer.task.id, "accuracy", 0, len(splits.validation))
        assert e.meta["n_train"] == len(splits.train)
        assert (e.meta["split"], e.meta["status"]) == ("validation", "done")
        assert e.meta["epochs"] == (1, 3)[e.meta["rung"]]
        assert e.weight * e.n == pytest.approx(round(e.weight * e.n), abs=1e-9)
        assert e.seconds > 0


@pytest.mark.slow
def test_the_answer_rests_on_the_race(raced):
    folder, before, answer, _ = raced
    last = {e.source: e for e in edges_of(folder)}
    by_id = {c.expert.id: c for c in answer.candidates}
    for expert, edge in last.items():
        epochs = {0: "1 epoch", 1: "3 epochs"}[edge.meta["rung"]]
        text = f"raced {edge.weight:.3f} on 18 validation items after {epochs}"
        assert by_id[expert].evidence[0] == text
    finalists = [e for e in last.values() if e.meta["rung"] == 1]
    winner = max(finalists, key=lambda e: e.weight)
    # Eighteen items tell little: whoever is put before the winner must not be told apart from it.
    place = [c.expert.id for c in answer.candidates].index(winner.source)
    assert all(c.tied for c in answer.candidates[1 : place + 1])
    earlier = {c.expert.id: c for c in before.candidates}
    moved = [abs(c[winner.source].predicted - winner.weight) for c in (earlier, by_id)]
    assert moved[1] < moved[0]
    assert all(c.high - c.low < earlier[e].high - earlier[e].low for e, c in by_id.items())
    assert answer.command.settings["expert"] == answer.best.expert.short
    assert any("fine-tuning 4 experts on this task" in note for note in answer.notes)


@pytest.mark.slow
def test_asking_again_trains_nothing(raced, after_race, emoji):
    def refuse(label, *_):
        assert not label.startswith("race"), label

    before = edges_of(after_race)
    with Workspace(after_race, progress=refuse) as opened:
        again = opened.query(emoji, QUERY)
    assert again.candidates == raced[2].candidates
    assert edges_of(after_race) == before


@pytest.mark.slow
def test_a_race_of_few_takes_the_same_course_again(workspace, letters):
    """What it measured of some does not bring others into it."""
    query, labels = Query(budget=1, race=3), []
    with Workspace(progress=lambda label, *_: labels.append(label)) as opened:
        first = opened.query(letters, query)
        edges, trained = edges_of(workspace), len(labels)
        again = opened.query(letters, query)
    assert len(edges) == 5
    assert edges_of(workspace) == edges
    assert not [label for label in labels[trained:] if label.startswith("race")]
    assert again.candidates == first.candidates


@pytest.mark.slow
def test_a_rung_that_is_missing_is_run_as_it_was(after_race, emoji):
    """Going on from a checkpoint and running all rungs from the expert give the same."""
    before = edges_of(after_race)
    with Workspace(after_race) as opened:
        gone = next(e for e in before if e.meta["rung"] == 1)
        opened.store.drop_run_edges(gone.run)
        opened.query(emoji, QUERY)
    after = edges_of(after_race)
    assert len(after) == len(before)
    assert after[-1].run == gone.run
    assert after[-1].weight == gone.weight


@pytest.mark.slow
def test_a_full_fine_tune_counts_instead_of_the_race(after_race, emoji, tmp_path):
    first = edges_of(after_race)[0].source
    with Workspace(after_race) as opened:
        config = TrainConfig(epochs=1, strategy="linear-probe")
        result = opened.warm_start(emoji, tmp_path / "out", expert=first, config=config)
        answer = opened.query(emoji, QUERY)
    reason = next(c.evidence[0] for c in answer.candidates if c.expert.id == first)
    assert reason == f"measured {result.accuracy:.3f} on 27 test items in {result.run}"
    assert sum(c.evidence[0].startswith("raced") for c in answer.candidates) == 3


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_measured_and_goes_on_later(workspace, letters):
    def interrupt(label, *_):
        if label == "race hebrew-letters, 1 epoch":
            signal.raise_signal(signal.SIGINT)

    query = Query(budget=2, race=4)
    with Workspace(workspace, progress=interrupt) as opened:
        answer = opened.query(letters, query)
    kept = edges_of(workspace)
    raced = {c.expert.id for c in answer.candidates if c.evidence[0].startswith("raced")}
    assert answer.interrupted
    assert any(note.startswith("interrupted") for note in answer.notes)
    assert "zoo:hebrew-letters@resnet" not in raced
    assert raced == {e.source for e in kept}
    assert not scratch(workspace)
    with Workspace(workspace) as opened:
        assert not opened.query(letters, query).interrupted
    assert edges_of(workspace)[: len(kept)] == kept
    assert len(edges_of(workspace)) == 6


@pytest.mark.slow
def test_items_to_be_tested_on_do_not_matter(workspace, letters):
    with Workspace() as opened:
        labelled = opened.read(letters)
        opened.query(labelled, Query(budget=1, race=1))
        for i in holdout(labelled, seed=0).test:
            Image.new("RGB", (64, 64), (int(i), 0, 0)).save(labelled.items[i])
        opened.query(letters, Query(budget=1, race=1))
    one, other = edges_of(workspace)
    assert one.target != other.target
    assert (one.source, one.weight) == (other.source, other.weight)


@pytest.mark.slow
def test_an_expert_that_is_gone_is_passed_over_and_named(workspace, tmp_path, letters):
    materials.starter("hebrew-letters", tmp_path)
    with Workspace() as opened:
        node = opened.store.find_expert("hebrew-letters")
        opened.remove(node.id)
        node = opened.register(f"dir:{tmp_path / 'hebrew-letters'}")
        opened.query(letters, Query(budget=4))
        (tmp_path / "hebrew-letters" / "model.safetensors").unlink()
        answer = opened.query(letters, Query(budget=4, race=3))
    raced = {e.source for e in edges_of(workspace)}
    note = next(n for n in answer.notes if n.startswith("hebrew-letters was not raced: "))
    assert "\n" not in note
    assert node.id not in raced
    assert len(raced) == 2


CODE = """
from torch import nn

class Fickle(nn.Module):
    def __init__(self, fault):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 12, 3, stride=2))
        self.fault = fault

    def forward(self, x):
        return self.body(x) if not self.training else self.fault(self.body(x))

def refuse(x):
    raise RuntimeError("not in training")

def diverging():
    return Fickle(lambda x: x * float("nan"))

def failing():
    return Fickle(refuse)
"""


@pytest.mark.slow
def test_a_loss_that_diverges_is_evidence_and_an_exception_bars_from_the_answer(blank, letters):
    """A network that cannot be trained has no result; it is named instead."""
    name = f"net_{uuid.uuid4().hex[:8]}"
    (blank / f"{name}.py").write_text(CODE)
    declared = ("--input-size", 16, "--channels", 1, "--mean", "0.5", "--std", "0.25", "--trust-code")
    for i, kind in enumerate(("diverging", "failing")):
        with torch.random.fork_rng():
            torch.manual_seed(i)
            body = nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 12, 3, stride=2))
        save_file({f"body.{n}": t for n, t in body.state_dict().items()}, blank / f"{kind}.safetensors")
        given = ("--weights", blank / f"{kind}.safetensors", "--name", kind)
        invoke("register", f"factory:{name}:{kind}", *given, *declared).worked()
    invoke("register", "zoo:hebrew-letters").worked()
    answer = invoke("query", letters, "--budget", 3, "--race", 3, "--trust-code", "--json").worked().json
    edges = {e.meta["status"]: e for e in edges_of(blank)}
    assert "failed" not in edges
    assert edges["diverged"].meta["epochs"] == 0
    assert answer["candidates"][0]["name"] == "hebrew-letters"
    reasons = {c["name"]: c["evidence"][0] for c in answer["candidates"]}
    assert set(reasons) == {"hebrew-letters", "diverging"}
    assert reasons["diverging"].endswith("after 0 epochs, then diverged")
    assert reasons["hebrew-letters"].endswith("after 3 epochs")
    assert [f["reason"] for f in answer["failed"]] == ["failing failed: RuntimeError: not in training"]
    assert "failing failed: RuntimeError: not in training" in answer["notes"]


def test_a_race_of_one_measures_the_first(workspace, letters):
    answer = invoke("query", letters, "--budget", 2, "--race", 1, "--json").worked().json
    assert [e.meta["epochs"] for e in edges_of(workspace)] == [1]
    assert sum(c["evidence"][0].startswith("raced") for c in answer["candidates"]) == 1


def test_only_admitted_experts_race_however_many_are_asked_for(workspace, letters):
    invoke("query", letters, "--budget", 2, "--max-params", "480k", "--race", 99).worked()
    assert [e.source for e in edges_of(workspace)] == ["zoo:clipart@resnet"]


def test_bad_input_is_one_clear_line(workspace, tmp_path, letters):
    small = materials.pictures(tmp_path / "small", 3, 2)
    before = materials.counts(workspace)
    invoke("query", small, "--race", 2).failed("validation split", "at least three items", "without a race")
    assert invoke("query", letters, "--race", -1).code == 2
    with Workspace() as opened, pytest.raises(InvalidInputError, match="race is -1: give a number"):
        opened.query(letters, Query(race=-1))
    assert materials.counts(workspace) == before
    invoke("query", small, "--race", 0, "--budget", 2).worked()


def rung(expert, number, accuracy):
    meta = {"rung": number, "epochs": 2 ** (number + 1) - 1, "status": "done"}
    return Edge(
        kind="transfer",
        source=expert,
        target="task:a",
        weight=accuracy,
        metric="accuracy",
        method="race",
        version="1",
        seed=0,
        n=100,
        meta=meta,
    )


def test_a_loss_on_the_way_is_noise_and_lowers_nobody(blank):
    found = [("a", 0, 0.6), ("b", 0, 0.5), ("c", 0, 0.4), ("a", 1, 0.5), ("b", 1, 0.5)]
    with Workspace() as opened:
        opened.store.put_edges([rung(*f) for f in found])
        assert measured(opened.store, task("a"))["c"].lift == 0


def test_who_left_early_is_compared_on_the_level_of_the_last_rung(blank):
    """By as many log-odds as the others gained: from .5 to .6 and from .4 to .5."""
    found = [("a", 0, 0.5), ("b", 0, 0.4), ("c", 0, 0.3), ("a", 1, 0.6), ("b", 1, 0.5)]
    with Workspace() as opened:
        opened.store.put_edges([rung(*f) for f in found])
        results = measured(opened.store, task("a"))
    gain = math.log(60.5 / 40.5) / 2 - math.log(40.5 / 60.5) / 2
    assert {e: r.accuracy for e, r in results.items()} == {"a": 0.6, "b": 0.5, "c": 0.3}
    assert [results[e].lift for e in "ab"] == [0, 0]
    assert results["c"].lift == pytest.approx(gain)
    assert results["c"].text == "raced 0.300 on 100 validation items after 1 epoch"
