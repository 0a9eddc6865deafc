"""No command writes over what is there: not into a workspace, not over your files, not over a live run."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from expertise_graph import InvalidInputError, Workspace
from expertise_graph.core import check_output
from expertise_graph.models import RunFolder
from tests import materials
from tests.compat import material
from tests.program import environment, invoke, program

QUICK = ("--expert", "emoji", "--epochs", "1", "--json")


@pytest.fixture
def letters(tmp_path):
    return materials.pictures(tmp_path / "letters", 3, 8)


def everything(folder):
    """Return the content of all files."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


PLACES = (
    "registry.db",
    "REGISTRY.DB",
    "registry.db-wal",
    "embeddings/new.json",
    "embeddings/probes/x.json",
    "linked/registry.db",
    "hard.json",
)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_nothing_is_written_into_a_workspace(workspace, place, force):
    (workspace / "linked").symlink_to(workspace, target_is_directory=True)
    os.link(workspace / "registry.db", workspace / "hard.json")
    before = everything(workspace)
    invoke("export", "--format", "json", place, *force).failed(
        "is part of a workspace", "choose another path"
    )
    assert everything(workspace) == before


def test_no_option_that_takes_a_path_writes_into_a_workspace(workspace, letters):
    """Every command with an output, each refused before it does anything."""
    db, arrays = "registry.db", "embeddings/out"
    run, other, adapter = (material.run(name, workspace / "copies") for name in ("one", "two", "lora"))
    delta = material.DELTAS / "digits-ac14527.delta.safetensors"
    invoke("register", "zoo:digits-in-fonts").worked()
    results = [f"{e},{t},{k / 10}" for k, (e, t) in enumerate(itertools.product("abc", "xyz"))]
    table = "\n".join(["expert,task,value", *results])
    invoke("history", "import", "-", "--metric", "accuracy", "--modality", "image", stdin=table).worked()
    before = everything(workspace)
    for command in (
        ("warm-start", letters, "--out", "o", *QUICK, "--save-config", db),
        ("warm-start", letters, "--out", arrays, *QUICK),
        ("warm-start", letters, "--out", "embeddings", *QUICK, "--force"),
        ("auto", letters, "--out", arrays, "--time-budget", "5s"),
        ("auto", letters, "--out", arrays, "--time-budget", "5s", "--force"),
        ("evaluate", run, material.LETTERS, "--plot", db),
        ("evaluate", run, material.LETTERS, "--plot", f"{arrays}.png", "--force"),
        ("check", letters, "--out", db),
        ("check", letters, "--out", "embeddings/report.html"),
        ("export", run, "--format", "torch-export", "--out", "embeddings/m.pt2"),
        ("delta", "make", run, "--parent", "emoji", "--out", "embeddings/d.safetensors"),
        ("merge", run, other, "--data", material.LETTERS, "--out", arrays, "--force"),
        ("fold", adapter, "--out", arrays),
        ("delta", "apply", "digits-in-fonts", delta, "--out", arrays),
        ("backtest", "--predictions", arrays),
        ("backtest", "--predictions", "embeddings"),
        ("demo", "--out", arrays),
    ):
        done = invoke(*command)
        done.failed("is part of a workspace")
    changed = {p for p, content in everything(workspace).items() if before.get(p) != content}
    assert {str(p) for p in changed} <= {"registry.db-shm", "registry.db-wal"}


@pytest.mark.slow
def test_a_file_that_is_there_is_kept_unless_it_is_to_be_replaced(workspace, tmp_path, letters):
    mine = tmp_path / "mine.json"
    mine.write_text("years of work")
    invoke("export", mine).failed("exists already", "--force")
    assert mine.read_text() == "years of work"
    invoke("export", mine, "--force").worked()
    assert json.loads(mine.read_text())["nodes"]
    config = tmp_path / "config.yaml"
    config.write_text("epochs: 9 # tuned for weeks\n")
    line = ("warm-start", letters, "--out", "out", *QUICK, "--save-config", config)
    invoke(*line).failed("exists already", "--force")
    assert "tuned for weeks" in config.read_text()
    assert not (workspace / "out").exists()
    config.unlink()
    invoke(*line).worked()
    invoke(*line).worked()  # the same content again is no harm


@pytest.mark.parametrize("place", ["fifo", "folder", "link", "dangling", "missing/file.json"])
def test_what_is_no_file_is_never_replaced(tmp_path, place):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "target").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for force in (None, False, True):
        with pytest.raises(InvalidInputError):
            check_output(tmp_path / place, force=force)
    assert (tmp_path / "target").read_text() == "x"


def test_a_description_beside_a_model_is_a_file_too(workspace, tmp_path):
    pytest.importorskip("torch.export")
    run = material.run("first", tmp_path)
    (tmp_path / "m.pt2.json").write_text("mine")
    command = ("export", run, "--format", "torch-export", "--out", tmp_path / "m.pt2")
    invoke(*command).failed("m.pt2.json exists already", "--force")
    assert (tmp_path / "m.pt2.json").read_text() == "mine"


def test_what_lies_beside_a_report_is_not_taken_for_its_own(workspace, tmp_path, letters):
    (tmp_path / "report-worst.png").write_text("mine")
    invoke("check", letters, "--out", tmp_path / "report.html").failed("report-worst.png exists already")
    assert (tmp_path / "report-worst.png").read_text() == "mine"


