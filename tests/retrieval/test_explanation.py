"""explain: the parts of a prediction add up, and name what carried it."""

import dataclasses
import io
import json

import numpy as np
import pytest

from expertise_graph.core.errors import InvalidInputError, NotFoundError
from expertise_graph.core.types import Edge, Query
from expertise_graph.features import probe_sets as probes
from expertise_graph.registry.imports.options import HistoryOptions
from expertise_graph.retrieval.explanation import explain
from expertise_graph.retrieval.knowledge import Knowledge
from expertise_graph.workspace import Workspace
from tests import materials
from tests.conftest import IMAGE_EXPERTS
from tests.program import invoke

NAMES = list(IMAGE_EXPERTS)


@pytest.fixture
def zoo(workspace):
    with Workspace(workspace) as opened:
        yield opened


@pytest.fixture
def letters(tmp_path):
    return materials.pictures(tmp_path / "letters", 4, 10)


def remember(zoo):
    """Import results on six tasks: the first expert is best on all of them, the last one worst."""
    rng = np.random.default_rng(0)
    lines = ["expert,task,metric,value"]
    for t in range(6):
        for name, value in zip(NAMES, np.linspace(0.9, 0.5, len(NAMES)), strict=True):
            lines.append(f"{name},past-{t},accuracy,{value + 0.02 * rng.normal():.4f}")
    zoo.import_history(io.BytesIO("\n".join(lines).encode()), HistoryOptions(modality="image"))


def asked(zoo, task, name):
    known = Knowledge(zoo.store, None, "image")
    return explain(known, probes.current(zoo.store, "image").id, task, zoo.store.find_expert(name))


def test_parts_add_up_to_the_prediction(zoo, letters):
    remember(zoo)
    task = zoo.query(letters, Query(budget=2)).task
    for name in NAMES:
        found = asked(zoo, task, name)
        assert sum(part.moves for part in found.parts) == pytest.approx(found.predicted, abs=1e-9)


def test_results_elsewhere_are_named_and_move_it_their_way(zoo, letters):
    remember(zoo)
    task = zoo.query(letters, Query(budget=0)).task
    first, last = asked(zoo, task, NAMES[0]), asked(zoo, task, NAMES[-1])
    assert first.rank < last.rank
    assert {c.name for c in first.tasks} <= {f"past-{t}" for t in range(6)}
    assert all(c.moves > 0 for c in first.tasks)
    assert all(c.moves < 0 for c in last.tasks)
    own = next(part for part in first.parts if part.name == "its results on other tasks")
    assert own.moves == pytest.approx(sum(c.moves for c in first.tasks), rel=0.5)


def test_running_an_expert_narrows_its_prediction_as_foretold(zoo, letters):
    remember(zoo)
    task = zoo.query(letters, Query(budget=1)).task
    ran = {s.expert for s in zoo.store.scores(task.id)}
    name = next(n for n in NAMES if zoo.store.find_expert(n).id not in ran)
    before = asked(zoo, task, name)
    assert before.would.deviation_after < before.would.deviation == pytest.approx(before.deviation)
    assert 0 <= before.would.becomes_first <= 1
    zoo.query(letters, Query(budget=len(NAMES)))
    if zoo.store.find_expert(name).id in {s.expert for s in zoo.store.scores(task.id)}:
        after = asked(zoo, task, name)
        assert after.would is None
        assert after.deviation < before.deviation


def test_the_rank_is_that_of_the_latest_query(zoo, letters, workspace):
    remember(zoo)
    before = asked(zoo, zoo.query(letters, Query(budget=0)).task, NAMES[0])
    assert (before.experts, before.rank) == (len(NAMES), 1)
    *kept, best = sorted(zoo.experts("image"), key=lambda e: e.name == NAMES[0])
    for expert in kept:
        zoo.store.put_expert(dataclasses.replace(expert, tags=("kept",)))
    ranking = zoo.query(letters, Query(budget=2, top=20, tags=("kept",)))
    listed = [c.expert for c in ranking.candidates]
    assert {e.id for e in listed} == {e.id for e in kept}
    found = [zoo.explain(ranking.task.id, expert.id) for expert in listed]
    assert [one.rank for one in found] == list(range(1, len(listed) + 1))
    assert {one.experts for one in found} == {len(listed)}
    out = zoo.explain(ranking.task.id, best.id)
    assert out.rank is None
    said = invoke("--workspace", workspace, "explain", letters, best.name).worked().lines[0]
    assert f"not among the {len(listed)} experts that the query of {out.queried_at[:10]}" in said
    said = invoke("--workspace", workspace, "explain", letters, listed[1].name).worked().lines[0]
    assert f"rank 2 of {len(listed)} in the query of {out.queried_at[:10]}" in said


