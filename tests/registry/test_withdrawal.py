"""Taking results back: nothing of them is left, nothing hangs in the air, and it can be run again."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from expertise_graph.core.errors import InvalidInputError, NotFoundError
from expertise_graph.core.types import Edge, Embedding, ProbeSet, Run
from expertise_graph.registry import neighbours, withdrawal
from expertise_graph.registry.imports.history import import_history
from expertise_graph.registry.imports.options import HistoryOptions
from expertise_graph.store.arrays import features_key
from expertise_graph.store.store import Store
from tests import materials
from tests.nodes import expert, task
from tests.program import invoke

PROBES = "probe:1"


@pytest.fixture
def store(tmp_path):
    """Two experts that were there before, on one probe set."""
    made = Store(tmp_path)
    made.put_probe_set(ProbeSet(id=PROBES, name="p", version="1", modality="image", n=4, license="mit"))
    made.put_task(task("pets"))
    made.put_task(task("birds"))
    for seed, name in enumerate(("old", "other")):
        embedded(made, name, seed)
    neighbours.refresh(made, PROBES)
    yield made
    made.close()


def embedded(store, name, seed, **changes):
    store.put_expert(expert(name, **changes))
    vector = np.random.default_rng(seed).normal(size=8)
    store.put_embedding(
        Embedding(
            owner=f"dir:{name}", kind="expert", probe_set=PROBES, method="m", version="1",
            vector=vector, seed=0, n=4,
        )
    )  # fmt: skip


def edge(kind, source, target, run, **more):
    return Edge(
        kind=kind, source=source, target=target, weight=0.5, method="lp-ft", version="1", run=run, **more
    )


def ran(store, run, parent, child, *, on="task:pets", seed=0, started="2027-01-01T00:00:00.000+00:00"):
    """Record a run that left a child, as a warm start does."""
    left = None if child is None else f"dir:{child}"
    given = Run(
        id=run, expert=f"dir:{parent}", task=on, child=None, status="running", strategy="lp-ft", seed=seed,
        path=f"/runs/{run}", config={}, result={}, started_at=started, finished_at=started,
    )  # fmt: skip
    store.put_run(given)
    edges = [edge("transfer", f"dir:{parent}", on, run, metric="accuracy", n=50)]
    if left is not None:
        if store.known_expert(left) is None:
            embedded(store, child, len(store.experts()), locator=f"/runs/{run}/model")
            neighbours.refresh(store, PROBES)
        edges.append(edge("lineage", f"dir:{parent}", left, run))
        store.put_seen(on, seed, ["ab" * 32])
    store.put_edges(edges)
    store.put_run(dataclasses.replace(given, child=left, status="done"))


def content(store):
    """Return every row of the registry that may be derived from a run, but the log and creation times."""
    rows = {}
    nodes, kept = ("experts", "embeddings", "neighbours", "unlinked"), ("edges", "runs", "seen", "scores")
    for name in (*nodes, *kept, "covariates"):
        left_out = ("created_at", "id") if name in ("embeddings", "edges") else ("created_at",)
        found = store.db.query(f"SELECT * FROM {name}")
        rows[name] = sorted(({k: v for k, v in row.items() if k not in left_out} for row in found), key=repr)
    return rows


def test_nothing_of_a_run_is_left(store):
    before = content(store)
    ran(store, "run:a", "old", "child")
    store.put_covariates("dir:child", {"dataset": "pets"}, "card")
    store.put_edges([edge("transfer", "dir:child", "task:birds", None, metric="accuracy")])
    key = features_key(store.expert("dir:child"), PROBES)
    store.features.put(key, np.ones((4, 2), np.float32))
    assert content(store) != before
    would = withdrawal.withdraw_run(store, "run:a", dry_run=True)
    assert content(store) != before
    done = withdrawal.withdraw_run(store, "run:a")
    assert content(store) == before
    assert not store.features.path(key).exists()
    assert (done.runs, [e.id for e in done.experts], len(done.results)) == (("run:a",), ["dir:child"], 2)
    assert dataclasses.replace(would, dry_run=False) == done


@pytest.mark.parametrize("name", ["run:a", "a", "/runs/run:a"])
def test_a_run_is_named_by_its_id_the_beginning_of_it_or_its_folder(store, name):
    ran(store, "run:a", "old", "child")
    assert withdrawal.withdraw_run(store, name).runs == ("run:a",)


def test_what_was_made_from_the_child_is_named_and_goes_only_where_asked(store):
    before = content(store)
    ran(store, "run:a", "old", "child")
    ran(store, "run:b", "child", "grandchild", on="task:birds")
    ran(store, "run:c", "grandchild", None, seed=1)
    # A merge of the child and another expert, and a delta that was applied: it has no run of its own.
    ran(store, "run:d", "old", "merged", seed=2)
    store.put_edges([edge("lineage", "dir:child", "dir:merged", "run:d")])
    embedded(store, "applied", 9)
    store.put_edges([edge("lineage", "dir:grandchild", "dir:applied", "run:e")])
    neighbours.refresh(store, PROBES)
    full = content(store)
    with pytest.raises(InvalidInputError, match="4 runs started from the expert that run:a left: run:b, "):
        withdrawal.withdraw_run(store, "run:a")
    assert content(store) == full
    done = withdrawal.withdraw_run(store, "run:a", descendants=True)
    assert {e.name for e in done.experts} == {"child", "grandchild", "merged", "applied"}
    assert content(store) == before


def test_an_expert_that_another_run_left_too_or_that_was_there_before_stays(store):
    ran(store, "run:a", "old", "child")
    ran(store, "run:b", "old", "child", seed=1)
    # By the clock it is younger than the run.
    store.put_expert(dataclasses.replace(store.known_expert("dir:other"), created_at="2031"))
    ran(store, "run:c", "old", "other", seed=2)
    assert withdrawal.withdraw_run(store, "run:a").experts == ()
    assert withdrawal.withdraw_run(store, "run:c").experts == ()
    assert {e.name for e in store.experts()} == {"old", "other", "child"}
    assert [e.run for e in store.edges("lineage")] == ["run:b"]
    assert [e.name for e in withdrawal.withdraw_run(store, "run:b").experts] == ["child"]


def test_items_learnt_from_are_forgotten_with_the_last_run_on_task_and_seed(store):
    ran(store, "run:a", "old", "first")
    ran(store, "run:b", "other", "second")
    digest = ["ab" * 32]
    withdrawal.withdraw_run(store, "run:a")
    assert ("task:pets", 0) in store.seen(digest)
    withdrawal.withdraw_run(store, "run:b")
    assert store.seen(digest) == {}


@pytest.mark.parametrize("stage", ["remove_runs", "put_neighbours"])
def test_an_interrupted_removal_is_completed_by_the_same_command(store, monkeypatch, stage):
    before = content(store)
    ran(store, "run:a", "old", "child")

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store, stage, killed)
        with pytest.raises(KeyboardInterrupt):
            withdrawal.withdraw_run(store, "run:a")
    done = withdrawal.withdraw_run(store, "run:a")
    assert done.runs == (("run:a",) if stage == "remove_runs" else ())
    assert content(store) == before
    assert withdrawal.withdraw_run(store, "run:a").runs == ()


def test_a_removal_that_the_registry_refuses_leaves_all_of_it(store):
    ran(store, "run:a", "old", "child")
    full = content(store)
    store.db.execute("CREATE TRIGGER no BEFORE DELETE ON runs BEGIN SELECT RAISE(ABORT, 'refused'); END")
    with pytest.raises(Exception, match="refused"):
        withdrawal.withdraw_run(store, "run:a")
    assert content(store) == full


def test_a_run_that_is_not_there_is_an_error(store):
    ran(store, "run:aa", "old", None)
    ran(store, "run:ab", "old", None)
    store.put_edges([edge("transfer", "dir:old", "task:pets", "race:1", metric="accuracy")])
    with pytest.raises(NotFoundError, match="no run 'run:x' among 2 runs"):
        withdrawal.withdraw_run(store, "run:x")
    with pytest.raises(NotFoundError, match="names 2 runs: run:aa, run:ab; give the whole id"):
        withdrawal.withdraw_run(store, "run:a")
    with pytest.raises(NotFoundError, match="a trial, not a training run"):
        withdrawal.withdraw_run(store, "race:1")


# Measured results


@pytest.fixture
def imported(store, tmp_path):
    """Results of an expert that is here and of two known by name only, from two files."""
    for name, rows in (
        ("first.csv", "old,pets,accuracy,.5\nx,pets,accuracy,.6\nx,cars,accuracy,.7\nx,cars,f1,.7\n"),
        ("second.csv", "y,cars,accuracy,.1\ny,boats,accuracy,.2\n"),
    ):
        (tmp_path / name).write_text(f"expert,task,metric,value\n{rows}")
        import_history(store, tmp_path / name, HistoryOptions())
    return store


@pytest.mark.parametrize(
    ("which", "left", "experts", "tasks"),
    [
        ({"origin": "second.csv"}, 4, ["y"], ["boats"]),
        ({"origin": "first.csv"}, 2, ["x"], []),
        ({"expert": "meta:x", "metric": "f1"}, 5, [], []),
        ({"expert": "meta:x", "task": "task:meta:cars"}, 4, [], []),
        ({"task": "task:meta:cars"}, 3, [], ["cars"]),
        ({"method": "imported"}, 0, ["x", "y"], ["boats", "cars"]),
    ],
)
def test_results_go_by_what_they_are_of_and_names_with_the_last(imported, which, left, experts, tasks):
    before = content(imported)
    would = withdrawal.withdraw_results(imported, **which, dry_run=True)
    assert content(imported) == before
    done = withdrawal.withdraw_results(imported, **which)
    assert dataclasses.replace(would, dry_run=False) == done
    assert len(imported.edges("transfer")) == left == 6 - len(done.results)
    assert sorted(e.name for e in done.experts) == experts
    assert sorted(done.tasks) == tasks
    assert {e.name for e in imported.experts()} == {"old", "other", "x", "y"} - set(experts)
    assert {t.name for t in imported.tasks()} == {"pets", "birds", "cars", "boats"} - set(tasks)
    assert imported.events()[-1]["kind"] == "history rm"


def test_a_name_that_something_else_is_known_of_stays(imported, tmp_path):
    imported.put_covariates("meta:y", {"params": 1.0}, "card")
    done = withdrawal.withdraw_results(imported, origin="second.csv")
    assert (done.experts, done.tasks) == ((), ("boats",))
    again = import_history(imported, tmp_path / "second.csv", HistoryOptions())
    assert (again.added, again.new_tasks) == (2, ("boats",))


def test_without_a_condition_or_a_result_nothing_goes(imported):
    with pytest.raises(InvalidInputError, match="say which results"):
        withdrawal.withdraw_results(imported)
    with pytest.raises(NotFoundError, match="no measured result meets"):
        withdrawal.withdraw_results(imported, origin="third.csv")
    assert len(imported.edges("transfer")) == 6


@pytest.mark.slow
def test_an_answer_is_what_it_was_before_a_run_that_was_taken_back(workspace, tmp_path):
    """The run is real: its child, result, lineage and items go, and the same command records it again."""
    images = materials.pictures(tmp_path / "images", 3, 10)
    other = materials.pictures(tmp_path / "other", 2, 12)
    ask = ("query", images, "--budget", 4, "--json")
    invoke("query", other, "--budget", 4).worked()

    def answer():
        found = invoke(*ask).worked().json
        return {k: v for k, v in found.items() if k not in ("seconds", "experts_run")}

    answer()
    before, experts = answer(), invoke("ls", "-q").worked().lines
    options = ("--expert", "emoji", "--epochs", 2, "--no-augment", "--json")
    start = ("warm-start", other, *options, "--out", "out")
    run = invoke(*start).worked().json
    child = invoke("show", run["child"], "--json").worked().json["short"]
    assert invoke("ls", "-q").worked().lines == [*experts, run["child"]]
    # The folder of the run, in another way of writing it.
    done = invoke("runs", "rm", Path("..") / Path.cwd().name / "out").worked()
    assert done.lines == [f"removed: 1 run, 1 result, expert {child}"]
    assert answer() == before
    assert invoke("ls", "-q").worked().lines == experts
    assert invoke("runs", "--json").worked().json == []
    assert invoke("runs", "rm", run["run"]).worked().lines == ["it was removed before"]
    assert (workspace / "out" / "model").is_dir()
    assert invoke(*start).worked().json["run"] == run["run"]
    invoke("history", "rm").failed("say which results to take back, by one or more of --task, --expert")
    gone = invoke("history", "rm", "--origin", run["run"], "--json").worked().json
    assert (gone["results"], gone["runs"], gone["experts"]) == (1, [], [])
    assert len(invoke("runs", "-q").worked().lines) == 1


def test_the_child_of_a_run_that_was_recorded_again_goes_too(store):
    """Reading a finished run back registers its child before the run is noted."""
    ran(store, "run:a", "old", "child")
    told = "created_at = '2026', locator = '/runs/run:a/model'"
    store.db.execute(f"UPDATE experts SET {told} WHERE id = 'dir:child'")
    assert [e.name for e in withdrawal.withdraw_run(store, "run:a").experts] == ["child"]
