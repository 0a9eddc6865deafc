"""A model by the name of a child or the id of a run, in a registry."""

import shutil

import pytest

from expertise_graph.data.reading import read_data
from expertise_graph.data.sampling import holdout
from expertise_graph.workspace import Workspace
from tests import materials
from tests.program import invoke


@pytest.fixture
def trained(workspace, letters):
    """The workspace with a warm start on letters."""
    arguments = ("--expert", "hebrew-letters", "--epochs", 1, "--batch-size", 8, "--json")
    return invoke("warm-start", letters, "--out", "out", *arguments).worked().json


@pytest.mark.slow
def test_the_registry_knows_what_a_folder_of_an_earlier_version_leaves_open(
    trained, workspace, letters, tmp_path
):
    data = shutil.copytree(letters, tmp_path / "minus")
    with Workspace() as opened:
        splits = holdout(read_data(letters), seed=0)
        read_data(data).items[splits.train[0]].unlink()
        name = opened.store.expert(trained["child"]).name
    expected = (len(splits.test), 50 - len(splits.test) - 1)
    for model in ("out", name):
        found = invoke("evaluate", model, data, "--json").worked().json
        assert (found["n"], found["learnt"]) == expected
    (workspace / "out" / "learnt.safetensors").unlink()
    for model in ("out", name):
        found = invoke("evaluate", model, data, "--json").worked().json
        assert (found["n"], found["learnt"]) == expected


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