def test_before_any_query_the_rank_is_by_what_is_known(zoo, letters, workspace):
    remember(zoo)
    past = next(t for t in zoo.store.tasks() if t.name == "past-0")
    found = zoo.explain(past.id, NAMES[0])
    assert (found.rank, found.experts, found.queried_at) == (1, len(NAMES), None)
    said = invoke("--workspace", workspace, "explain", "past-0", NAMES[0]).worked().lines[0]
    assert f"rank 1 of {len(NAMES)} by what is known; the task was not queried yet" in said


def test_a_task_of_which_nothing_is_known_is_said_to_be(zoo, letters):
    zoo.store.put_task(zoo.read(letters).task)
    with pytest.raises(NotFoundError, match="there is no evidence about"):
        asked(zoo, zoo.read(letters).task, NAMES[0])


def test_on_the_command_line(zoo, letters, workspace):
    remember(zoo)
    zoo.query(letters, Query(budget=2))
    done = invoke("--workspace", workspace, "explain", letters, NAMES[0], "--json")
    content = json.loads(done.out)
    assert sum(part["moves"] for part in content["parts"]) == pytest.approx(content["predicted"])
    assert content["name"] == NAMES[0]
    shown = invoke("--workspace", workspace, "explain", "letters", NAMES[0])
    assert shown.code == 0, shown.err
    assert "its results on other tasks" in shown.out
    wrong = invoke("--workspace", workspace, "explain", "no-such-task", NAMES[0])
    assert wrong.code == 1
    assert wrong.err.count("\n") == 1
    assert "no task" in wrong.err


def test_an_expert_for_other_inputs_is_refused(zoo, letters):
    remember(zoo)
    task = zoo.query(letters, Query(budget=1)).task
    languages = zoo.store.find_expert("languages").short
    said = f"^letters holds images, but {languages} takes texts: choose an expert for images$"
    with pytest.raises(InvalidInputError, match=said):
        zoo.explain(task.id, "languages")


def test_a_measured_result_is_printed_as_query_prints_it_and_is_no_part(zoo, letters, workspace):
    ranking = zoo.query(letters, Query(budget=2))
    before = zoo.explain(ranking.task.id, "emoji")
    assert before.result is None
    edge = Edge(
        kind="transfer",
        source=before.expert.id,
        target=ranking.task.id,
        weight=0.95,
        method="lp-ft",
        version="1",
        metric="accuracy",
        n=60,
        run="run:1",
    )
    zoo.store.put_edges([edge])
    found = zoo.explain(ranking.task.id, "emoji")
    again = zoo.query(letters, Query(budget=2))
    why = next(c.evidence[0] for c in again.candidates if c.expert.name == "emoji")
    assert found.result == why == "measured 0.950 on 60 test items in run:1"
    assert sum(part.moves for part in found.parts) == pytest.approx(found.predicted, abs=1e-9)
    shown = invoke("--workspace", workspace, "explain", letters, "emoji").worked()
    assert f"{why}: query ranks by that; what follows explains the prediction without it" in shown.lines
    assert "+0.00 SD (not used" not in shown.out
    assert "affinity" not in shown.out


def test_the_path_of_a_dataset_is_found_however_it_is_written(zoo, letters, tmp_path, monkeypatch):
    task = zoo.query(letters, Query(budget=1)).task
    (tmp_path / "beside" / "deeper").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "beside")
    monkeypatch.setenv("HOME", str(tmp_path))
    written = [
        "../letters",
        "../letters/",
        "./deeper/../../letters",
        "~/letters",
        str(letters),
        task.id,
        "letters",
    ]
    assert {zoo.explain(text, "emoji").task.id for text in written} == {task.id}
    assert {zoo.read(text).task.id for text in written[:5]} == {task.id}
    for text in written:
        assert zoo.history(task=text) == []
    with pytest.raises(NotFoundError, match=r"no task .\.\./nothing"):
        zoo.explain("../nothing", "emoji")
