"""``factory:``: the user's own network, run only when that was allowed for the command."""

import json
import pickle
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from expertise_graph.core.errors import UntrustedError
from expertise_graph.features.running import extract
from expertise_graph.models.base import InputSpec, SourceOptions
from expertise_graph.models.loading import load, resolve
from expertise_graph.workspace import Workspace
from tests import materials
from tests.models.test_threats import Malicious
from tests.program import invoke

CODE = """
from pathlib import Path
import torch
from torch import nn

Path({marker!r}).touch()

def network():
    return nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 12, 3, stride=2))

def broken():
    raise ValueError("no network today")

def wrong():
    return "a string"

def inverted(image):
    return 1.0 - torch.tensor(list(image.convert("L").resize((16, 16)).tobytes())).reshape(1, 16, 16) / 255.0
"""
DECLARED = ("--input-size", 16, "--channels", 1, "--mean", "0.5", "--std", "0.25")


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 12, 3, stride=2))


@pytest.fixture
def module(blank):
    """The name of a module in the current folder that leaves a file when it is imported."""
    name = f"net_{uuid.uuid4().hex[:8]}"
    (blank / f"{name}.py").write_text(CODE.format(marker=str(blank / "imported")))
    return name


@pytest.fixture
def weights(blank):
    save_file(network().state_dict(), blank / "net.safetensors")
    return blank / "net.safetensors"


def register(module, weights, *more, name="network"):
    given = ("--weights", weights, *DECLARED, "--name", "mine")
    return invoke("register", f"factory:{module}:{name}", *given, *more)


def test_without_the_flag_nothing_is_imported(blank, module, weights):
    register(module, weights).failed(f"{module}:network is code", "--trust-code")
    assert not (blank / "imported").exists()
    assert materials.counts(blank)["experts"] == 0


def test_with_the_flag_it_is_registered_and_marked(blank, module, weights):
    register(module, weights, "--trust-code").worked()
    with Workspace() as workspace:
        expert = workspace.store.find_expert("mine")
    assert expert.trusted_code
    assert (expert.dim, expert.weights_format) == (12, "safetensors")
    assert expert.params == sum(p.numel() for p in network().parameters())
    assert expert.meta["input"]["std"] == [0.25]


def test_features_are_those_of_the_network_on_the_declared_input(blank, module, weights):
    spec = InputSpec(size=16, channels=1, mean=(0.5,), std=(0.25,))
    options = SourceOptions(trust_code=True, weights=str(weights), input=spec)
    expert = resolve(f"factory:{module}:network", options)
    picture = next((materials.LETTERS / "test" / "ayb").iterdir())
    pixels = np.asarray(
        Image.open(picture).convert("L").resize((16, 16), Image.Resampling.BILINEAR), np.float32
    )
    with torch.inference_mode():
        scaled = torch.from_numpy((pixels / 255 - 0.5) / 0.25)[None, None]
        expected = network()(scaled).mean(dim=(2, 3)).numpy()
    found = extract(load(expert, trust_code=True), [picture])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UntrustedError, match="trust_code=True"):
        load(expert)


def test_a_transform_of_the_user_replaces_the_declared_scaling(blank, module, weights):
    plain = InputSpec(size=16, channels=1, mean=(0.0,), std=(1.0,))
    inverted = InputSpec(size=16, channels=1, mean=(0.0,), std=(1.0,), transform=f"{module}:inverted")
    picture = [next((materials.LETTERS / "test" / "ayb").iterdir())]
    found = []
    for spec in (plain, inverted):
        options = SourceOptions(trust_code=True, weights=str(weights), input=spec)
        expert = resolve(f"factory:{module}:network", options)
        found.append(extract(load(expert, trust_code=True), picture))
    assert not np.allclose(found[0], found[1], atol=1e-3)


def test_a_plain_state_dict_is_read_without_running_code(blank, module, tmp_path):
    torch.save({"state_dict": network(1).state_dict()}, tmp_path / "net.pt")
    register(module, tmp_path / "net.pt", "--trust-code").worked()
    with Workspace() as workspace:
        assert workspace.store.find_expert("mine").weights_format == "state dict (weights only)"


