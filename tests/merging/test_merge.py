"""Merging through the command line: the folder, the child, its edges, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from expertise_graph.data.reading import read_data
from expertise_graph.data.sampling import holdout
from expertise_graph.features.running import extract
from expertise_graph.merging.evaluator import Evaluator
from expertise_graph.merging.loaded_model import open_folder
from expertise_graph.merging.methods import mean
from expertise_graph.models.learnt_items import read_learnt_items
from expertise_graph.models.loading import load
from expertise_graph.models.run_folder import RunFolder
from expertise_graph.registry.lineage import kind_of
from expertise_graph.workspace import Workspace
from tests import materials
from tests.program import invoke

pytestmark = pytest.mark.slow

KEYS = {
    "run", "expert", "parent", "method", "scale", "density", "weights", "children", "head", "statistics",
    "statistics_accuracy", "validation_accuracy", "accuracy", "n_test", "seed", "license", "seconds", "path",
    "task", "notes", "metric", "best_child", "best_child_accuracy",
    "data",
}  # fmt: skip


def merge(family, *options, models=None, data=None, out="merged"):
    given = models or family.runs
    return invoke("merge", *given, "--data", data or family.data, "--out", out, *options, "--json")


def edges_to(expert):
    with Workspace() as opened:
        return [e for e in opened.store.edges("lineage", expert) if e.target == expert]


@pytest.mark.parametrize(
    "method",
    [
        ("mean",),
        ("task-arithmetic",),
        ("task-arithmetic", "--scale", 0.5),
        ("ties", "--density", 0.3),
        ("fisher",),
    ],
    ids=lambda m: "-".join(map(str, m)),
)
def test_every_method_leaves_an_expert_with_lineage_to_all(family, method):
    result = merge(family, "--method", *method).worked().json
    assert set(result) == KEYS
    assert result["data"]["items"] == len(read_data(family.data))
    assert 0.5 < result["accuracy"] <= 1
    assert result["n_test"] == 32
    assert (result["method"], result["head"]) == (method[0], "merged")
    assert result["parent"] == "zoo:emoji@resnet"
    assert [c["head"] for c in result["children"]] == ["own"] * 3
    assert (result["scale"] is None) == (method[0] in ("mean", "fisher"))
    children = {c["expert"] for c in result["children"]}
    edges = edges_to(result["expert"])
    assert {e.source for e in edges} == {*children, result["parent"]}
    assert {e.method for e in edges} == {f"merge:{method[0]}"}
    with Workspace() as opened:
        expert = opened.store.expert(result["expert"])
        assert kind_of(expert, edges) == "merge"
        assert (expert.license, expert.base_model) == ("apache-2.0", result["parent"])
        (transfer,) = [e for e in opened.store.edges("transfer") if e.run == result["run"]]
        assert (transfer.source, transfer.weight) == (result["parent"], result["accuracy"])
        assert (transfer.target, transfer.n, transfer.method) == (result["task"], 32, f"merge:{method[0]}")


def test_the_mean_is_the_mean_and_the_folder_that_of_a_warm_start(family):
    result = merge(family).worked().json
    folder = family.workspace / "merged"
    states = [load_file(run / "model" / "model.safetensors") for run in family.runs]
    merged = load_file(folder / "model" / "model.safetensors")
    assert set(merged) == set(states[0])
    for name, tensor in mean([{k: t for k, t in s.items() if t.is_floating_point()} for s in states]).items():
        torch.testing.assert_close(merged[name], tensor, rtol=0, atol=1e-7)
    heads = [load_file(run / "head.safetensors") for run in family.runs]
    head = load_file(folder / "head.safetensors")
    torch.testing.assert_close(head["weight"], torch.stack([h["weight"] for h in heads]).mean(0))
    described = json.loads((folder / "head.json").read_text())
    assert described["classes"] == json.loads((family.runs[0] / "head.json").read_text())["classes"]
    assert (described["strategy"], described["kind"]) == ("merge:mean", "class")
    assert described["accuracy"] == result["accuracy"]
    card = (folder / "README.md").read_text()
    for part in ("license: apache-2.0", "base_model:\n- dir:", "- merge", "strictest licence", "best child"):
        assert part in card
    assert sorted(p.name for p in family.workspace.iterdir() if p.name.startswith(".merged")) == []


def test_the_accuracies_are_those_of_the_files(family):
    result = merge(family, "--weights", "2,1,1").worked().json
    with Workspace() as opened:
        data = opened.read(family.data)
    for folder, told in ((family.workspace / "merged", result), (family.runs[1], result["children"][1])):
        model = open_folder(folder)
        evaluator = Evaluator(data, model.backbone, 0)
        found = evaluator.measure(model.backbone.module, model.head.ordered(data.classes), "test")[0]
        assert found == pytest.approx(told["accuracy"])
        found = evaluator.measure(model.backbone.module, model.head.ordered(data.classes), "validation")[0]
        assert found == pytest.approx(told["validation_accuracy"])


def test_held_out_items_of_other_data_that_the_children_have_learnt_from_are_left_out(family, tmp_path):
    data = shutil.copytree(family.data, tmp_path / "minus")
    # Without the declared splits, and one file less: what is drawn to measure on was trained on.
    for file in sorted(data.glob("*/*/*.png")):
        (data / file.parent.name).mkdir(exist_ok=True)
        shutil.copy(file, data / file.parent.name / f"{file.parent.parent.name}-{file.name}")
    for split in ("train", "test"):
        shutil.rmtree(data / split)
    next(data.rglob("train-*.png")).unlink()
    result = merge(family, data=data).worked().json
    with Workspace() as opened:
        own, other = opened.read(family.data), opened.read(data)
    drawn, learnt = holdout(other, seed=0), holdout(own, seed=0)
    known = {own.digests[i] for i in np.concatenate([learnt.train, learnt.validation])}
    fresh = [i for i in drawn.test if other.digests[i] not in known]
    out = sum(other.digests[i] in known for i in np.concatenate([drawn.validation, drawn.test]))
    assert 0 < len(fresh) < len(drawn.test)
    assert result["n_test"] == len(fresh)
    assert any(note.startswith(f"left out: {out} validation or test items") for note in result["notes"])
    merged = read_learnt_items(RunFolder(family.workspace / "merged"))
    assert known <= {d for d, used in zip(own.digests, merged.among(own.digests), strict=True) if used}
    assert not merged.among([other.digests[i] for i in fresh]).any()


def test_the_same_command_reads_back_and_another_is_refused(family):
    first = merge(family, "--method", "ties", "--scale", 1).worked().json
    counted = materials.counts(family.workspace)
    again = merge(family, "--method", "ties", "--scale", 1).worked().json
    assert again == first
    assert materials.counts(family.workspace) == counted
    merge(family, "--method", "ties", "--scale", 0.5).failed(
        "holds another run (scale was 1.0, is 0.5)", "out"
    )
    assert materials.counts(family.workspace) == counted


def test_what_was_merged_is_not_offered_for_the_task_it_learnt(family):
    result = merge(family).worked().json
    answer = invoke("query", family.data, "--json").worked().json
    assert result["expert"] not in {c["expert"] for c in answer["candidates"]}
    other = materials.pictures(family.root / "other", 6, 5, splits=("test",))
    kept = invoke("query", other, "--kind", "merge", "--json").worked().json
    assert [c["expert"] for c in kept["candidates"]] == [result["expert"]]


def test_statistics_that_all_children_share_are_kept_unless_told(family):
    kept = merge(family).worked().json
    assert kept["statistics"] == "kept"
    assert set(kept["statistics_accuracy"]) == {"kept", "recomputed"}
    told = merge(family, "--recompute-statistics", out="again").worked().json
    assert told["statistics"] == "recomputed"
    before, after = (
        load_file(family.workspace / f / "model" / "model.safetensors") for f in ("merged", "again")
    )
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert {name.rpartition(".")[2] for name in moved} >= {"running_mean", "running_var"}
    assert not any(name.endswith("weight") for name in moved)


def test_recomputed_statistics_are_those_of_the_training_items(family):
    with Workspace() as opened:
        data = opened.read(family.data)
    model = open_folder(family.runs[0])
    evaluator = Evaluator(data, model.backbone, 0)
    renewed = evaluator.renewed(model.backbone.module)
    first = next(n for n, m in renewed.named_modules() if isinstance(m, torch.nn.BatchNorm2d))
    seen = []
    hook = renewed.get_submodule(first).register_forward_pre_hook(lambda m, x: seen.append(x[0]))
    evaluator.features(renewed, "train")
    hook.remove()
    values = torch.cat(seen).double()
    norm = renewed.get_submodule(first)
    torch.testing.assert_close(norm.running_mean.double(), values.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var.double(), values.var(dim=(0, 2, 3)), rtol=1e-2, atol=1e-4)


def test_fisher_information_is_the_mean_squared_gradient(family):
    with Workspace() as opened:
        data = opened.read(family.data)
    model = open_folder(family.runs[0])
    evaluator = Evaluator(data, model.backbone, 0)
    head = model.head.ordered(data.classes)
    found = evaluator.fisher(model.backbone.module, head)
    # The head's has a closed form: (p - y)^2 times the squared features, y drawn from p.
    features = evaluator.features(model.backbone.module, "train")
    p = (features @ head.weight.T + head.bias).softmax(dim=1)
    expected = (p * (1 - p)).mean(dim=0)
    assert found["head.bias"].shape == (4,)
    torch.testing.assert_close(found["head.bias"].sum(), expected.sum(), rtol=1.0, atol=0.05)
    assert all(bool((t >= 0).all()) for t in found.values())
    names = {f"backbone.{n}" for n, _ in model.backbone.module.named_parameters()}
    assert set(found) == {*names, "head.weight", "head.bias"}
    again = evaluator.fisher(model.backbone.module, head)
    assert all(torch.equal(found[name], again[name]) for name in found)


def test_greedy_soup_takes_what_helps_on_validation(family):
    result = merge(family, "--method", "greedy-soup").worked().json
    kept = [c for c in result["children"] if c["kept"]]
    best = max(c["validation_accuracy"] for c in result["children"])
    assert result["validation_accuracy"] >= best
    assert (result["path"] is None) == (len(kept) == 1)
    if result["path"]:
        assert {e.source for e in edges_to(result["expert"])} == {
            *(c["expert"] for c in kept),
            result["parent"],
        }


def broken(run, folder, change):
    """Copy a run and change its weights."""
    shutil.copytree(run, folder)
    path = folder / "model" / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})
    return folder


def shuffle(tensors):
    rng = torch.Generator().manual_seed(0)
    for name, tensor in tensors.items():
        if tensor.ndim > 1:
            tensors[name] = torch.randn(tensor.shape, generator=rng)


def test_a_soup_of_one_says_so_and_leaves_nothing(family):
    ruined = broken(family.runs[1], family.root / "ruined", shuffle)
    counted = materials.counts(family.workspace)
    result = merge(family, "--method", "greedy-soup", models=(family.runs[0], ruined)).worked().json
    assert [c["kept"] for c in result["children"]] == [True, False]
    assert (result["expert"], result["path"]) == (None, None)
    assert result["accuracy"] == result["children"][0]["accuracy"]
    assert "nothing was written" in result["notes"][0]
    assert not (family.workspace / "merged").exists()
    assert materials.counts(family.workspace) == counted
    told = invoke(
        "merge", family.runs[0], ruined, "--method", "greedy-soup", "--data", family.data, "--out", "merged"
    )
    assert "nothing to register" in told.worked().out


def test_other_classes_get_a_probe(family):
    other = materials.pictures(family.root / "six", 6, 5)
    result = merge(family, data=other).worked().json
    assert result["head"] == "probe"
    assert [c["head"] for c in result["children"]] == ["probe"] * 3
    assert load_file(family.workspace / "merged" / "head.safetensors")["weight"].shape == (6, 128)


def test_registered_names_and_a_child_with_its_own_parent(family):
    with Workspace() as opened:
        child = next(e for e in opened.experts() if e.base_model == "zoo:emoji@resnet")
    result = merge(family, models=(child.id, "emoji")).worked().json
    assert result["parent"] == "zoo:emoji@resnet"
    assert result["head"] == "probe"
    assert {e.source for e in edges_to(result["expert"])} == {child.id, "zoo:emoji@resnet"}


def test_a_merge_can_be_merged_and_started_from(family):
    first = merge(family, models=family.runs[:2]).worked().json
    second = merge(family, models=("merged", family.runs[2]), out="second").worked().json
    assert second["parent"] == "zoo:emoji@resnet"
    assert first["expert"] in {e.source for e in edges_to(second["expert"])}
    data = materials.pictures(family.root / "more", 3, 6)
    # So gently that the epoch is no worse than the probe, and is kept.
    start = ("--expert", second["expert"], "--epochs", 1, "--lr", 1e-5, "--batch-size", 4, "--json")
    child = invoke("warm-start", data, "--out", "grandchild", *start).worked().json
    assert [e.source for e in edges_to(child["child"])] == [second["expert"]]


def test_force_merges_strangers_and_says_so(family):
    result = merge(family, "--force", models=(family.runs[0], family.stranger)).worked().json
    assert result["parent"] is None
    assert any("forced" in note for note in result["notes"])
    assert len(edges_to(result["expert"])) == 2
    done = merge(family, "--force", "--method", "ties", models=(family.runs[0], family.stranger), out="t")
    done.failed("name one as --parent")
    given = ("--force", "--method", "ties", "--parent", "emoji", "--scale", 1)
    told = merge(family, *given, models=(family.runs[0], family.stranger), out="t").worked().json
    assert told["parent"] == "zoo:emoji@resnet"


def test_the_table_for_people_names_every_child(family):
    done = invoke("merge", *family.runs, "--data", family.data, "--out", "merged").worked()
    assert [line.split()[1] for line in done.lines if "letters-from-emoji" in line][:3] == ["own"] * 3
    for part in (
        "batch-norm statistics kept",
        "points compared with",
        "registered as letters-mean-of-3",
        "licence apache-2.0",
    ):
        assert part in done.out
    with Workspace() as opened:
        merged = next(e for e in opened.experts() if "merge" in e.tags)
    picture = next(family.data.rglob("*.png"))
    assert np.isfinite(extract(load(merged), [picture])).all()
