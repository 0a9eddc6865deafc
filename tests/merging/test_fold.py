"""An adapter folded into its base gives the same answers; merges and deltas take adapters as they are."""

import json

import numpy as np
import pytest
from safetensors import safe_open

from expertise_graph import TrainConfig
from expertise_graph.inference.opening import open_model
from expertise_graph.workspace import Workspace
from tests.program import invoke


@pytest.fixture
def lora(family):
    """The folder of a child of emoji that is an adapter."""
    config = TrainConfig(strategy="lora", epochs=4, batch_size=8, lr=3e-3)
    with Workspace() as opened:
        opened.warm_start(family.data, family.root / "lora", expert="emoji", config=config)
    assert (family.root / "lora" / "model" / "adapter_config.json").is_file()
    return family.root / "lora"


def answers(folder, family):
    model, items = open_model(folder), sorted((family.data / "test").rglob("*.png"))
    return model.logits(items)


@pytest.mark.slow
def test_a_folded_adapter_gives_the_same_answers_without_being_one(family, lora):
    out = family.root / "folded"
    found = invoke("fold", lora, "--out", out, "--json").worked().json
    assert set(found) == {"expert", "adapter", "path"}
    assert found["expert"].startswith("dir:")
    assert found["adapter"].startswith("adapter:")
    assert not (out / "model" / "adapter_config.json").exists()
    assert np.abs(answers(out, family) - answers(lora, family)).max() < 1e-4
    assert invoke("fold", lora, "--out", out, "--json").worked().json == found, "read back"
    with Workspace() as opened:
        (edge,) = [e for e in opened.store.edges("lineage", found["expert"]) if e.target == found["expert"]]
        assert (edge.source, edge.method) == (found["adapter"], "fold")
    with safe_open(out / "model" / "model.safetensors", "np") as tensors:
        assert not any("lora" in name for name in tensors.keys())  # noqa: SIM118
    assert "accuracy" in invoke("evaluate", out, family.data).worked().out


@pytest.mark.slow
def test_what_is_no_adapter_is_one_line(family):
    out = family.root / "folded"
    invoke("fold", family.runs[0], "--out", out).failed("is no adapter", "whole already")
    invoke("fold", "nobody", "--out", out).failed("no expert 'nobody'")
    assert not out.exists()


@pytest.mark.slow
def test_adapters_are_merged_with_full_children(family, lora):
    out = family.root / "merged"
    done = invoke("merge", lora, family.runs[0], "--data", family.data, "--out", out, "--json").worked().json
    assert done["parent"] == "zoo:emoji@resnet"
    assert len(done["children"]) == 2
    merged = answers(out, family)
    assert np.isfinite(merged).all()
    for name in ("model.safetensors", "config.json"):
        assert (out / "model" / name).is_file()


@pytest.mark.slow
def test_a_delta_of_an_adapter_gives_it_back(family, lora):
    file, out = family.root / "lora.delta.safetensors", family.root / "applied"
    invoke("delta", "make", lora, "--out", file).worked()
    invoke("delta", "apply", "emoji", file, "--out", out).worked()
    assert np.abs(answers(out, family) - answers(lora, family)).max() < 1e-3
    assert json.loads((out / "head.json").read_text())["classes"]