def test_a_malicious_pickle_is_refused_even_with_the_flag(blank, module, tmp_path):
    marker = tmp_path / "executed"
    for name, content in (("raw.pt", pickle.dumps(Malicious(marker))), ("zip.pt", None)):
        path = tmp_path / name
        if content is None:
            torch.save({"weight": Malicious(marker)}, path)
        else:
            path.write_bytes(content)
        register(module, path, "--trust-code").failed("no plain state dict")
    assert not marker.exists()
    assert materials.counts(blank)["experts"] == 0


@pytest.mark.parametrize(
    ("name", "more", "parts"),
    [
        ("broken", (), ("no network today",)),
        ("wrong", (), ("returned a str",)),
        ("missing", (), ("cannot be imported",)),
        ("network", ("--channels", 3), ("--channels",)),
        ("network", ("--input-size", 4), ("--input-size",)),
        ("network", ("--input-size", 2), ("--input-size 2", "4 to 4096")),
        ("network", ("--channels", 2), ("1 or 3",)),
        ("network", ("--std", "0"), ("--std",)),
        ("network", ("--mean", "0.5,0.5"), ("--mean",)),
    ],
)
def test_a_network_that_does_not_fit_is_one_clear_error(blank, module, weights, name, more, parts):
    register(module, weights, "--trust-code", *more, name=name).failed(*parts)
    assert materials.counts(blank)["experts"] == 0


def test_what_is_missing_is_named(blank, module, weights):
    bare = ("register", f"factory:{module}:network", "--trust-code")
    invoke(*bare).failed("needs --weights", "--input-size")
    invoke(*bare, "--weights", blank / "gone.pt", *DECLARED).failed("no weights file at")
    invoke("register", "factory:no_such_module:f", "--trust-code", "--weights", weights, *DECLARED).failed(
        "no_such_module"
    )
    invoke("register", "factory:nothing", "--trust-code", "--weights", weights, *DECLARED).failed(
        "module:callable"
    )
    assert invoke(*bare, "--mean", "half", *DECLARED[:2]).code == 2


def test_weights_of_another_network_are_refused(blank, module, tmp_path):
    save_file({"0.weight": torch.zeros(6, 1, 3, 3)}, tmp_path / "part.safetensors")
    register(module, tmp_path / "part.safetensors", "--trust-code").failed("lacks 3 tensors")
    save_file({**network().state_dict(), "0.weight": torch.zeros(6, 3, 3, 3)}, tmp_path / "other.safetensors")
    register(module, tmp_path / "other.safetensors", "--trust-code").failed("does not fit")


def test_what_is_saved_needs_the_flag_again_and_gives_the_same_features(blank, module, weights, tmp_path):
    spec = InputSpec(size=16, channels=1, mean=(0.5,), std=(0.25,))
    expert = resolve(
        f"factory:{module}:network", SourceOptions(trust_code=True, weights=str(weights), input=spec)
    )
    backbone = load(expert, trust_code=True)
    backbone.save(backbone.module, tmp_path / "child")
    with pytest.raises(UntrustedError, match="trust_code=True"):
        resolve(f"dir:{tmp_path / 'child'}", SourceOptions())
    child = resolve(f"dir:{tmp_path / 'child'}", SourceOptions(trust_code=True))
    assert child.trusted_code
    with pytest.raises(UntrustedError, match="trust_code=True"):
        load(child)
    picture = [next((materials.LETTERS / "test" / "ayb").iterdir())]
    np.testing.assert_array_equal(extract(load(child, trust_code=True), picture), extract(backbone, picture))


@pytest.mark.parametrize("built", [{"factory": "evil_module:network"}, {"timm": "resnet18"}])
def test_a_folder_that_names_code_needs_the_flag(blank, built):
    (blank / "evil_module.py").write_text(CODE.format(marker=str(blank / "imported")))
    folder = blank / "folder"
    folder.mkdir()
    spec = {**built, "input": {"size": 16, "channels": 1, "transform": "evil_module:inverted"}}
    (folder / "network.json").write_text(json.dumps(spec))
    save_file(network().state_dict(), folder / "model.safetensors")
    invoke("register", f"dir:{folder}").failed("evil_module:", "--trust-code")
    assert not (blank / "imported").exists()


@pytest.mark.parametrize("content", ["[]", "{}", '{"factory": 3, "input": {}}', '{"factory": "a:b"}', "{"])
def test_a_damaged_description_is_one_clear_error(blank, content):
    folder = Path(blank / "folder")
    folder.mkdir()
    (folder / "network.json").write_text(content)
    invoke("register", f"dir:{folder}", "--trust-code").failed("network.json")
