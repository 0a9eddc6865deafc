"""Several networks that answer together: their mean, their folder, and what it takes to be one."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from expertise_graph.core.errors import InvalidInputError, NotFoundError
from expertise_graph.data.reading import read_data
from expertise_graph.inference.export import export_model
from expertise_graph.inference.model import Ensemble
from expertise_graph.inference.opening import open_model
from expertise_graph.models.run_folder import RunFolder
from tests.inference.conftest import finished
from tests.materials import change_json
from tests.program import invoke

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(image_run, letters, tmp_path_factory):
    """The run on the letters with one from another expert beside it; not to be written to."""
    out = tmp_path_factory.mktemp("pairs") / "pair"
    shutil.copytree(image_run, out)
    finished("greek-letters", read_data(letters), out / "members" / "2")
    change_json(out / "head.json", temperature=2.0)
    RunFolder(out).write_ensemble({".": 3.0, "members/2": 1.0}, 0.75)
    return out


@pytest.fixture
def ensemble(pair, tmp_path):
    """A copy of the pair."""
    return shutil.copytree(pair, tmp_path / "ensemble")


def test_it_gives_the_weighted_geometric_mean_of_the_probabilities(pair, letters):
    files = sorted(letters.rglob("*.png"))[::7]
    seen = []
    model = open_model(pair)
    found = model.probabilities(model.logits(files, progress=lambda label, done, n: seen.append((done, n))))
    assert isinstance(model, Ensemble)
    parts = [network.probabilities(network.logits(files)) for network in model.networks]
    assert not np.allclose(*parts, atol=0.05)
    product = parts[0] ** 0.75 * parts[1] ** 0.25
    np.testing.assert_allclose(found, product / product.sum(axis=1, keepdims=True), rtol=1e-4)
    assert seen == [(len(files), 2 * len(files)), (2 * len(files), 2 * len(files))]
    assert (model.accuracy, model.temperature, model.modality) == (0.75, 1.0, "image")
    assert model.identity == open_model(pair / "members" / "2").identity | {
        "expert": model.identity["expert"]
    }


def test_values_are_averaged(ensemble, letters):
    for folder in (ensemble, ensemble / "members" / "2"):
        change_json(folder / "head.json", kind="value", temperature=1.0)
    files = sorted(letters.rglob("*.png"))[:5]
    model = open_model(ensemble)
    parts = [network.logits(files) for network in model.networks]
    np.testing.assert_allclose(model.logits(files), 0.75 * parts[0] + 0.25 * parts[1], rtol=1e-5, atol=1e-6)


def test_the_commands_use_it_as_any_model(pair, letters, tmp_path):
    files = sorted(letters.rglob("*.png"))[:4]
    model = open_model(pair)
    expected = model.probabilities(model.logits(files))
    answer = invoke("predict", pair, *files, "--json", "--top", 5).worked().json
    for row, said in zip(expected, answer["predictions"], strict=True):
        assert {c["class"]: pytest.approx(c["probability"], abs=1e-5) for c in said["classes"]} == dict(
            zip(model.classes, row, strict=True)
        )
    judged = invoke("evaluate", pair, letters, "--split", "test", "--json").worked().json
    assert any("the run recorded 0.750 on its test split" in note for note in judged["notes"]) == (
        abs(judged["metrics"]["accuracy"] - 0.75) > 2.5 / judged["n"]
    )


def test_it_is_exported_as_one_file_where_its_networks_take_the_same(pair, letters, tmp_path):
    model = open_model(pair)
    target = tmp_path / "pair.pt2"
    assert export_model(model, target, kind="torch-export").relative < 1e-3
    about = json.loads((tmp_path / "pair.pt2.json").read_text())
    assert about["temperature"] == 1.0
    files = sorted(letters.rglob("*.png"))[:3]
    batch = model.networks[1].backbone.collate([Image.open(f).convert("RGB") for f in files])
    with torch.inference_mode():
        found = torch.export.load(target).module()(*batch.values()).numpy()
    np.testing.assert_allclose(found, model.logits(files), rtol=1e-3, atol=1e-4)


def test_networks_that_take_different_inputs_are_exported_one_by_one(ensemble, tmp_path):
    member = ensemble / "members" / "2"
    change_json(member / "model" / "preprocessor_config.json", image_mean=[0.1, 0.1, 0.1])
    done = invoke("export", ensemble, "--format", "torch-export", "--out", tmp_path / "e.pt2")
    done.failed(f"take different inputs: export them one by one, {member} for example")
    line = ("export", member, "--format", "torch-export", "--out", tmp_path / "e.pt2")
    invoke(*line).worked()


@pytest.mark.parametrize(
    "weights",
    [
        {".": 1, "../run": 1}, {".": 1, "members/../../x": 1}, {"members/2": 1, ".": 1}, {".": 1, "/tmp": 1},
        {".": 1}, {}, ["members/2"], None,
    ],
)  # fmt: skip
def test_members_lie_in_the_folder(weights, ensemble):
    change_json(ensemble / "ensemble.json", weights=weights)
    with pytest.raises(InvalidInputError, match=r"must give weights of ., members/2 and so on; it has"):
        open_model(ensemble)


@pytest.mark.parametrize("weight", [0, -1.0, "1", None, True])
def test_weights_are_numbers_above_zero(weight, ensemble):
    change_json(ensemble / "ensemble.json", weights={".": 1.0, "members/2": weight})
    with pytest.raises(InvalidInputError, match=r"gives members/2 the weight .*; a number above 0 is needed"):
        open_model(ensemble)


@pytest.mark.parametrize("changes", [{"accuracy": "high"}, {"accuracy": True}, {"seen": None}, {"seen": "3"}])
def test_what_is_noted_of_the_test_is_a_number(changes, ensemble):
    change_json(ensemble / "head.json", **changes)
    with pytest.raises(InvalidInputError, match=r"head.json has .* number is needed"):
        open_model(ensemble)
    change_json(ensemble / "head.json", accuracy=0.5, seen=0)
    change_json(ensemble / "ensemble.json", accuracy=[1])
    with pytest.raises(InvalidInputError, match=r"ensemble.json has the accuracy \[1\]; a number is needed"):
        open_model(ensemble)


def test_weights_of_any_size_are_shares(ensemble):
    change_json(ensemble / "ensemble.json", weights={".": 1e308, "members/2": 1e308})
    assert open_model(ensemble).weights == (0.5, 0.5)


def test_a_remark_on_the_card_takes_the_place_of_the_one_before(ensemble):
    before = (ensemble / "README.md").read_text()
    RunFolder(ensemble).write_ensemble({".": 1.0, "members/2": 1.0}, 0.5)
    after = (ensemble / "README.md").read_text()
    assert (before.count("0.7500 on the test split"), after.count("0.5000 on the test split")) == (1, 1)
    assert before.replace("0.7500 on the test split", "0.5000 on the test split") == after


def test_a_member_that_is_missing_or_of_other_classes_is_named(ensemble):
    member = ensemble / "members" / "2"
    change_json(member / "head.json", classes=list("abcde"))
    with pytest.raises(InvalidInputError, match=r"members/2 has other classes than .*ensemble"):
        open_model(ensemble)
    shutil.rmtree(member)
    with pytest.raises(NotFoundError, match=r"members/2"):
        open_model(ensemble)


def test_a_discarded_run_leaves_nothing_of_it(ensemble):
    (ensemble / "note.txt").write_text("mine")
    before = sorted(ensemble.rglob("*"))
    with pytest.raises(InvalidInputError, match=r"note.txt.*nothing was removed"):
        RunFolder(ensemble).discard()
    assert sorted(ensemble.rglob("*")) == before
    (ensemble / "note.txt").unlink()
    RunFolder(ensemble).discard()
    assert not ensemble.is_dir() or list(ensemble.iterdir()) == []
