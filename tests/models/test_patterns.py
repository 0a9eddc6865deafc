"""Sources with the wildcards of a shell: which they mean, and what is said where none does."""

import sys
import types

import pytest

from expertise_graph import models
from expertise_graph.core.errors import NotFoundError
from tests import materials
from tests.program import invoke


def test_folders_that_match_are_registered_in_the_order_of_their_names(blank, tmp_path):
    for name, seed in (("step-2", 2), ("step-1", 1), ("other", 3)):
        materials.resnet(tmp_path / "checkpoints" / name, seed)
    (tmp_path / "checkpoints" / "step-logs").mkdir()
    (tmp_path / "checkpoints" / "step-note").write_text("no folder")
    pattern = f"dir:{tmp_path}/checkpoints/step-*"
    done = invoke("register", pattern, "--json").worked()
    assert [row["name"] for row in done.json] == ["step-1", "step-2"]
    assert [row["source"] for row in done.json] == [f"dir:{tmp_path}/checkpoints/step-{i}" for i in (1, 2)]
    assert done.err == f"{pattern}: 2 matches\n"
    again = invoke("register", f"dir:{tmp_path}/checkpoints/othr*", pattern, "--json")
    assert again.code == 1
    assert [(row["name"] if row["id"] else row["failure"]) for row in again.json] == [
        "gone",
        "step-1",
        "step-2",
    ]
    assert "no folder matches" in again.json[0]["error"]
    assert "the nearest are other" in again.json[0]["error"]
    invoke("register", pattern, "--name", "mine").failed("--name is that of one expert, and 2 sources match")
    none = invoke("register", f"dir:{tmp_path}/checkpoints/step-l*")
    none.failed("1 folder match", "none holds a model")


def test_a_folder_that_is_called_like_a_pattern_is_itself(blank, tmp_path):
    folder = materials.resnet(tmp_path / "m[1]", 1)
    assert models.matching(f"dir:{folder}") == [f"dir:{folder}"]
    assert [row["name"] for row in invoke("register", f"dir:{folder}", "--json").worked().json] == ["m[1]"]


def test_names_of_timm_are_those_with_weights(monkeypatch):
    names = ["resnet18.tv_in1k", "resnet18.a1_in1k", "resnet50.a1_in1k", "vit_tiny.augreg"]
    stub = types.ModuleType("timm")
    stub.list_models = lambda pretrained: names if pretrained else [*names, "resnet18.none"]
    monkeypatch.setitem(sys.modules, "timm", stub)
    assert models.matching("timm:resnet18*") == ["timm:resnet18.a1_in1k", "timm:resnet18.tv_in1k"]
    assert models.matching("timm:vit_tiny.augreg") == ["timm:vit_tiny.augreg"]
    with pytest.raises(
        NotFoundError, match=r"timm has no model 'resnt18\*'; the nearest are resnet18\.a1_in1k"
    ):
        models.matching("timm:resnt18*")
    assert models.matching("hf:acme/*") == ["hf:acme/*"]
