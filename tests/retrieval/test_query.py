"""Queries on real experts: budgets, history of other tasks, failed runs, leakage."""

import io

import numpy as np
import pytest

from expertise_graph.core.errors import InvalidInputError, NotFoundError
from expertise_graph.core.types import Edge, Query
from expertise_graph.registry.imports.options import HistoryOptions, ImportOptions
from expertise_graph.retrieval.scale import log_odds
from expertise_graph.training.config import TrainConfig
from expertise_graph.workspace import Workspace
from tests import materials
from tests.conftest import IMAGE_EXPERTS

IMAGES = HistoryOptions(modality="image")


@pytest.fixture
def zoo(workspace):
    with Workspace(workspace) as opened:
        yield opened


@pytest.fixture
def letters(tmp_path):
    return materials.pictures(tmp_path / "letters", 4, 10)


def tell(zoo, order, *, tasks=6, noise=0.02, worst=0.5):
    """Import results on other tasks that put the experts in an order."""
    rng = np.random.default_rng(0)
    lines = ["expert,task,metric,value"]
    for t in range(tasks):
        for name, value in zip(order, np.linspace(0.9, worst, len(order)), strict=True):
            lines.append(f"{name},task-{t},accuracy,{value + noise * rng.normal():.4f}")
    zoo.import_history(io.BytesIO("\n".join(lines).encode()), IMAGES)


def names(ranking):
    return [c.expert.name for c in ranking.candidates]


def by_name(ranking):
    return {c.expert.name: c for c in ranking.candidates}


def measure(zoo, ranking, name, accuracy, n=200):
    """Store that fine-tuning an expert on the task of a ranking reached an accuracy."""
    found = by_name(ranking)[name].expert.id
    edge = Edge(
        kind="transfer",
        source=found,
        target=ranking.task.id,
        weight=accuracy,
        method="imported",
        version="1",
        metric="accuracy",
        n=n,
        meta={"origin": "results.csv"},
    )
    zoo.store.put_edges([edge])


def test_nothing_known_and_nothing_to_be_run_is_refused_and_leaves_no_trace(zoo, letters):
    before = materials.counts(zoo.folder)
    for query in (Query(budget=0), Query(budget=None, seconds=0.0), Query(budget=None, seconds=1e-9)):
        with pytest.raises(InvalidInputError, match="runs no expert, and no expert has a result"):
            zoo.query(letters, query)
    assert materials.counts(zoo.folder) == before


@pytest.mark.parametrize("best", IMAGE_EXPERTS)
def test_history_orders_the_answer_when_nothing_may_be_run(zoo, letters, best):
    others = [n for n in IMAGE_EXPERTS if n != best]
    tell(zoo, [best, *others])
    ranking = zoo.query(letters, Query(budget=0))
    assert names(ranking) == [best, *others]
    assert ranking.experts_run == 0
    first, last = ranking.candidates[0], ranking.candidates[-1]
    assert 0.7 < first.predicted < 0.93
    assert 0.45 < last.predicted < 0.68
    assert first.evidence[0].startswith("history +")
    assert last.evidence[0].startswith("history -")
    assert first.p_best > 0.4 > 0.12 > last.p_best
    again = zoo.query(letters, Query(budget=None, seconds=0.0))
    assert again.candidates == ranking.candidates


def test_a_history_in_which_lower_is_better_counts_the_other_way(zoo, letters):
    rows = [f"{n},t{t},loss,{i + 0.1 * t}" for t in range(4) for i, n in enumerate(IMAGE_EXPERTS)]
    table = io.BytesIO("\n".join(["expert,task,metric,value", *rows]).encode())
    zoo.import_history(table, HistoryOptions(modality="image", lower_is_better=("loss",)))
    ranking = zoo.query(letters, Query(budget=0))
    assert names(ranking) == list(IMAGE_EXPERTS)
    assert ranking.unit == "percentile"


