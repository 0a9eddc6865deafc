"""Pushing to and pulling from the Hub, by the real client over HTTP: rights, faults, two who push, kills."""

from __future__ import annotations

import contextlib
import json
import re
import shutil

import pytest

from expertise_graph.workspace import Workspace
from tests import program
from tests.hub_server import HubServer
from tests.kills import kill_when
from tests.materials import counts
from tests.sharing.client import Client

WRITER, READER = "hf_writer", "hf_reader"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with HubServer(tmp_path_factory.mktemp("hub"), writers={WRITER}, readers={READER}) as server:
        yield server


@pytest.fixture(scope="module")
def client(hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("client")
    started = Client(home, hub.environment(home / "hf"))
    yield started
    started.close()


@pytest.fixture
def name(request, hub):
    """A repository of its own for each test."""
    hub.heal()
    return "lab/" + re.sub(r"[^a-z0-9]+", "-", request.node.name[5:95]).strip("-")


@pytest.fixture
def ask(client):
    """Runs a command on a workspace in a process that talks to the stub."""

    def run(workspace, *words, token=WRITER):
        return client.run("--workspace", workspace, *words, token=token)

    return run


def files(hub, name):
    folder = hub.root / "datasets" / name
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    return {f for f in found if not f.startswith("@")}


def test_a_registry_goes_by_the_hub_and_back(source, empty, hub, ask, name):
    pushed = ask(source, "push", name, "--json").worked().json
    assert pushed["revision"] == hub.commit(f"datasets/{name}")
    assert {"manifest.json", "README.md", "graph.png", ".private"} <= files(hub, name)
    assert len([f for f in files(hub, name) if f.startswith("data/")]) == 10
    pulled = ask(empty, "pull", name, "--json").worked().json
    assert pulled["origin"] == f"{name}@{pushed['revision'][:12]}"
    with Workspace(source) as here, Workspace(empty) as there:
        assert [e.id for e in there.experts()] == [e.id for e in here.experts()]
        assert there.expert("emoji").meta["origin"] == pulled["origin"]
    # Nothing was new: there is no further commit, and nothing to merge.
    assert ask(source, "push", name, "--json").worked().json["changed"] is False
    assert hub.commit(f"datasets/{name}") == pushed["revision"]
    assert not any(t["added"] for t in ask(empty, "pull", name, "--json").worked().json["tables"].values())


def test_a_new_state_replaces_the_old_one_and_both_can_be_pulled(source, empty, hub, ask, name):
    first = ask(source, "push", name, "--json", "--public").worked().json["revision"]
    assert ".private" not in files(hub, name)
    with Workspace(source) as here:
        here.remove("languages")
    second = ask(source, "push", name, "--json").worked().json["revision"]
    assert second != first
    assert len([f for f in files(hub, name) if f.startswith("data/")]) == 10
    # Without a token: it is public.
    newest = ask(empty, "pull", name, "--json", token=None).worked().json
    assert newest["tables"]["experts"]["added"] == 7
    older = ask(empty, "pull", name, "--revision", first, "--json", token=None).worked().json
    assert older["tables"]["experts"]["added"] == 1
    ask(empty, "pull", name, "--revision", "nowhere").failed("no such revision")


def test_what_the_hub_refuses_is_one_line_and_nothing_is_there(source, empty, hub, ask, name):
    ask(source, "push", name, token=None).failed("wants to know who you are", "HF_TOKEN")
    ask(source, "push", name, token="hf_unknown").failed("does not know the token", "hf auth login")
    ask(source, "push", name, token=READER).failed(f"does not let this account write to {name}")
    ask(empty, "pull", name).failed(f"no repository {name} on the Hub, or it is private")
    assert not (hub.root / "datasets" / name).exists()
    with Workspace(empty) as there, Workspace(source) as here:
        assert there.experts() == []
        assert not [place for place in here.store.ledgers() if name in place]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "the Hub cannot be reached for lab/graph"),
    ],
)
def test_without_a_network_nothing_happens(source, empty, tmp_path, more, said):
    for workspace, verb in ((source, "push"), (empty, "pull")):
        done = program.run(
            "--workspace", workspace, verb, "lab/graph", cwd=tmp_path, more={"HF_TOKEN": "x", **more}
        )
        done.failed(said)
    with Workspace(empty) as there:
        assert there.experts() == []


def test_a_repository_of_something_else_is_left_alone(source, empty, hub, ask, name):
    folder = hub.root / "datasets" / name
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("text,label\na,b\n")
    before = hub.commit(f"datasets/{name}")
    ask(source, "push", name).failed("holds other files (train.csv)")
    ask(empty, "pull", name).failed("is not a shared registry")
    assert hub.commit(f"datasets/{name}") == before
    # A model of this name is another repository.
    ask(empty, "pull", "lab/model").failed("no repository lab/model")


def test_private_means_that_others_cannot_pull(source, empty, hub, ask, name):
    ask(source, "push", name).worked()
    ask(empty, "pull", name, token="hf_stranger").failed("no repository")
    ask(empty, "pull", name, token=READER).worked()
    with Workspace(empty) as there:
        assert len(there.experts()) == 8


