"""Kill -9 and Ctrl-C: what was reported is there, the same command completes, nothing piles up."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from expertise_graph.workspace import Workspace
from tests import materials
from tests.hub_server import HubServer
from tests.program import environment, invoke
from tests.registry.test_neighbours import assert_right

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

QUICK = ("--expert", "m0", "--epochs", "4", "--batch-size", "8", "--json")


def drill(folder, commands, seed, cwd, more=None):
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"seed": seed, "commands": commands}))
    done = subprocess.run(
        [sys.executable, "-m", "tests.drill", str(plan)],
        cwd=cwd,
        env=environment(folder, more or {}),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_sound(workspace, experts):
    db = sqlite3.connect(workspace / "registry.db")
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    db.close()
    with Workspace(workspace) as opened:
        assert {e.name for e in opened.experts()} == experts
        assert_right(opened)
    leftovers = [p for p in workspace.rglob("*") if ".tmp" in p.suffixes or p.name.startswith(".")]
    assert len(leftovers) <= 3, leftovers


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "seed"), [(20, 2)])
def test_register_survives_kills(blank, tmp_path, kills, seed):
    models = [materials.resnet(tmp_path / f"m{i}", i, noise=0.5 + i / 10) for i in range(1, 7)]
    rehearsal = tmp_path / "rehearsal"
    shutil.copytree(blank, rehearsal)
    names = [f"dir:{m}" for m in models]
    command = {
        "rehearsal": ["--workspace", str(rehearsal), "register", *names],
        "arguments": ["--workspace", str(blank), "register", *names],
        "reset": [["--workspace", str(blank), "rm", *(m.name for m in models)]],
        "forget": [str(blank / "embeddings" / "features")],
        "kills": kills,
    }
    done = drill(tmp_path, [command], seed, blank)
    assert done["hits"] >= kills // 4
    assert_sound(blank, {m.name for m in models})
    with Workspace(blank) as killed, Workspace(rehearsal) as whole:
        pairs = [
            {(e.source, e.target): e.weight for e in w.store.edges("similarity")} for w in (killed, whole)
        ]
    assert pairs[0].keys() == pairs[1].keys()
    assert pairs[0] == pytest.approx(pairs[1])


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "seed"), [(4, 3)])
def test_models_of_the_hub_survive_kills_of_import_probing_and_fetching(blank, tmp_path, kills, seed):
    root, names = tmp_path / "root", [f"m{i}" for i in range(4)]
    for i, name in enumerate(names):
        folder = materials.resnet(root / "models" / "acme" / name, i + 1)
        (folder / "README.md").write_text("---\npipeline_tag: image-classification\nlicense: mit\n---\n")
    rehearsal, data = tmp_path / "rehearsal", str(materials.pictures(tmp_path / "data", 3, 8))
    shutil.copytree(blank, rehearsal)
    find = ["register", "--hub-search", "acme", "--metadata-only"]
    probe = ["probe", "--missing"]
    fetch = ["query", data, "--fetch", "4", "--no-fits", "--json"]
    known = [f"hf:acme/{name}" for name in names]
    cache = str(tmp_path / "hf")

    def command(words, reset, forget=()):
        places = {"rehearsal": str(rehearsal), "arguments": str(blank)}
        lines = {key: ["--workspace", place, *words] for key, place in places.items()}
        lines["reset"] = [["--workspace", str(blank), *line] for line in reset]
        return {**lines, "forget": [cache, str(blank / "embeddings" / "features"), *forget], "kills": kills}

    with HubServer(root) as hub:
        commands = [
            command(find, [["rm", *known]]),
            command(probe, [["rm", *names], find]),
            command(["rm", *names], [find, probe]),
            command(find, [["rm", *known]]),
            command(fetch, [["rm", *names], find]),
            # A query may find that it need not fetch all.
            {**command(probe, []), "kills": 0},
        ]
        done = drill(tmp_path, commands, seed, blank, hub.environment(tmp_path / "hf"))
    assert done["hits"] >= kills
    with contextlib.closing(sqlite3.connect(blank / "registry.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    with Workspace(blank) as killed, Workspace(rehearsal) as whole:
        pins = {e.name: e.revision for e in killed.experts()}
        assert pins == {n: hub.commit(f"models/acme/{n}") for n in names}
        assert killed.store.unavailable() == {}
        pairs = [
            {(e.source, e.target): e.weight for e in w.store.edges("similarity")} for w in (killed, whole)
        ]
    assert pairs[0] == pytest.approx(pairs[1])


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "seed"), [(15, 2)])
def test_a_warm_start_survives_kills(blank, tmp_path, kills, seed):
    model = materials.resnet(tmp_path / "m0", 1)
    rehearsal = tmp_path / "rehearsal"
    data = str(materials.pictures(tmp_path / "data", 4, 8))
    with Workspace() as opened:
        opened.register(f"dir:{model}")
    shutil.copytree(blank, rehearsal)
    command = {
        "rehearsal": [
            "--workspace",
            str(rehearsal),
            "warm-start",
            data,
            "--out",
            str(rehearsal / "out"),
            *QUICK,
        ],
        "arguments": ["--workspace", str(blank), "warm-start", data, "--out", str(blank / "out"), *QUICK],
        "reset": [],
        "forget": [str(blank / "out")],
        "kills": kills,
    }
    done = drill(tmp_path, [command], seed, blank)
    assert done["hits"] >= kills // 4
    result = json.loads(done["said"])
    assert_sound(blank, {"m0", "data-from-m0"})
    with Workspace(blank) as opened:
        (run,) = opened.runs()
        assert (run.status, run.child) == ("done", result["child"])
        (transfer,) = opened.store.edges("transfer")
        (lineage,) = opened.store.edges("lineage")
    assert (transfer.weight, transfer.run) == (result["accuracy"], run.id)
    assert lineage.target == result["child"]
    with Workspace(rehearsal) as opened:
        (whole,) = opened.store.edges("transfer")
        assert opened.runs()[0].child == result["child"], "resumed weights are the uninterrupted ones"
    assert whole.weight == transfer.weight
    assert not list((blank / "out").rglob("checkpoint*"))


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "seed"), [(20, 2)])
def test_taking_a_run_back_survives_kills(blank, tmp_path, kills, seed):
    models = [materials.resnet(tmp_path / f"m{i}", i, noise=0.5 + i / 10) for i in range(3)]
    data = str(materials.pictures(tmp_path / "data", 4, 8))
    start = ["--workspace", str(blank), "warm-start", data, "--out", str(blank / "out"), *QUICK]
    with Workspace() as opened:
        for model in models:
            opened.register(f"dir:{model}")
        before = opened.store.neighbours(opened.probe_sets()[-1].probe_set.id)
    invoke(*start).worked()
    rehearsal = tmp_path / "rehearsal"
    shutil.copytree(blank, rehearsal)
    take_back = ["runs", "rm", str(blank / "out")]
    command = {
        "rehearsal": ["--workspace", str(rehearsal), *take_back],
        "arguments": ["--workspace", str(blank), *take_back],
        # The folder stays, so the same command records the run again.
        "reset": [start],
        "forget": [],
        "kills": kills,
    }
    done = drill(tmp_path, [command], seed, blank)
    assert done["hits"] >= kills // 4
    assert_sound(blank, {m.name for m in models})
    with Workspace(blank) as opened:
        assert opened.runs() == []
        assert [e for e in opened.store.edges() if e.kind != "similarity"] == []
        assert opened.store.neighbours(opened.probe_sets()[-1].probe_set.id) == before
    assert (blank / "out" / "run.json").is_file()


@pytest.mark.slow
def test_nothing_that_was_reported_is_lost(blank, tmp_path):
    """Each line of the program's output is on disk at the moment it can be read."""
    model = materials.resnet(tmp_path / "m0", 1)
    command = [sys.executable, "-m", "expertise_graph", "register", f"dir:{model}", "-q"]
    options = {"cwd": blank, "env": environment(tmp_path), "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **options) as child:
        reported = child.stdout.readline().strip()
        child.kill()
    with Workspace() as opened:
        assert [e.id for e in opened.experts()] == [reported]


@pytest.mark.slow
def test_ctrl_c_is_130_and_the_same_command_goes_on(blank, tmp_path):
    model = materials.resnet(tmp_path / "m0", 1)
    data = str(materials.pictures(tmp_path / "data", 4, 8))
    with Workspace() as opened:
        opened.register(f"dir:{model}")
    arguments = ["warm-start", data, "--out", "out", "--expert", "m0", "--batch-size", "1", "--json"]
    command = [sys.executable, "-m", "expertise_graph", *arguments, "--epochs", "40"]
    child = subprocess.Popen(
        command,
        cwd=blank,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 100
    while not list((blank / "out").glob("checkpoint/epoch-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
        assert child.poll() is None, child.stderr.read()
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert out == ""
    said = "interrupted; finished work is kept: re-run the same command to resume"
    assert err.splitlines()[1:] == [said]  # the first says what was read
    with Workspace() as opened:
        (run,) = opened.runs()
        assert run.status == "interrupted"
        assert opened.store.edges("transfer") == []
        assert {e.name for e in opened.experts()} == {"m0"}
    assert list((blank / "out").glob("checkpoint/epoch-*"))
    result = invoke(*arguments, "--epochs", 40).worked().json
    with Workspace() as opened:
        assert [(r.id, r.status) for r in opened.runs()] == [(run.id, "done")]
        (transfer,) = opened.store.edges("transfer")
    assert (transfer.run, transfer.weight) == (result["run"], result["accuracy"])