def test_evidence_on_the_task_outweighs_a_history_that_misleads(zoo, letters):
    tell(zoo, ["clipart", "emoji", "hebrew-letters", "latin-letters"], tasks=3, noise=0.1)
    assert names(zoo.query(letters, Query(budget=0)))[0] in ("clipart", "emoji")
    ranking = zoo.query(letters, Query(budget=4))
    assert names(ranking)[0] in ("latin-letters", "hebrew-letters")


def test_history_and_evidence_together_are_surer_than_either(zoo, letters):
    alone = zoo.query(letters, Query(budget=4))
    tell(zoo, ["latin-letters", "hebrew-letters", "emoji", "clipart"])
    told = zoo.query(letters, Query(budget=0))
    both = zoo.query(letters, Query(budget=4))
    assert names(both)[0] == "latin-letters"
    assert by_name(both)["latin-letters"].p_best > by_name(alone)["latin-letters"].p_best
    assert by_name(both)["clipart"].p_best <= min(by_name(r)["clipart"].p_best for r in (alone, told))


def test_experts_without_history_stand_beside_those_with_one(zoo, letters):
    tell(zoo, ["emoji", "org/good", "org/bad", "clipart"])
    ranking = zoo.query(letters, Query(budget=0, top=50))
    told = by_name(ranking)
    assert names(ranking)[0] == "emoji"
    assert set(told) == {*IMAGE_EXPERTS, "org/good", "org/bad"}
    width = {n: log_odds(c.high, 10**6) - log_odds(c.low, 10**6) for n, c in told.items()}
    # The first and the last of the history may lie further apart or nearer than on other tasks.
    assert min(width["latin-letters"], width["hebrew-letters"]) > min(width["emoji"], width["clipart"])
    assert told["clipart"].predicted < told["latin-letters"].predicted < told["emoji"].predicted


def test_budgets_are_kept(zoo, letters):
    ranking = zoo.query(letters, Query(budget=3))
    assert ranking.experts_run == 3
    assert sum(c.ran for c in ranking.candidates) == 3
    assert zoo.query(letters, Query(budget=3)).experts_run == 0
    # In no time only features that are there already can be used.
    assert zoo.query(letters, Query(budget=None, seconds=0.0)).experts_run == 0
    timed = zoo.query(letters, Query(budget=None, seconds=60.0, seed=1))
    assert 1 <= timed.experts_run <= 4
    assert timed.seconds < 60


def test_a_search_that_is_decided_stops_and_says_so(zoo, letters):
    order = ["latin-letters", *(f"org/{i}" for i in range(20)), "hebrew-letters", "emoji", "clipart"]
    tell(zoo, order, tasks=12, noise=0.005, worst=0.1)
    ranking = zoo.query(letters, Query(budget=4))
    assert ranking.experts_run < 4
    assert "stopped before the budget was used up: no expert that was not run is likely to be the best" in (
        ranking.notes
    )
    assert names(ranking)[0] == "latin-letters"


@pytest.mark.slow
def test_a_failed_run_on_the_task_pushes_that_expert_down_and_near_ones_a_little(blank, tmp_path, letters):
    for i, noise in enumerate((0.0, 0.02, 3.0)):
        materials.resnet(tmp_path / f"m{i}", i, noise=noise)
    materials.resnet(tmp_path / "far", 7)
    with Workspace(blank) as zoo:
        for name in ("m0", "m1", "m2", "far"):
            zoo.register(f"dir:{tmp_path / name}")
        near = {n.expert.name: n.cka for n in zoo.similar("m0", 3)}
        assert 0.999 > near["m1"] > 0.9 > 0.6 > near["far"]
        before = by_name(zoo.query(letters, Query(budget=4)))
        ranking = zoo.query(letters, Query(budget=4))
        measure(zoo, ranking, "m0", 0.25)
        after = by_name(zoo.query(letters, Query(budget=4)))
    assert min(after, key=lambda n: after[n].predicted) == "m0"
    assert after["m0"].predicted == pytest.approx(0.25, abs=0.06)
    assert after["m0"].evidence[0].startswith("measured 0.250 on 200 test items in results.csv")
    fall = {n: before[n].predicted - after[n].predicted for n in before}
    assert fall["m0"] > fall["m1"] > fall["far"] + 0.05
    assert abs(fall["far"]) < 0.1


