"""What a killed process had begun is finished by the next who writes; verbs side by side do no harm."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess

import pytest

from expertise_graph import ExpertiseError, Workspace
from expertise_graph.core import process_name
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
