"""Names and paths of bytes that are no UTF-8, and files of settings with values of other types."""

from __future__ import annotations

import os

import pytest

from expertise_graph import Workspace
from tests import materials
from tests.program import invoke

ODD = os.fsdecode(b"caf\xe9")

needs_bytes = pytest.mark.skipif(os.name == "nt", reason="names are text there")


@pytest.fixture
def data(tmp_path):
    """A dataset in a folder, and with a class, whose names are Latin-1."""
    folder = materials.pictures(tmp_path / ODD, 3, 8)
    first = min(folder.iterdir())
    first.rename(folder / os.fsdecode(b"cl\xe9"))
    return folder


@needs_bytes
@pytest.mark.slow
def test_data_under_such_names_go_the_whole_way(workspace, data):
    assert invoke("query", data, "--budget", "1", "--json").worked().json["candidates"]
    quick = ("--expert", "emoji", "--epochs", "1", "--json")
    result = invoke("warm-start", data, "--out", "run", *quick).worked().json
    assert invoke("tasks", "ls", "--json").worked().json[0]["name"] == "caf\\xe9"
    assert invoke("tasks", "ls").worked()
    with Workspace() as opened:
        # The very path comes back, so that the data are found again.
        assert [t.locator for t in opened.store.tasks()] == [str(data)]
        assert opened.store.tasks(locator=str(data))[0].id == result["task"]
    assert invoke("check", "run", "--json").worked().json
    assert len(invoke("predict", "run", data, "--json").worked().json["predictions"]) == 24
    assert invoke("evaluate", "run", data, "--json").worked().json["n"]
    assert invoke("explain", data, "emoji", "--json").worked().json["task_name"] == "caf\\xe9"
    assert invoke("probe", "create", data, "--name", "odd", "-n", "16").worked()
    assert invoke("export", f"{ODD}.json").worked()
    assert invoke("history", "ls", "--json").worked().json


@needs_bytes
@pytest.mark.parametrize("verb", ["show", "similar", "rm", "explain"])
def test_such_a_name_of_nothing_is_one_line(workspace, verb):
    invoke(verb, ODD, *(["emoji"] if verb == "explain" else [])).failed("no ")


@needs_bytes
def test_where_a_library_takes_no_such_path_a_line_says_so(workspace, data, tmp_path):
    for command in (("warm-start", data, "--expert", "emoji"), ("auto", data, "--time-budget", "3s")):
        invoke(*command, "--out", ODD).failed("is not UTF-8: choose another --out")
    assert not os.path.exists(ODD)
    model = materials.resnet(tmp_path / ODD / "m", 1)
    done = invoke("register", f"dir:{model}", "--json")
    assert done.code == 1
    assert "not valid UTF-8" in done.json[0]["error"]


@needs_bytes
def test_a_workspace_may_lie_under_such_a_name(tmp_path):
    folder = tmp_path / ODD
    invoke("init", folder).worked()
    invoke("--workspace", folder, "register", "zoo:emoji").worked()
    assert invoke("--workspace", folder, "ls", "-q").worked().out == "zoo:emoji@resnet\n"


SETTINGS = (
    "epochs: [1, 2]",
    "epochs: {a: 1}",
    "epochs: 2026-01-01",
    "epochs: .inf",
    "strategy: 3",
    "strategy: [lp-ft]",
    "augment: perhaps",
    "1: 2",
    "? [a, b]\n: 3",
    "!!python/object/apply:os.system ['true']",
    "null",
    "a: &a [*a]",
    "lr: true",
    "\0",
    "expert: {x: y}",
)


@pytest.mark.parametrize("text", SETTINGS)
def test_settings_of_wrong_types_are_refused_in_words(workspace, tmp_path, text):
    data = materials.pictures(tmp_path / "letters", 3, 6)
    (workspace / "run.yaml").write_text(text)
    done = invoke("warm-start", data, "--out", "out", "--config", "run.yaml")
    assert done.code in (1, 2)
    assert done.err.strip()
    assert not (workspace / "out").exists()


SOURCES = (
    "- 3",
    "- [a]",
    "- {source: 3}",
    "- {source: zoo:emoji, tag: {a: b}}",
    "- {source: zoo:emoji, license: [1, {2: 3}]}",
    "- {source: zoo:emoji, input_size: many}",
    "- {source: zoo:emoji, mean: [x]}",
    "- ? {a: b}\n  : c",
    "- null",
)


@pytest.mark.parametrize("text", SOURCES)
def test_lists_of_sources_of_wrong_types_are_refused_in_words(workspace, text):
    (workspace / "sources.yaml").write_text(text)
    done = invoke("register", "--from-file", "sources.yaml")
    assert done.code in (0, 1, 2)
    assert done.code == 0 or done.err.strip()