def test_a_good_result_on_the_task_leads_the_answer(zoo, letters):
    ranking = zoo.query(letters, Query(budget=4))
    measure(zoo, ranking, "clipart", 0.99, n=2000)
    measure(zoo, ranking, "latin-letters", 0.6, n=2000)
    after = by_name(zoo.query(letters, Query(budget=4)))
    assert after["clipart"].predicted == pytest.approx(0.99, abs=0.01)
    assert after["latin-letters"].predicted == pytest.approx(0.6, abs=0.05)
    assert after["clipart"].p_best > 0.8


def test_results_of_an_expert_that_was_removed_are_mentioned(zoo, letters):
    ranking = zoo.query(letters, Query(budget=1))
    assert not any("removed" in note for note in ranking.notes)
    measure(zoo, ranking, "clipart", 0.9)
    zoo.remove("clipart")
    (note,) = [note for note in zoo.query(letters, Query(budget=1)).notes if "removed" in note]
    assert note == (
        "1 result of 1 removed expert on this task is not counted; register it again with: "
        "expertise-graph register zoo:clipart"
    )
    zoo.register("zoo:clipart")
    assert not any("removed" in note for note in zoo.query(letters, Query(budget=1)).notes)


def test_experts_that_saw_the_labels_are_no_answer(zoo, letters):
    covariates = b"expert,source_task\nemoji,letters\nclipart,elsewhere\n"
    zoo.import_meta(io.BytesIO(covariates), ImportOptions(modality="image"))
    assert set(names(zoo.query(letters, Query(budget=1)))) == set(IMAGE_EXPERTS) - {"emoji"}
    everyone = "\n".join(["expert,trained_on", *(f"{n},letters" for n in IMAGE_EXPERTS)])
    zoo.import_meta(io.BytesIO(everyone.encode()), ImportOptions(modality="image"))
    with pytest.raises(NotFoundError, match="all 4 experts of modality 'image' were trained on this very"):
        zoo.query(letters, Query(budget=1))


@pytest.mark.slow
def test_children_of_the_task_are_no_answer_to_it_and_their_results_no_evidence(zoo, letters, tmp_path):
    child = zoo.warm_start(letters, tmp_path / "out", expert="clipart", config=TrainConfig(epochs=1))
    ranking = zoo.query(letters, Query(budget=1))
    assert set(names(ranking)) == set(IMAGE_EXPERTS)
    assert child.child not in {i for c in ranking.candidates for i in (c.expert.id, *c.same_as)}
    other = zoo.query(materials.pictures(tmp_path / "more", 6, 6, splits=("test",)), Query(budget=1))
    assert child.child in {i for c in other.candidates for i in (c.expert.id, *c.same_as)}


@pytest.mark.parametrize("budget", [0, 1, 4])
def test_a_zoo_of_one(blank, tmp_path, letters, budget):
    materials.resnet(tmp_path / "only", 3)
    with Workspace(blank) as zoo:
        zoo.register(f"dir:{tmp_path / 'only'}")
        tell(zoo, ["only"], tasks=2)
        ranking = zoo.query(letters, Query(budget=budget))
    assert (names(ranking), ranking.experts_run) == (["only"], min(budget, 1))
    (only,) = ranking.candidates
    assert (only.p_best, only.tied) == (1.0, False)
    assert 0 <= only.low <= only.predicted <= only.high <= 1
    assert [e.name for e in ranking.together] == ["only"]


def test_a_sample_with_a_class_of_one_item_is_answered(zoo, tmp_path):
    data = materials.pictures(tmp_path / "data", 3, 6)
    for picture in sorted(sorted(data.iterdir())[0].iterdir())[1:]:
        picture.unlink()
    ranking = zoo.query(data, Query(budget=2))
    assert len(ranking.candidates) == 4
    assert all(np.isfinite(c.predicted) for c in ranking.candidates)
