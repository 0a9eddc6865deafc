"""What a killed process had begun is finished by the next who writes; verbs side by side do no harm."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess

import pytest

from expertise_graph import ExpertiseError, Workspace
from expertise_graph.core import process_name
from expertise_graph.training import TrainConfig
from tests import materials, mounts
from tests.compat import material
from tests.kills import kill_when, pending
from tests.program import environment, invoke, program
from tests.registry.test_neighbours import assert_right

needs_mounts = pytest.mark.skipif(not mounts.possible(), reason="mounts are not allowed here")


@pytest.mark.slow
def test_a_delta_that_was_applied_and_not_registered_is_registered_by_the_next(blank, tmp_path):
    invoke("register", f"dir:{material.EXPERTS / 'half'}").worked()
    out = blank / "applied"
    line = ("--workspace", blank, "delta", "apply", "half", material.DELTAS / "one.delta.safetensors")
    hit = kill_when((out / "run.json").exists, program(*line, "--out", out), tmp_path)
    other = materials.resnet(tmp_path / "other", 5)
    said = invoke("register", f"dir:{other}").worked().err
    assert not hit or f"the model in {out} is registered as half-delta@" in said
    with Workspace() as opened:
        (child,) = [e for e in opened.experts() if e.name == "half-delta"]
        (edge,) = [e for e in opened.store.edges("lineage", child.id) if e.target == child.id]
        assert edge.method == "delta"
        assert opened.store.abandoned() == []
        assert_right(opened)


@pytest.mark.slow
def test_a_probe_set_that_was_killed_is_embedded_by_the_next_query(blank, tmp_path):
    models = [materials.resnet(tmp_path / f"m{i}", i) for i in range(4)]
    invoke("register", *(f"dir:{m}" for m in models)).worked()
    data = materials.pictures(tmp_path / "data", 4, 8)
    words = program("--workspace", blank, "probe", "create", data, "--name", "new", "-n", "24")
    hit = kill_when(lambda: bool(pending(blank)), words, tmp_path)
    asked = invoke("query", data, "--budget", "2").worked()
    assert not hit or "experts embedded on the probe set new" in asked.err
    with Workspace() as opened:
        assert [p.experts for p in opened.probe_sets() if p.current and p.probe_set.name == "new"] == [4]
        assert len(opened.similar("m0")) == 3
        assert_right(opened)


def trained(folder, data, *options):
    """Return a finished run, and what was noted to be recorded of it while it was trained."""
    noted = {}

    def report(step):
        with contextlib.closing(sqlite3.connect(folder / "registry.db")) as db:
            noted.update(db.execute("SELECT subject, detail FROM pending WHERE kind = 'training'").fetchall())

    with Workspace(folder) as opened:
        config = TrainConfig(epochs=1, strategy="norm-only")
        done = opened.warm_start(data, "out", expert="emoji", config=config, report=report, **dict(options))
        assert opened.store.abandoned() == []
    return done, json.loads(noted[done.run])


def forgotten(folder, done, detail):
    """Make the registry that of a process that was killed before it recorded a run."""
    with Workspace(folder) as opened:
        opened.store.remove_runs([done.run], [done.child])
        opened.store.put_pending("training", done.run, detail)
        opened.store.release("training", done.run)
        assert opened.runs() == []


def recorded(opened, done, digests):
    """Return what the registry knows of the only run."""
    (run,), store = opened.runs(), opened.store
    edges = [
        (e.kind, e.source, e.target, e.weight, e.method, e.n, e.meta)
        for e in (*store.edges("transfer"), *store.edges("lineage"))
    ]
    child, seen = store.known_expert(done.child), store.seen(digests)[done.task, 0].sum()
    known = (child.name, child.datasets, child.tags, child.base_model)
    return (run.id, run.child, run.status, run.result), edges, known, seen


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.slow
def test_a_run_that_was_trained_and_not_recorded_is_recorded_by_the_next(workspace, tmp_path, cold):
    data = materials.pictures(tmp_path / "data", 3, 6)
    done, detail = trained(workspace, data, ("compare_cold", cold))
    with Workspace() as opened:
        test = [opened.read(data).digests[i] for i in range(18)]
        before = recorded(opened, done, test)
    forgotten(workspace, done, detail)
    said = invoke("rm", "clipart").worked().err.splitlines()[0]
    assert f"what was begun: the run in {workspace / 'out'} is recorded with data-from-emoji@" in said
    with Workspace() as opened:
        assert recorded(opened, done, test) == before
        assert opened.store.abandoned() == []
        assert_right(opened)


@pytest.mark.slow
def test_what_was_not_trained_to_its_end_is_left_to_its_own_command(workspace, tmp_path):
    data = materials.pictures(tmp_path / "data", 3, 6)
    done, detail = trained(workspace, data, ("compare_cold", True))
    forgotten(workspace, done, detail)
    materials.change_json(workspace / "out" / "cold" / "run.json", result=None)
    assert invoke("rm", "clipart").worked().err.startswith("removed clipart@")
    assert pending(workspace) == []
    with Workspace() as opened:
        assert opened.runs() == []


def test_a_run_that_is_taken_back_is_not_finished_any_more(workspace, tmp_path):
    data = materials.pictures(tmp_path / "data", 3, 6)
    done, detail = trained(workspace, data)
    with Workspace() as opened:
        opened.store.put_pending("training", done.run, detail)
        opened.store.release("training", done.run)
    invoke("runs", "rm", done.run).worked()
    assert pending(workspace) == []
    assert invoke("rm", "clipart").worked().err.startswith("removed clipart@")


@pytest.mark.slow
def test_a_warm_start_that_was_killed_when_it_was_trained_is_recorded_by_the_next(workspace, tmp_path):
    data, out = materials.pictures(tmp_path / "data", 3, 6), tmp_path / "out"
    words = ("warm-start", data, "--expert", "emoji", "--epochs", 1, "--strategy", "full", "--out", out)

    def finished():
        with contextlib.suppress(OSError, ValueError):
            return json.loads((out / "run.json").read_text())["result"] is not None

    hit = kill_when(finished, program("--workspace", workspace, *words), tmp_path)
    said = invoke("rm", "clipart").worked().err
    assert not hit or f"the run in {out} is recorded with" in said
    with Workspace() as opened:
        (run,) = opened.runs()
        assert (run.status, run.child in {e.id for e in opened.experts()}) == ("done", True)
        assert_right(opened)


@pytest.mark.slow
def test_a_run_that_is_under_way_and_its_expert_stay(workspace, tmp_path):
    data = materials.pictures(tmp_path / "data", 3, 6)
    said = []

    def report(step):
        if not said:
            with Workspace() as other:
                (run,) = other.runs()
                for words in (["runs", "rm", run.id], ["rm", "clipart", "emoji"]):
                    said.append(invoke(*words))
                assert len(other.experts()) == 6

    with Workspace() as opened:
        config = TrainConfig(epochs=1, strategy="norm-only")
        opened.warm_start(data, "out", expert="emoji", config=config, report=report)
    for done, what in zip(said, ("run:", "emoji@"), strict=True):
        done.failed(what, f"{workspace / 'out'}", f"is in use by process {os.getpid()} on ")
    assert invoke("rm", "emoji").worked().err.startswith("removed emoji@")
    assert "1 run" in invoke("runs", "rm", "out").worked().out


@pytest.mark.slow
@needs_mounts
def test_a_probe_set_for_which_the_disk_was_full_is_finished_later(blank, tmp_path):
    models = [materials.resnet(tmp_path / f"m{i}", i) for i in range(3)]
    invoke("register", *(f"dir:{m}" for m in models)).worked()
    data = materials.pictures(tmp_path / "data", 4, 8)
    for room in (0, 30_000, 120_000):
        shutil.copytree(blank, tmp_path / f"w{room}")
        folder = tmp_path / f"w{room}"
        words = program("--workspace", folder, "probe", "create", data, "--name", "new", "-n", "24")
        done = mounts.full(folder, words, cwd=tmp_path, room=room)
        assert "Traceback" not in done.err
        assert "backup" not in done.err
        if done.code:
            assert "No space left on device" in done.err or "disk is full" in done.err
            invoke("--workspace", folder, "query", data, "--budget", "1").worked()
        with Workspace(folder) as opened:
            current = [p for p in opened.probe_sets() if p.current and p.probe_set.modality == "image"]
            assert [p.experts for p in current] == [3]
            assert_right(opened)


def test_rm_can_be_run_again(workspace):
    invoke("rm", "emoji").worked()
    again = invoke("rm", "emoji", "clipart").worked()
    assert again.err.splitlines()[0] == "emoji was removed before"
    assert "removed clipart@" in again.err
    invoke("rm", "zoo:emoji@resnet").worked()
    for text in ("latin-l", "latin-l"):
        invoke("rm", text).worked()
    invoke("rm", "").failed("names")
    invoke("rm", "hebrew-letters", "languages", "typo").failed("no expert 'typo'")
    assert "removed hebrew-letters@" in invoke("rm", "hebrew-letters", "hebrew-letters").worked().err
    invoke("rm", "never-there").failed("no expert 'never-there'")
    invoke("register", "zoo:emoji").worked()
    assert "removed emoji@" in invoke("rm", "emoji").worked().err
    with Workspace() as opened:
        assert_right(opened)


def test_leftovers_of_killed_writers_are_swept(workspace):
    features = next((workspace / "embeddings" / "features").iterdir())
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    machine = process_name().split("-")[0]
    dead = features / f".x.{machine}-{gone.pid}-{'0' * 32}.tmp.safetensors"
    live = features / f".x.{machine}-{os.getppid()}-{'0' * 32}.tmp.safetensors"
    for path in (dead, live):
        path.write_bytes(b"half")
    invoke("rm", "emoji").worked()
    assert (dead.exists(), live.exists()) == (False, True)


# Verbs side by side: a callback that long work makes acts as the other process


def beside(action):
    """Return a progress callback that lets another process act once, in the middle of the work."""
    done = []

    def progress(label, step, total):
        if not done:
            done.append(label)
            action()

    return progress


def test_an_expert_registered_while_a_probe_set_is_made_has_an_embedding_on_it(blank, tmp_path):
    model = materials.resnet(tmp_path / "m0", 1)
    data = materials.pictures(tmp_path / "data", 4, 8)
    other = Workspace(blank)

    def create():
        other.create_probe_set(data, name="new", n=24, seed=0, license="mit")

    with Workspace(blank, progress=beside(create)) as opened:
        opened.register(f"dir:{model}")
        assert [p.experts for p in opened.probe_sets() if p.current and p.probe_set.name == "new"] == [1]
        assert_right(opened)
    other.close()


def test_an_expert_removed_while_a_probe_set_is_made_leaves_no_vector(blank, tmp_path):
    models = [materials.resnet(tmp_path / f"m{i}", i) for i in range(3)]
    data = materials.pictures(tmp_path / "data", 4, 8)
    invoke("register", *(f"dir:{m}" for m in models)).worked()
    other = Workspace(blank)
    with Workspace(blank, progress=beside(lambda: other.remove("m0"))) as opened:
        opened.create_probe_set(data, name="new", n=24, seed=0, license="mit")
        assert [p.experts for p in opened.probe_sets() if p.probe_set.name == "new"] == [2]
        assert_right(opened)
    other.close()


@pytest.mark.slow
@pytest.mark.parametrize("names", [("m0",), ("m0", "m1"), ("m0", "m1", "m2", "m3")])
def test_a_query_while_experts_are_removed_answers_or_says_why(blank, tmp_path, names):
    models = [materials.resnet(tmp_path / f"m{i}", i) for i in range(4)]
    data = materials.pictures(tmp_path / "data", 4, 8)
    invoke("register", *(f"dir:{m}" for m in models)).worked()
    other = Workspace(blank)

    def remove():
        for name in names:
            other.remove(name)

    with Workspace(blank, progress=beside(remove)) as opened:
        with contextlib.suppress(ExpertiseError):
            assert opened.query(data).candidates
        assert len(opened.experts()) == 4 - len(names)
        assert_right(opened)
    other.close()


@pytest.mark.slow
def test_registering_removing_and_asking_at_once_ends_in_a_sound_graph(blank, tmp_path):
    models = [materials.resnet(tmp_path / f"m{i}", i) for i in range(4)]
    data = materials.pictures(tmp_path / "data", 3, 8)
    invoke("register", *(f"dir:{m}" for m in models)).worked()
    script = (
        "import sys, json\n"
        "from tests.program import invoke\n"
        "w, *words = json.loads(sys.argv[1])\n"
        "for _ in range(3):\n"
        "    for line in words:\n"
        "        done = invoke('--workspace', w, *line)\n"
        "        assert done.code in (0, 1), done\n"
        "        assert len([x for x in done.err.splitlines() if x.startswith('Error')]) == done.code, done\n"
    )
    lines = [
        [["rm", "m0", "m1"], ["register", f"dir:{models[0]}", f"dir:{models[1]}"]],
        [["query", str(data), "--budget", "2", "--seed", "1"], ["similar", "m2"], ["query", str(data)]],
        [["ls"], ["show", "m1"], ["similar", "m1"], ["query", str(data), "--budget", "1"]],
    ]
    workers = [
        subprocess.Popen(
            [program()[0], "-c", script, json.dumps([str(blank), *words])],
            cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE, text=True,
        )
        for words in lines
    ]  # fmt: skip
    for worker in workers:
        error = worker.communicate(timeout=240)[1]
        assert worker.returncode == 0, error[-2000:]
    invoke("register", *(f"dir:{m}" for m in models)).worked()
    with Workspace() as opened:
        assert_right(opened)
        assert len(opened.similar("m0")) == 3
