"""What is pushed and pulled answers as before, is marked, and comes once however often it is pulled."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from expertise_graph.core import METADATA, Query, Score
from expertise_graph.workspace import Workspace
from tests.materials import counts
from tests.program import invoke
from tests.sharing.conftest import MARKER

NODES = ("experts", "tasks", "probe_sets", "embeddings", "scores")


def numbers(ranking):
    return [(c.expert.id, c.predicted, c.low, c.high, c.p_best) for c in ranking.candidates]


def pushed(source, folder, *options):
    return invoke("--workspace", source, "push", folder, "--json", *options).worked().json


def pulled(workspace, folder, *options):
    return invoke("--workspace", workspace, "pull", folder, "--json", *options).worked().json


def totals(answer):
    names = ("added", "same", "replaced", "removed", "conflicts")
    return {name: sum(t[name] for t in answer["tables"].values()) for name in names}


@pytest.mark.parametrize("budget", [0, 3, 5])
def test_the_same_query_gives_the_same_answer_elsewhere(source, pets, empty, tmp_path, budget):
    if budget == 5:
        # That many are run anew in both places; the one of local weights could be run in one only.
        invoke("--workspace", source, "rm", "greek-letters").worked()
    pushed(source, tmp_path / "graph")
    pulled(empty, tmp_path / "graph")
    query = Query(budget=budget, sample=32, top=10)
    with Workspace(source) as here, Workspace(empty) as there:
        expected, found = here.query(pets, query), there.query(pets, query)
        assert found.experts_run == expected.experts_run
        for one, other in zip(numbers(expected), numbers(found), strict=True):
            assert one[0] == other[0]
            assert other[1:] == pytest.approx(one[1:], abs=1e-6)


def test_experts_of_local_folders_are_known_by_name_with_their_embedding(source, empty, tmp_path):
    pushed(source, tmp_path / "graph")
    answer = pulled(empty, tmp_path / "graph")
    assert any("1 expert known by name only" in note for note in answer["notes"])
    with Workspace(source) as here, Workspace(empty) as there:
        local = here.expert("greek-letters")
        known = there.expert("greek-letters")
        assert (local.source, known.source) == ("dir", METADATA)
        assert known.id == known.locator == local.id
        assert (known.weights_sha, known.params, known.dim) == (local.weights_sha, local.params, local.dim)
        assert there.store.has_embedding(known.id, there.store.probe_sets("image")[0].id)
        assert known.id in [
            n for n, _ in there.store.neighbours_of("zoo:emoji@resnet", there.store.probe_sets("image")[0].id)
        ]


def test_an_expert_known_by_name_becomes_one_that_can_be_run_when_it_is_registered(source, empty, tmp_path):
    pushed(source, tmp_path / "graph")
    pulled(empty, tmp_path / "graph")
    with Workspace(empty) as there:
        before = there.expert("greek-letters")
        registered = there.register(f"dir:{source.parent / 'greek-letters'}")
        assert registered.id == before.id
        assert registered.runnable
        assert "origin" not in registered.meta
        assert [e.id for e in there.experts()].count(before.id) == 1


def test_rows_bear_their_origin(source, empty, tmp_path):
    pushed(source, tmp_path / "graph")
    origin = pulled(empty, tmp_path / "graph")["origin"]
    assert MARKER not in origin
    with Workspace(empty) as there:
        assert there.expert("emoji").meta["origin"] == origin
        rows = invoke("--workspace", empty, "history", "ls", "--json").worked().json
        assert {row["origin"] for row in rows} == {f"imported, {origin}"}
        assert {row["run"] for row in rows} == {None}
        ledger = there.store.ledgers()
        assert [len(of) for of in ledger.values()] == [2]
    invoke("--workspace", empty, "history", "rm", "--origin", f"imported, {origin}").worked()


def test_pulling_again_changes_nothing(source, empty, tmp_path):
    pushed(source, tmp_path / "graph")
    first = totals(pulled(empty, tmp_path / "graph"))
    before = counts(empty)
    again = totals(pulled(empty, tmp_path / "graph"))
    assert counts(empty) == before
    assert again == {
        "added": 0,
        "same": first["added"] + first["same"],
        "replaced": 0,
        "removed": 0,
        "conflicts": 0,
    }


def test_pushing_again_changes_nothing(source, tmp_path):
    first = pushed(source, tmp_path / "graph")
    files = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "graph" / "data").iterdir()}
    again = pushed(source, tmp_path / "graph")
    assert (first["changed"], again["changed"]) == (True, False)
    assert again["revision"] == first["revision"]
    assert set(files) == {p.name for p in (tmp_path / "graph" / "data").iterdir()}


def test_what_comes_back_is_known(source, empty, tmp_path):
    """A pulls what B pushed of what A had pushed: nothing is new, and what A measured stays A's."""
    pushed(source, tmp_path / "one")
    pulled(empty, tmp_path / "one")
    pushed(empty, tmp_path / "two")
    before = counts(source)
    answer = totals(pulled(source, tmp_path / "two"))
    assert (answer["added"], answer["replaced"], answer["conflicts"]) == (0, 0, 0)
    assert counts(source) == before
    with Workspace(source) as here:
        assert here.expert("greek-letters").source == "dir"
        assert "origin" not in here.expert("emoji").meta