def test_the_demo_takes_no_folder_with_other_files(tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    invoke("demo", "--out", tmp_path).failed("holds other files (thesis.txt)")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


# --force removes what a run of ours wrote, and nothing else


def test_force_deletes_nothing_of_a_folder_that_holds_some_run_json(workspace, letters):
    project = workspace / "project"
    for name in ("README.md", "model/weights.bin", "checkpoint/best.pt", "history.json", "src/train.py"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("mine")
    for record in ('{"id": 3}', '{"identity": {}, "result": null}', '{"identity": {"a": 1}, "result": {}}'):
        (project / "run.json").write_text(record)
        before = everything(project)
        for out in (project, "project"):
            invoke("warm-start", letters, "--out", out, *QUICK, "--force").failed("project")
        searched = invoke("auto", letters, "--out", project, "--time-budget", "5s", "--force")
        searched.failed("nothing was removed")
        assert everything(project) == before


def test_force_in_the_workspace_itself_removes_nothing(workspace, letters):
    (workspace / "README.md").write_text("mine")
    (workspace / "run.json").write_text('{"identity": {"config": {}}, "result": null}')
    before = everything(workspace)
    done = invoke("warm-start", letters, "--out", ".", *QUICK, "--force")
    done.failed("holds files that its run did not write", "README.md")
    after = everything(workspace)
    assert all(after[p] == content for p, content in before.items() if "registry" not in p.name)


@pytest.mark.parametrize("change", ["notes.txt", "model/notes.txt", "README.md", "model/link"])
@pytest.mark.slow
def test_a_file_that_came_since_keeps_the_folder(workspace, letters, change):
    line = ("warm-start", letters, "--out", "out", *QUICK)
    invoke(*line).worked()
    path = workspace / "out" / change
    if change.endswith("link"):
        path.symlink_to(workspace / "registry.db")
    else:
        path.write_text((path.read_text() if path.exists() else "") + "mine")
    before = everything(workspace / "out")
    invoke(*line, "--seed", "1", "--force").failed("did not write", change, "nothing was removed")
    assert everything(workspace / "out") == before
    path.unlink()
    if change == "README.md":
        return
    assert invoke(*line, "--seed", "1", "--force").worked().json["seed"] == 1


@pytest.mark.slow
def test_force_replaces_a_run_with_all_that_belongs_to_it(workspace, letters):
    line = ("warm-start", letters, "--out", "out", *QUICK, "--compare-cold")
    invoke(*line).worked()
    listed = json.loads((workspace / "out" / "run.json").read_text())["files"]
    assert {"README.md", "head.safetensors", "model/model.safetensors"} <= set(listed)
    RunFolder(workspace / "out").discard()
    assert list((workspace / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["first", "first-40f6ef3", "cold", "auto", "stopped", "merged", "lora"])
def test_runs_of_earlier_versions_are_removed_whole(tmp_path, name):
    folder = material.run(name, tmp_path)
    also = ("auto.json", "report.md") if name == "auto" else ()
    RunFolder(folder).discard(also=also)
    assert {p.name for p in folder.iterdir()} == set(also)


def test_a_readme_of_yours_in_a_run_of_an_earlier_version_stays(tmp_path):
    folder = material.run("first", tmp_path)
    (folder / "README.md").write_text("# My project\n")
    before = everything(folder)
    with pytest.raises(InvalidInputError, match=r"README\.md"):
        RunFolder(folder).discard()
    assert everything(folder) == before


# One process at a time in a folder


@pytest.mark.slow
def test_a_second_run_in_a_folder_and_force_on_a_live_one_are_refused(workspace, tmp_path, letters):
    line = ("--workspace", workspace, "warm-start", letters, "--out", workspace / "out", "--expert", "emoji")
    slow = program(*line, "--epochs", "400", "--batch-size", "1", "--lr", "1e-9", "--json")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(slow, cwd=tmp_path, env=environment(tmp_path), **pipes) as first:
        deadline = time.monotonic() + 100
        while not list((workspace / "out").glob("checkpoint/epoch-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
            assert first.poll() is None, first.stderr.read()
        for more in ((), ("--force",), ("--seed", "1", "--force")):
            done = invoke(*line, *more)
            done.failed(f"is in use by process {first.pid} on ", "try again when it is done")
        search = ("auto", letters, "--out", workspace / "out", "--time-budget", "5s", "--force")
        invoke("--workspace", workspace, *search).failed("is in use by process")
        first.send_signal(signal.SIGKILL)
    assert list((workspace / "out").glob("checkpoint/epoch-*")), "nothing of the first was removed"
    # A killed one holds nothing.
    assert invoke(*line, "--epochs", "1", "--force", "--json").worked().json["epochs"] <= 1
    assert not (workspace / "out" / ".run.lock").exists()


@pytest.mark.slow
def test_a_lock_of_another_machine_is_no_hindrance_on_a_disk_of_this_one(workspace, letters):
    (workspace / "out").mkdir()
    owner = {"process": "00000000-1", "pid": "1", "host": "elsewhere", "since": "2026-01-01"}
    (workspace / "out" / ".run.lock").write_text(json.dumps(owner))
    invoke("warm-start", letters, "--out", "out", *QUICK).worked()


def test_a_run_that_is_refused_leaves_no_folder(workspace, letters):
    with Workspace() as opened, pytest.raises(Exception, match="no expert 'nobody'"):
        opened.warm_start(letters, workspace / "out", expert="nobody")
    assert not (workspace / "out").exists()
    shutil.rmtree(workspace / "out", ignore_errors=True)
