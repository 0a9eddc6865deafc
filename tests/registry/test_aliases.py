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


def test_rm_takes_the_expert_with_all_its_names_and_says_which(blank, model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "second")
    invoke("register", f"dir:{model}", f"dir:{copy}").worked()
    (node,) = nodes()
    assert invoke("rm", "first").worked().err == f"removed {node.short}, also called second\n"
    assert nodes() == []
    invoke("show", "second").failed("no expert 'second'")


def test_rm_of_a_second_name_takes_that_name_only(blank, model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "second")
    invoke("register", f"dir:{model}", f"dir:{copy}").worked()
    (node,) = nodes()
    assert invoke("rm", "second").worked().err == f"removed the name second; {node.short} stays\n"
    assert [(n.name, "aliases" in n.meta) for n in nodes()] == [("first", False)]
    invoke("show", "second").failed("no expert 'second': it was removed")
    assert invoke("rm", "second").worked().err == "second was removed before\n"
    # Both at once: the expert goes with the name, whichever is given first.
    invoke("register", f"dir:{copy}").worked()
    invoke("rm", "first", "second").worked()
    assert nodes() == []


@pytest.mark.parametrize("name", ["other", "second"])
def test_a_chosen_name_that_another_expert_goes_by_is_refused(blank, model, tmp_path, name):
    copy = shutil.copytree(model, tmp_path / "second")
    other = materials.resnet(tmp_path / "other", 2)
    third = materials.resnet(tmp_path / "third", 3)
    invoke("register", f"dir:{model}", f"dir:{copy}", f"dir:{other}").worked()
    before = nodes()
    for place in (third, model if name == "other" else other):
        refused = invoke("register", f"dir:{place}", "--name", name)
        assert f"'{name}' is " in refused.err
        assert f"name of {name if name == 'other' else 'first'}@" in refused.err
        assert f"choose another --name, or free this one first with: expertise-graph rm {name}" in refused.err
        assert refused.code == 1
    assert nodes() == before
    invoke("rm", name).worked()
    invoke("register", f"dir:{third}", "--name", name).worked()
    # The same again, under the name that it has, is no other expert.
    invoke("register", f"dir:{third}", "--name", name).worked()
    assert invoke("show", name, "--json").worked().json["locator"] == str(third)


def test_experts_whose_sources_call_them_alike_are_pointed_out(blank, model, tmp_path):
    other = materials.resnet(tmp_path / "elsewhere" / "first", 2)
    assert invoke("register", f"dir:{model}").worked().err == ""
    done = invoke("register", f"dir:{other}").worked()
    one, two = (node.short for node in nodes())
    assert f"2 experts are called first: {one}, {two}; write which one is meant as name@hash" in done.err
    # A second name that is the own name of another one does not lead to the expert.
    copy = shutil.copytree(model, tmp_path / "again" / "second")
    third = materials.resnet(tmp_path / "second", 3)
    invoke("register", f"dir:{third}").worked()
    done = invoke("register", f"dir:{copy}").worked()
    last = nodes()[-1].short
    assert f"second is the same as {one}" in done.err
    assert f"the name alone leads to {last}, so write {one}" in done.err
    assert "both lead to it" not in done.err


def test_a_name_that_was_removed_leads_nowhere_for_any_verb(blank, model, tmp_path):
    other = materials.resnet(tmp_path / "second", 2)
    copy = shutil.copytree(model, tmp_path / "elsewhere" / "second")
    longer = materials.resnet(tmp_path / "second-longer", 3)
    invoke("register", f"dir:{other}", f"dir:{model}", f"dir:{copy}", f"dir:{longer}").worked()
    first = next(node.short for node in nodes() if node.name == "first")
    said = invoke("rm", "second").worked().err
    assert said.endswith(f"; second was a second name of {first}, and leads nowhere now\n")
    for verb in ("show", "similar"):
        invoke(verb, "second").failed("no expert 'second': it was removed")
    assert invoke("rm", "second").worked().err == "second was removed before\n"
    invoke("register", f"dir:{copy}").worked()
    assert invoke("show", "second", "--json").worked().json["name"] == "first"


def test_a_folder_that_was_moved_is_found_in_its_new_place(blank, model, tmp_path):
    invoke("register", f"dir:{model}").worked()
    moved = model.rename(tmp_path / "moved")
    invoke("register", f"dir:{moved}").worked()
    (node,) = nodes()
    assert (node.name, node.locator) == ("first", str(moved))
    with Workspace() as opened:
        assert opened.expert("moved").id == node.id