def test_what_is_measured_here_wins_and_is_listed(source, empty, tmp_path):
    pushed(source, tmp_path / "graph")
    pulled(empty, tmp_path / "graph")
    with Workspace(empty) as there:
        score = there.store.scores()[0]
        there.store.put_scores([dataclasses.replace(score, value=score.value + 1, created_at="")])
    answer = pulled(empty, tmp_path / "graph")
    assert totals(answer)["conflicts"] == 1
    (conflict,) = answer["conflicts"]
    assert conflict["table"] == "scores"
    assert conflict["origin"] == "here"
    assert float(conflict["here"]) == pytest.approx(score.value + 1)
    assert float(conflict["there"]) == pytest.approx(score.value)
    shown = invoke("--workspace", empty, "pull", tmp_path / "graph").worked().out
    assert "1 row there contradict" in shown
    with Workspace(empty) as there:
        assert next(
            s.value
            for s in there.store.scores()
            if s.estimator == score.estimator and s.expert == score.expert
        ) == pytest.approx(score.value + 1)


def test_a_later_pull_replaces_what_came_from_there_and_nothing_else(source, empty, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(source, other)
    pushed(source, tmp_path / "one")
    with Workspace(other) as third:
        score = third.store.scores()[0]
        third.store.put_scores(
            [Score(**{**dataclasses.asdict(score), "estimator": "of-the-other", "value": 2.0})]
        )
    pushed(other, tmp_path / "two")
    pulled(empty, tmp_path / "one")
    assert totals(pulled(empty, tmp_path / "two"))["added"] == 1
    with Workspace(source) as here:
        here.store.put_scores([dataclasses.replace(score, value=score.value + 1)])
        here.remove_results(task="fashion")
    pushed(source, tmp_path / "one")
    answer = pulled(empty, tmp_path / "one")
    # The results on fashion are also at the second place: they stay. The score is the first one's to change.
    assert answer["tables"]["scores"]["replaced"] == 1
    assert (totals(answer)["removed"], totals(answer)["conflicts"]) == (0, 0)
    with Workspace(empty) as there:
        assert [s.value for s in there.store.scores() if s.estimator == "of-the-other"] == [2.0]
    # The second place had the score from the first: what it still says is left out, and listed.
    answer = pulled(empty, tmp_path / "two")
    assert (answer["tables"]["scores"]["conflicts"], totals(answer)["replaced"]) == (1, 0)


def test_what_a_place_does_not_have_any_more_goes(source, empty, tmp_path):
    pushed(source, tmp_path / "graph")
    pulled(empty, tmp_path / "graph")
    with Workspace(source) as here:
        score = here.store.scores()[0]
        here.store.put_scores([dataclasses.replace(score, value=score.value + 1)])
        here.remove_results(task="fashion")
        here.remove("languages")
    pushed(source, tmp_path / "graph")
    answer = pulled(empty, tmp_path / "graph")["tables"]
    assert answer["scores"]["replaced"] == 1
    assert answer["edges"]["removed"] == 2
    assert answer["experts"]["removed"] == 1
    with Workspace(empty) as there:
        assert "languages" not in [e.name for e in there.experts()]
        assert next(
            s for s in there.store.scores() if (s.expert, s.estimator) == (score.expert, score.estimator)
        ).value == pytest.approx(score.value + 1)


def test_an_expert_that_something_here_rests_on_stays(source, empty, tmp_path):
    pushed(source, tmp_path / "graph")
    pulled(empty, tmp_path / "graph")
    with Workspace(empty) as there:
        task = there.tasks()[0].task
        there.store.put_scores(
            [
                Score(
                    expert=there.expert("languages").id,
                    task=task.id,
                    estimator="x",
                    version="1",
                    value=1.0,
                    n=3,
                    seed=0,
                    seconds=0.0,
                )
            ]
        )
    with Workspace(source) as here:
        here.remove("languages")
    pushed(source, tmp_path / "graph")
    assert pulled(empty, tmp_path / "graph")["tables"]["experts"]["removed"] == 0
    with Workspace(empty) as there:
        assert there.expert("languages").id


def test_another_workspace_is_merged_as_what_it_would_push(source, empty, tmp_path):
    answer = invoke("--workspace", empty, "merge-registry", source, "--json").worked().json
    assert answer["tables"]["experts"]["added"] == 8
    pushed(source, tmp_path / "graph")
    again = invoke("--workspace", empty, "merge-registry", tmp_path / "graph", "--json").worked().json
    assert totals(again)["added"] == 0
    assert totals(again)["conflicts"] == 0


def test_names_are_replaced_where_that_is_asked_for(source, empty, tmp_path):
    pushed(source, tmp_path / "graph", "--anonymous")
    pulled(empty, tmp_path / "graph")
    with Workspace(source) as here, Workspace(empty) as there:
        named = {t.task.name for t in here.tasks()} | {c for t in here.tasks() for c in t.task.classes}
        shown = {t.task.name for t in there.tasks()} | {c for t in there.tasks() for c in t.task.classes}
        assert len(shown) == len(named)
        assert not shown & named
        assert {t.task.n for t in there.tasks()} == {t.task.n for t in here.tasks()}
    content = b"".join(p.read_bytes() for p in (tmp_path / "graph").rglob("*") if p.is_file())
    for name in ("letters,", '"letters"', "pets", "greek-letters"):
        assert name.encode() not in content


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["full", "from-scratch"])
def test_a_pulled_child_is_no_candidate_for_what_it_learnt_from(source, pets, empty, tmp_path, strategy):
    run = ("--out", tmp_path / "run", "--expert", "emoji", "--epochs", 2, "--strategy", strategy)
    child = invoke("--workspace", source, "warm-start", pets, *run, "--json").worked().json["child"]
    pushed(source, tmp_path / "graph")
    pulled(empty, tmp_path / "graph")
    query = Query(budget=0, sample=32, top=20)
    with Workspace(source) as here, Workspace(empty) as there:
        expected, found = here.query(pets, query), there.query(pets, query)
        assert there.store.known_expert(child) is not None
        assert child not in [c.expert.id for c in found.candidates]
        for one, other in zip(numbers(expected), numbers(found), strict=True):
            assert one[0] == other[0]
            assert other[1:] == pytest.approx(one[1:], abs=1e-6)
        lineage = [e.run for e in there.store.edges("lineage") if e.target == child]
        assert lineage == ([None] if strategy == "full" else [])
        assert there.runs() == []
