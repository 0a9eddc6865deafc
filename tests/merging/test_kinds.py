"""Merges and deltas of models that give several labels an item, or a value."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from expertise_graph.data.dataset import Columns, LabelledData
from expertise_graph.data.reading import read_data
from expertise_graph.merging.evaluator import Evaluator
from expertise_graph.merging.loaded_model import open_folder
from expertise_graph.training.config import TrainConfig
from expertise_graph.workspace import Workspace
from tests import materials
from tests.program import invoke

COLUMNS = {
    "labels": Columns(item="photo", modality="image", label="kinds", target="labels", separator="/"),
    "value": Columns(item="photo", modality="image", label="much", target="value"),
}
METRIC = {"labels": "average_precision", "value": "r2"}


@dataclass(frozen=True)
class Pair:
    """Two children of emoji on one table, in a workspace that is the current folder."""

    kind: str
    folder: Path

    @property
    def runs(self) -> list[Path]:
        return [self.folder / f"{self.kind}-{number}" for number in (0, 1)]

    @property
    def columns(self) -> list[str]:
        settings = COLUMNS[self.kind].settings
        return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]

    @property
    def data(self) -> LabelledData:
        return read_data(self.folder / "t.csv", columns=COLUMNS[self.kind])


@pytest.fixture(scope="session")
def taught(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kinds") / "workspace"
    letters = materials.pictures(folder / "letters", 4, 8)
    rows = ["photo;kinds;much"]
    for number, letter in enumerate(sorted(letters.iterdir())):
        for i, picture in enumerate(sorted(letter.iterdir())):
            kinds = f"{letter.name}/odd" if number % 2 else letter.name
            rows.append(f"{picture.relative_to(folder)};{kinds};{100 + 10 * number + i / 10}")
    (folder / "t.csv").write_text("\n".join(rows) + "\n")
    probes = materials.pictures(folder / "probes", 12, 4)
    with Workspace.init(folder) as made:
        made.create_probe_set(probes, name="small", n=32, seed=0, license="CC0-1.0")
        made.register("zoo:emoji")
        for kind, columns in COLUMNS.items():
            for number in (0, 1):
                config = TrainConfig(
                    strategy="full", epochs=3, batch_size=8, lr=(1 + number) * 3e-3, augment=False
                )
                out = folder / f"{kind}-{number}"
                made.warm_start(folder / "t.csv", out, expert="emoji", config=config, columns=columns)
    return folder


@pytest.fixture(params=["labels", "value"])
def pair(request, taught, tmp_path, monkeypatch) -> Pair:
    folder = tmp_path / "workspace"
    shutil.copytree(taught, folder)
    monkeypatch.chdir(folder)
    return Pair(request.param, folder)


def merge(pair, *options, out="merged"):
    line = ("merge", *pair.runs, "--data", "t.csv", *pair.columns, "--out", out, *options, "--json")
    return invoke(*line).worked().json


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mean", "task-arithmetic", "ties", "fisher"])
def test_every_method_merges_the_heads_and_measures_by_their_own_measure(pair, method):
    found = merge(pair, "--method", method)
    assert (found["metric"], found["head"]) == (METRIC[pair.kind], "merged")
    described = json.loads((pair.folder / "merged" / "head.json").read_text())
    assert (described["kind"], tuple(described["classes"])) == (pair.kind, pair.data.outputs)
    judged = invoke("evaluate", "merged", "t.csv", *pair.columns, "--split", "test", "--json").worked().json
    name = "mean_average_precision" if pair.kind == "labels" else "r2"
    assert judged["metrics"][name] == pytest.approx(found["accuracy"], abs=1e-5)
    for run, child in zip(pair.runs, found["children"], strict=True):
        recorded = json.loads((run / "run.json").read_text())["result"]
        assert (child["accuracy"], child["validation_accuracy"]) == pytest.approx(
            (recorded["accuracy"], recorded["validation_accuracy"]), abs=1e-5
        )
    (edge,) = [r for r in invoke("history", "ls", "--json").worked().json if r["method"] == f"merge:{method}"]
    assert (edge["metric"], edge["value"]) == (METRIC[pair.kind], pytest.approx(found["accuracy"]))
    if method == "mean":
        heads = [load_file(path / "head.safetensors") for path in (*pair.runs, pair.folder / "merged")]
        torch.testing.assert_close(heads[2]["weight"], (heads[0]["weight"] + heads[1]["weight"]) / 2)


@pytest.mark.slow
def test_a_probe_is_fitted_where_the_heads_are_for_other_outputs(pair):
    for run in pair.runs:
        names = json.loads((run / "head.json").read_text())["classes"]
        materials.change_json(run / "head.json", classes=[f"other {name}" for name in names])
    found = merge(pair)
    assert found["head"] == "probe"
    assert found["accuracy"] > 0.5
    judged = invoke("evaluate", "merged", "t.csv", *pair.columns, "--split", "test", "--json").worked().json
    assert max(judged["metrics"].values()) >= found["accuracy"] - 1e-5


@pytest.mark.slow
def test_fisher_information_of_the_head_has_its_closed_form(pair):
    model = open_folder(pair.runs[0])
    evaluator = Evaluator(pair.data, model.backbone, 0)
    head = model.head.ordered(evaluator.classes)
    found = evaluator.fisher(model.backbone.module, head)["head.bias"]
    outputs = evaluator.features(model.backbone.module, "train") @ head.weight.T + head.bias
    if pair.kind == "labels":
        p = outputs.sigmoid()
        torch.testing.assert_close(found.sum(), (p * (1 - p)).mean(dim=0).sum(), rtol=0.6, atol=0.05)
    else:
        scale = float(pair.data.targets[evaluator.rows["train"]].std())
        assert 0.3 / scale**2 < float(found) < 3 / scale**2


@pytest.mark.slow
def test_a_delta_takes_the_head_along_and_gives_the_child_back(pair):
    made = invoke("delta", "make", pair.runs[0], "--out", "a.safetensors", "--json").worked().json
    assert made["head"] == "whole"
    invoke("delta", "apply", "emoji", "a.safetensors", "--out", "applied").worked()
    described = json.loads((pair.folder / "applied" / "head.json").read_text())
    assert described["kind"] == pair.kind
    items = sorted((pair.folder / "letters").rglob("*.png"))[:5]
    answers = [
        invoke("predict", out, *items, "--json").worked().json["predictions"]
        for out in ("applied", pair.runs[0])
    ]
    if pair.kind == "value":
        values = [[p["value"] for p in answer] for answer in answers]
        assert values[0] == pytest.approx(values[1], rel=1e-4)
    else:
        # The delta knows no temperature, which changes probabilities and not their order.
        best = [[p["classes"][0]["class"] for p in answer if p["classes"]] for answer in answers]
        assert best[0] == best[1]


@pytest.mark.slow
def test_deltas_of_different_kinds_are_not_averaged(taught, tmp_path, monkeypatch):
    shutil.copytree(taught, tmp_path / "workspace")
    monkeypatch.chdir(tmp_path / "workspace")
    for kind in COLUMNS:
        invoke("delta", "make", f"{kind}-0", "--out", f"{kind}.safetensors").worked()
    line = ("delta", "apply", "emoji", "labels.safetensors", "value.safetensors", "--out", "mixed")
    invoke(*line).failed("heads for different classes", "--no-head")
    invoke(*line, "--no-head").worked()


@pytest.mark.slow
def test_a_delta_that_names_no_kind_has_a_head_for_classes(family):
    invoke("delta", "make", family.runs[0], "--out", "a.safetensors").worked()
    tensors = load_file("a.safetensors")
    with safe_open("a.safetensors", framework="pt") as file:
        metadata = dict(file.metadata())
    assert metadata.pop("kind") == "class"
    save_file(tensors, "b.safetensors", metadata=metadata)
    invoke("delta", "apply", "emoji", "b.safetensors", "--out", "applied").worked()
    assert json.loads(Path("applied/head.json").read_text())["kind"] == "class"
    save_file(tensors, "c.safetensors", metadata={**metadata, "kind": "shapes"})
    invoke("delta", "apply", "emoji", "c.safetensors", "--out", "c").failed("what its head gives")
