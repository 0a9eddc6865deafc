"""A model by the name of a child or the id of a run, in a registry."""

import pytest

from expertise_graph.workspace import Workspace
from tests import materials
from tests.program import invoke


@pytest.fixture
def trained(workspace, letters):
    """The workspace with a warm start on letters."""
    arguments = ("--expert", "hebrew-letters", "--epochs", 1, "--batch-size", 8, "--json")
    return invoke("warm-start", letters, "--out", "out", *arguments).worked().json


@pytest.mark.slow
def test_a_run_and_its_child_name_the_same_model(trained, workspace, letters):
    with Workspace() as opened:
        child = opened.store.expert(trained["child"])
    picture = next(letters.rglob("*.png"))
    expected = invoke("predict", "out", picture, "--json").worked().json["predictions"]
    for name in (
        trained["run"],
        trained["run"][:12],
        trained["run"].removeprefix("run:"),
        child.id,
        child.name,
    ):
        found = invoke("predict", name, picture, "--json").worked().json
        assert found["predictions"] == expected
        assert found["model"] == str(workspace / "out")


@pytest.mark.slow
def test_names_that_are_no_model(trained, workspace, letters):
    invoke("predict", "hebrew-letters", letters).failed("has no classification head: fine-tune it")
    invoke("evaluate", "leters-from-hebrew-letters", letters).failed(
        "neither a folder nor a run", "Did you mean 'letters-from-hebrew-letters'"
    )
    invoke("export", "run:ffff", "--format", "torch-export", "--out", "x.pt2").failed(
        "neither a folder nor a run"
    )


@pytest.mark.slow
def test_a_model_whose_folder_is_gone(trained, workspace, letters):
    (workspace / "out").rename(workspace / "moved")
    invoke("predict", trained["child"], letters).failed("has no classification head")
    invoke("predict", trained["run"], letters).failed(f"no folder at {workspace / 'out'}")
    assert materials.counts(workspace)["runs"] == 1
