"""A smaller network than the expert's, started from the expert's weights, through the command line."""

import json

import pytest
from safetensors.torch import load_file

from expertise_graph.workspace import Workspace
from tests import materials
from tests.program import invoke


@pytest.fixture
def letters(tmp_path):
    return materials.pictures(tmp_path / "letters", 4, 10)


def start(data, out, *options):
    command = (
        "warm-start",
        data,
        "--out",
        out,
        "--expert",
        "hebrew-letters",
        "--epochs",
        3,
        "--batch-size",
        8,
    )
    return invoke(*command, *options, "--json")


@pytest.mark.slow
def test_half_the_width_is_a_child_and_no_result_of_the_expert(workspace, letters):
    result = start(letters, "half", "--into", "shrink:0.5", "--distill", 0.5, "--compare-cold").worked().json
    assert result["accuracy"] > 0.5
    assert result["transfer_gain"] == pytest.approx(result["accuracy"] - result["cold_accuracy"])
    with Workspace(workspace) as opened:
        child, parent = (opened.store.find_expert(result[name]) for name in ("child", "expert"))
        (lineage,) = opened.store.edges("lineage")
        assert opened.store.edges("transfer") == []
    assert child.id != parent.id
    assert child.params < 0.35 * parent.params
    assert (lineage.source, lineage.target) == (parent.id, child.id)
    assert dict(lineage.meta) == {"into": "shrink:0.5"}
    head = load_file(workspace / "half" / "head.safetensors")["weight"]
    assert head.shape == (4, child.dim)
    again = start(letters, "half", "--into", "shrink:0.5", "--distill", 0.5, "--compare-cold").worked().json
    assert again == result
    classes = json.loads((workspace / "half" / "head.json").read_text())["classes"]
    image = next(next(letters.iterdir()).iterdir())
    found = invoke("predict", "half", image, "--json").worked().json
    assert found["predictions"][0]["classes"][0]["class"] in classes


@pytest.mark.slow
def test_a_probe_of_a_smaller_network_is_a_child_too(workspace, letters):
    result = start(letters, "probe", "--into", "shrink:0.5", "--strategy", "linear-probe").worked().json
    assert result["child"] != result["expert"]


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("shrink:2", "width=2: give a share above 0 and at most 1"),
        ("emoji-names", "takes text and hebrew-letters takes image"),
        ("nobody", "no expert"),
        ("tim:resnet", "no expert"),
    ],
)
def test_architectures_that_cannot_be(workspace, letters, reference, problem):
    found = start(letters, "out", "--into", reference)
    assert found.code == 1
    assert problem in found.err
    assert not (workspace / "out").exists()
