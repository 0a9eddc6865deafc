"""The same expert under a second name or place is an alias: nothing is replaced without a word."""

from __future__ import annotations

import shutil

import pytest

from expertise_graph import Workspace
from tests import materials
from tests.program import invoke


@pytest.fixture
def model(tmp_path):
    return materials.resnet(tmp_path / "first", 1)


def nodes():
    with Workspace() as opened:
        return opened.experts()


def test_a_second_place_is_an_alias_by_both_names_and_the_first_stays(blank, model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "second")
    invoke("register", f"dir:{model}").worked()
    done = invoke("register", f"dir:{copy}").worked()
    (node,) = nodes()
    assert (node.name, node.locator) == ("first", str(model))
    assert f"second is the same as {node.short}" in done.err
    with Workspace() as opened:
        assert opened.expert("second").id == opened.expert("first").id == node.id
        assert opened.expert(f"second@{node.weights_sha[:8]}").id == node.id


def test_a_second_name_is_an_alias_and_is_said(blank, model):
    invoke("register", f"dir:{model}", "--tag", "a").worked()
    done = invoke("register", f"dir:{model}", "--name", "mine", "--tag", "b").worked()
    assert "mine is the same as first@" in done.err
    (node,) = nodes()
    assert (node.name, node.tags) == ("first", ("a", "b"))
    assert invoke("show", "mine", "--json").worked().json["name"] == "first"


@pytest.mark.slow
def test_the_other_place_is_tried_where_the_first_is_gone_or_changed(blank, model, tmp_path):
    data = materials.pictures(tmp_path / "data", 3, 6)
    copy = shutil.copytree(model, tmp_path / "second")
    invoke("register", f"dir:{model}", f"dir:{copy}").worked()
    materials.change_json(model / "config.json", hidden_act="gelu")
    assert invoke("query", data, "--json").worked().json["failed"] == []
    shutil.rmtree(model)
    again = invoke("query", data, "--sample", 12, "--json").worked().json
    assert [c["ran"] for c in again["candidates"]] == [True]
    invoke("warm-start", data, "--expert", "second", "--out", "out", "--epochs", 1).worked()
    shutil.rmtree(copy)
    invoke("warm-start", data, "--expert", "second", "--out", "other").failed("no folder at")


def test_registering_again_changes_nothing(blank, model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "second")
    for _ in range(3):
        invoke("register", f"dir:{model}", f"dir:{copy}").worked()
    (node,) = nodes()
    assert [a["name"] for a in node.meta["aliases"]] == ["second"]
    assert invoke("register", f"dir:{model}", "--json").worked().json[0]["note"] is None


def test_the_name_of_an_expert_counts_before_the_alias_of_another(blank, model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "second")
    other = materials.resnet(tmp_path / "elsewhere" / "second", 2)
    invoke("register", f"dir:{model}", f"dir:{copy}", f"dir:{other}").worked()
    with Workspace() as opened:
        assert opened.expert("second").locator == str(other)


def test_other_preprocessing_of_the_same_weights_is_no_alias(blank, model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "second")
    materials.change_json(copy / "preprocessor_config.json", image_mean=[0.1, 0.1, 0.1])
    invoke("register", f"dir:{model}", f"dir:{copy}").worked()
    assert [n.name for n in nodes()] == ["first", "second"]


def test_rm_takes_the_expert_with_all_its_names(blank, model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "second")
    invoke("register", f"dir:{model}", f"dir:{copy}").worked()
    invoke("rm", "second").worked()
    assert nodes() == []
    invoke("show", "first").failed("no expert 'first'")


def test_a_folder_that_was_moved_is_found_in_its_new_place(blank, model, tmp_path):
    invoke("register", f"dir:{model}").worked()
    moved = model.rename(tmp_path / "moved")
    invoke("register", f"dir:{moved}").worked()
    (node,) = nodes()
    assert (node.name, node.locator) == ("first", str(moved))
    with Workspace() as opened:
        assert opened.expert("moved").id == node.id
