"""Deltas: made, sent as a file, applied; one gives back the child, several their average."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.deltas.average import combine
from expertise_graph.deltas.delta import make_delta
from expertise_graph.deltas.delta_file import read_delta
from expertise_graph.deltas.packing import Packing
from expertise_graph.merging.loaded_model import open_folder, open_model
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import load, resolve
from expertise_graph.workspace import Workspace
from tests import materials
from tests.program import invoke

pytestmark = pytest.mark.slow


def make(child, out="a.safetensors", *options):
    return invoke("delta", "make", child, "--out", out, *options, "--json")


def apply(*files, parent="emoji", out="applied", options=()):
    return invoke("delta", "apply", parent, *files, "--out", out, *options, "--json")


def floats(folder):
    state = load(resolve(f"dir:{folder / 'model'}", SourceOptions())).module.state_dict()
    return {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}


def test_the_report_is_true_and_the_file_says_what_it_is(family):
    report = make(family.runs[0]).worked().json
    path = family.workspace / "a.safetensors"
    assert report["bytes"] == path.stat().st_size
    size = (family.runs[0] / "model" / "model.safetensors").stat().st_size
    assert report["ratio"] == pytest.approx(report["bytes"] / size)
    assert (report["error"], report["packing"], report["head"]) == (0.0, "plain", "whole")
    n_train = json.loads((family.runs[0] / "run.json").read_text())["result"]["n_train"]
    assert report["items"] == n_train
    with safe_open(path, framework="pt") as file:
        told, keys = file.metadata(), list(file.keys())
    with Workspace() as opened:
        parent = opened.store.find_expert("emoji")
    assert (told["format"], told["version"]) == ("expertise-graph-delta", "1")
    assert (told["parent_sha256"], told["parent"]) == (parent.weights_sha, parent.id)
    assert (told["child"], told["items"]) == (report["child"], str(n_train))
    assert json.loads(told["classes"]) == json.loads((family.runs[0] / "head.json").read_text())["classes"]
    assert len(keys) == report["tensors"] < report["of"]
    # The statistics of batch normalisation were held, so they are left out.
    assert not [key for key in keys if "running" in key]


def test_a_plain_delta_gives_back_the_child_to_float_rounding(family, context):
    make(family.runs[0]).worked()
    applied = apply("a.safetensors").worked().json
    found, child = floats(family.workspace / "applied"), floats(family.runs[0])
    parent = open_model(context, "emoji").weights.floating
    assert set(found) == set(child)
    same = total = 0
    for name, tensor in found.items():
        bound = 2.0**-23 * torch.maximum(parent[name].abs(), child[name].abs())
        assert bool(((tensor - child[name]).abs() <= bound).all()), name
        same += int((tensor == child[name]).sum())
        total += tensor.numel()
    assert same / total > 0.99
    head, own = (load_file(f / "head.safetensors") for f in (family.workspace / "applied", family.runs[0]))
    assert torch.equal(head["weight"], own["weight"])
    assert torch.equal(head["bias"], own["bias"])
    assert applied["classes"] == json.loads((family.runs[0] / "head.json").read_text())["classes"]


def test_the_result_is_an_expert_with_lineage(family):
    reports = [make(run, f"{n}.safetensors", "--bits", 8).worked().json for n, run in enumerate(family.runs)]
    applied = apply(*(f"{n}.safetensors" for n in range(3))).worked().json
    with Workspace() as opened:
        expert = opened.store.expert(applied["expert"])
        edges = [e for e in opened.store.edges("lineage", expert.id) if e.target == expert.id]
    assert {e.source for e in edges} == {"zoo:emoji@resnet", *(r["child"] for r in reports)}
    assert {e.method for e in edges} == {"fedavg"}
    assert (expert.base_model, expert.license) == ("zoo:emoji@resnet", "apache-2.0")
    counted = materials.counts(family.workspace)
    assert apply(*(f"{n}.safetensors" for n in range(3))).worked().json == applied
    assert materials.counts(family.workspace) == counted
    merged = invoke(
        "query", materials.pictures(family.root / "o", 3, 5, splits=("test",)), "--kind", "merge", "--json"
    )
    assert [c["expert"] for c in merged.worked().json["candidates"]] == [expert.id]


def test_averages_are_weighted_by_items_unless_told(family, context):
    for number, items in enumerate((10, 30)):
        make(family.runs[number], f"{number}.safetensors", "--items", items).worked()
    told = apply("0.safetensors", "1.safetensors").worked().json
    assert told["weights"] == [0.25, 0.75]
    assert told["items"] == 40
    one, two, found = floats(family.runs[0]), floats(family.runs[1]), floats(family.workspace / "applied")
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, 0.25 * one[name] + 0.75 * two[name], rtol=1e-5, atol=1e-6)
    heads = [
        load_file(f / "head.safetensors")["weight"] for f in (*family.runs[:2], family.workspace / "applied")
    ]
    torch.testing.assert_close(heads[2], 0.25 * heads[0] + 0.75 * heads[1])
    options = ("--weights", "1,0", "--no-register", "--scale", 0.5)
    half = apply("0.safetensors", "1.safetensors", out="half", options=options).worked().json
    assert (half["expert"], half["weights"]) == (None, [1.0, 0.0])
    start = open_model(context, "emoji").weights.floating
    for name, tensor in floats(family.workspace / "half").items():
        torch.testing.assert_close(tensor, (start[name] + one[name]) / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "largest", "error"),
    [(("--bits", 8), 0.27, 0.02), (("--rank", 8), 0.15, 0.9), (("--rank", 8, "--bits", 8), 0.06, 0.9)],
)
def test_packed_deltas_are_small_and_lose_what_they_say(family, context, options, largest, error):
    plain = make(family.runs[2], "plain.safetensors").worked().json
    report = make(family.runs[2], "packed.safetensors", *options).worked().json
    assert report["bytes"] < largest * plain["bytes"]
    assert 0 < report["error"] < error
    parent, child = open_model(context, "emoji"), open_folder(family.runs[2])
    delta = read_delta(family.workspace / "packed.safetensors", parent)
    module, head = combine(parent, [delta])
    lost = norm = 0.0
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            lost += float((tensor - child.weights.floating[name]).double().square().sum())
            norm += float(
                (child.weights.floating[name] - parent.weights.floating[name]).double().square().sum()
            )
    for name, tensor in head.state.items():
        lost += float((tensor - child.head.state[name]).double().square().sum())
        norm += float(child.head.state[name].double().square().sum())
    assert np.sqrt(lost / norm) == pytest.approx(report["error"], rel=1e-3)


def test_a_delta_to_a_run_changes_its_head_too(family, store):
    parent, child = open_folder(family.runs[0]), open_folder(family.runs[1])
    report = make(family.runs[1], "b.safetensors", "--parent", family.runs[0]).worked().json
    assert report["head"] == "difference"
    apply("b.safetensors", parent=family.runs[0]).worked()
    found = open_folder(family.workspace / "applied")
    torch.testing.assert_close(found.head.weight, child.head.weight, rtol=1e-6, atol=1e-7)
    delta, _ = make_delta(parent, child, head=False)
    assert delta.about.head == "none"
    module, head = combine(parent, [delta])
    assert torch.equal(head.weight, parent.head.weight)
    torch.testing.assert_close(module.state_dict(), child.backbone.module.state_dict(), rtol=1e-5, atol=1e-6)


def test_a_head_that_the_parent_lacks_is_named(family):
    make(family.runs[1], "b.safetensors", "--parent", family.runs[0]).worked()
    headless = family.root / "headless"
    shutil.copytree(family.runs[0], headless)
    other = load_file(headless / "head.safetensors")
    save_file({"weight": other["weight"] + 1, "bias": other["bias"]}, headless / "head.safetensors")
    apply("b.safetensors", parent=headless).failed("the delta changes a head", "--no-head")
    apply("b.safetensors", parent=headless, options=("--no-head",)).worked()


def test_without_heads_none_is_written(family):
    make(family.runs[0], "a.safetensors", "--no-head").worked()
    apply("a.safetensors").worked()
    assert sorted(p.name for p in (family.workspace / "applied").iterdir()) == [
        "README.md",
        "learnt.safetensors",
        "model",
        "run.json",
    ]
    make(family.runs[0], "b.safetensors").worked()
    done = apply("a.safetensors", "b.safetensors", out="both")
    done.failed("heads for different classes", "--no-head")
    apply("a.safetensors", "b.safetensors", out="both", options=("--no-head",)).worked()


def test_a_delta_of_two_classes_does_not_mix_with_one_of_four(family, context):
    parent, child = open_model(context, "emoji"), open_folder(family.runs[0])
    two = child.head
    delta, _ = make_delta(parent, child)
    cut = dataclasses.replace(two, weight=two.weight[:2], bias=two.bias[:2], classes=two.classes[:2])
    other, _ = make_delta(parent, dataclasses.replace(child, head=cut))
    with pytest.raises(InvalidInputError, match="different classes"):
        combine(parent, [delta, other])


def test_refusals_when_making(family):
    make("emoji").failed("no parent of emoji", "--parent")
    make(family.runs[0], "a.safetensors", "--parent", "greek-letters").failed("is no child of")
    make(family.runs[0], "a.safetensors", "--parent", family.runs[0]).failed("there is no difference")
    make("nobody").failed("no expert 'nobody'")
    make(family.runs[0]).worked()
    make(family.runs[0]).failed("exists already")
    (family.workspace / "file").write_text("x")
    make(family.runs[0], "file/a.safetensors").failed("there is no folder")


def test_a_child_of_an_unknown_parent(family):
    invoke("rm", "emoji").worked()
    make(family.runs[0]).failed("zoo:emoji@resnet")


def test_people_see_size_and_error(family):
    done = invoke("delta", "make", family.runs[0], "--out", "a.safetensors", "--bits", 8).worked()
    shown = (
        "% of the size of the child's weights",
        "8 bits, relative error",
        "24 training items",
        "parent: zoo:emoji@resnet, weights sha256",
    )
    for part in shown:
        assert part in done.out
    done = invoke("delta", "apply", "emoji", "a.safetensors", "--out", "applied").worked()
    assert "registered as emoji-delta@" in done.out
    assert Packing(rank=4, bits=8).method == "rank 4 in 8 bits"