def test_damage_in_the_repository_is_noticed_before_anything_is_merged(source, empty, hub, ask, name):
    ask(source, "push", name).worked()
    folder = hub.root / "datasets" / name
    before = counts(empty)
    for path in sorted((folder / "data").iterdir())[::5]:
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        ask(empty, "pull", name).failed("is not whole", path.name)
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        ask(empty, "pull", name).failed("is not whole", path.name)
        path.write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": 99}))
    ask(empty, "pull", name).failed("version 99", "upgrade")
    assert counts(empty) == before


def test_an_upload_that_breaks_off_leaves_the_old_state(source, hub, ask, name):
    first = ask(source, "push", name, "--json").worked().json["revision"]
    with Workspace(source) as here:
        # Two, as no other test does: what a hub has by its hash is not uploaded again.
        here.remove("languages")
        here.remove("emoji-names")
    hub.fail("/upload/", status=403, times=50)
    ask(source, "push", name).failed("does not let this account write")
    hub.heal()
    hub.fail("/commit/", status=404)
    ask(source, "push", name).failed(name)
    hub.heal()
    assert hub.commit(f"datasets/{name}") == first
    assert ask(source, "push", name, "--json").worked().json["changed"] is True


def test_a_download_that_breaks_off_merges_nothing(source, empty, hub, ask, name):
    ask(source, "push", name).worked()
    before = counts(empty)
    hub.fail("vectors-", status=404)
    ask(empty, "pull", name).failed(name)
    assert counts(empty) == before
    hub.heal()
    hub.cut("vectors-", after=500, times=1)  # the client goes on where it was cut
    ask(empty, "pull", name).worked()


def test_of_two_who_push_the_second_is_told_to_pull_first(source, empty, hub, ask, name):
    ask(source, "push", name).worked()
    with Workspace(empty) as there:
        there.register("zoo:fashion")
    ask(empty, "push", name).failed("pull first", f"expertise-graph pull {name}")
    ask(empty, "pull", name).worked()
    ask(empty, "push", name).worked()
    ask(source, "push", name).failed("pull first")
    assert ask(source, "pull", name, "--json").worked().json["tables"]["experts"]["added"] == 1
    ask(source, "push", name).worked()


def test_a_commit_in_between_is_told_apart(source, hub, ask, name):
    """The commit names its parent: whoever is faster wins, even between the look and the commit."""
    ask(source, "push", name).worked()
    with Workspace(source) as here:
        here.remove("languages")
    hub.fail("/commit/", status=412, times=1)
    ask(source, "push", name).failed("pull first")


@pytest.mark.slow
@pytest.mark.parametrize("at", ["/upload/", "/commit/"])
def test_a_push_that_is_killed_is_completed_by_the_same_command(source, empty, hub, ask, tmp_path, at, name):
    before = counts(source)
    words = program.program("--workspace", source, "push", name)
    killed = kill_when(
        lambda: any(at in r.path for r in hub.log),
        words,
        tmp_path,
        more=hub.environment(tmp_path / "hf", HF_TOKEN=WRITER),
    )
    assert counts(source) == before
    done = ask(source, "push", name, "--json").worked().json
    assert killed or done["changed"] is False
    assert len(ask(empty, "pull", name, "--json").worked().json["tables"]) == 6


@pytest.mark.slow
def test_a_pull_that_is_killed_at_any_moment_is_completed_by_the_same_command(source, empty, tmp_path):
    whole = tmp_path / "whole"
    shutil.copytree(empty, whole)
    program.run("--workspace", source, "push", tmp_path / "graph", cwd=tmp_path).worked()
    program.run("--workspace", whole, "pull", tmp_path / "graph", cwd=tmp_path).worked()
    expected, nothing = counts(whole), counts(empty)
    for number in range(4):
        workspace = tmp_path / f"killed-{number}"
        shutil.copytree(empty, workspace)
        log = workspace / "registry.db-wal"

        def begun(log=log):
            return log.exists() and log.stat().st_size > 0

        kill_when(
            begun,
            program.program("--workspace", workspace, "pull", tmp_path / "graph"),
            tmp_path,
            after=0.015 * number,
        )
        found = counts(workspace)
        assert {name: n for name, n in found.items() if name not in ("neighbours", "edges")} in (
            {name: n for name, n in nothing.items() if name not in ("neighbours", "edges")},
            {name: n for name, n in expected.items() if name not in ("neighbours", "edges")},
        )
        program.run("--workspace", workspace, "pull", tmp_path / "graph", cwd=tmp_path).worked()
        assert counts(workspace) == expected


@pytest.mark.slow
def test_a_push_to_a_folder_that_is_killed_leaves_a_whole_one(source, empty, tmp_path):
    graph = tmp_path / "graph"
    program.run("--workspace", source, "push", graph, cwd=tmp_path).worked()
    names = ["languages", "emoji-names"]
    for number, name in enumerate(names):
        with Workspace(source) as here:
            here.remove(name)
        old = {p.name for p in (graph / "data").iterdir()}
        kill_when(
            lambda old=old: {p.name for p in (graph / "data").iterdir() if not p.name.startswith(".")} != old,
            program.program("--workspace", source, "push", graph),
            tmp_path,
            after=0.002 * number,
        )
        with contextlib.closing(Workspace(empty)) as there:
            there.pull(graph)
        program.run("--workspace", source, "push", graph, cwd=tmp_path).worked()
        assert len([p for p in (graph / "data").iterdir() if not p.name.startswith(".")]) == 10
