from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest
import torch
from transformers import BertConfig, ResNetConfig

from expertise_graph.core.errors import (
    InvalidInputError,
    NotFoundError,
    OfflineError,
    SourceError,
    UntrustedError,
)
from expertise_graph.models.base import InputSpec, SourceOptions
from expertise_graph.models.loading import load, resolve
from expertise_graph.models.networks import new_network
from expertise_graph.training.resizing.resize_expert import resize
from tests import materials
from tests.hub_server import HubServer
from tests.program import ROOT, environment
from tests.training.resizing.material import pictures, starter, texts

pytestmark = pytest.mark.slow


def likeness(one: torch.Tensor, two: torch.Tensor) -> float:
    """Return the biased CKA of two blocks of features."""
    grams = [(f - f.mean(0)) @ (f - f.mean(0)).T for f in (one, two)]
    return float((grams[0] * grams[1]).sum() / (grams[0].norm() * grams[1].norm()))


@pytest.mark.parametrize(("name", "inputs"), [("latin-letters", pictures), ("languages", texts)])
def test_the_fitted_half_answers_like_the_expert(name, inputs):
    expert, backbone = starter(name)
    items = inputs(240)
    seen, unseen = items[::2], items[1::2]
    cut, fitted = (resize(backbone, expert, "shrink:0.5", items=given) for given in ((), seen))
    batch = cut.collate(unseen)
    with torch.inference_mode():
        wanted = backbone.module(**batch)
        answers = [module(**batch) for module in (cut.fresh(0).eval(), cut.module, fitted.module)]
    fresh, selected, found = (likeness(answer, wanted) for answer in answers)
    assert found > 0.85
    assert fresh + 0.1 < selected < found - 0.1


def test_the_result_is_saved_and_read_back(tmp_path):
    for name, item in (("latin-letters", pictures(4)), ("languages", texts(4))):
        expert, backbone = starter(name)
        small = resize(backbone, expert, "shrink:width=0.5,depth=0.5", items=item)
        small.save(small.module, tmp_path / name)
        child = resolve(f"dir:{tmp_path / name}", SourceOptions())
        again = load(child)
        assert child.dim == small.dim == backbone.dim // 2
        assert torch.equal(again.module(**again.collate(item)), small.module(**small.collate(item)))


def test_neither_expert_nor_random_state_is_changed():
    expert, backbone = starter("latin-letters")
    before = {n: t.clone() for n, t in backbone.module.state_dict().items()}
    state = torch.random.get_rng_state()
    small = resize(backbone, expert, "shrink:0.5", items=pictures(8))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(t, before[n]) for n, t in backbone.module.state_dict().items())
    name = "model.encoder.stages.0.layers.0.layer.0.convolution.weight"
    fresh = [small.fresh(seed).state_dict()[name] for seed in (1, 1, 2)]
    assert torch.equal(fresh[0], fresh[1])
    assert not torch.equal(fresh[0], fresh[2])


def test_selection_alone_is_a_part_of_the_expert():
    expert, backbone = starter("latin-letters")
    small = resize(backbone, expert, "shrink:0.5")
    name = "model.encoder.stages.0.layers.0.layer.0.convolution.weight"
    assert torch.equal(small.module.state_dict()[name], backbone.module.state_dict()[name][::2, ::2])
    other = resize(backbone, expert, "shrink:0.5", selection="first")
    assert torch.equal(other.module.state_dict()[name], backbone.module.state_dict()[name][:16, :16])


def test_another_expert_gives_its_architecture():
    expert, backbone = starter("latin-letters")
    other, narrow = starter("greek-letters")
    small = resize(backbone, expert, other)
    assert small.dim == 112
    assert {n: t.shape for n, t in small.module.state_dict().items()} == {
        n: t.shape for n, t in narrow.module.state_dict().items()
    }
    name = "model.encoder.stages.0.layers.0.layer.0.convolution.weight"
    assert torch.equal(small.module.state_dict()[name], backbone.module.state_dict()[name])


def test_a_configuration_gives_its_architecture(tmp_path):
    ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1] * 4, layer_type="basic"
    ).save_pretrained(tmp_path / "narrow")
    expert, backbone = starter("latin-letters")
    small = resize(backbone, expert, f"dir:{tmp_path / 'narrow'}")
    assert small.dim == 64
    assert small.module(**small.collate(pictures(2))).shape == (2, 64)


def test_a_text_configuration_keeps_the_vocabulary(tmp_path):
    BertConfig(
        hidden_size=48, intermediate_size=64, num_attention_heads=2, num_hidden_layers=1
    ).save_pretrained(tmp_path)
    expert, backbone = starter("languages")
    small = resize(backbone, expert, f"dir:{tmp_path}", items=texts(8))
    assert small.module.model.config.vocab_size == 3200
    assert small.module(**small.collate(texts(3))).shape == (3, 48)


@pytest.mark.parametrize(
    ("reference", "kind", "reason"),
    [
        ("shrink:2", InvalidInputError, "width=2: give a share above 0 and at most 1"),
        ("half", InvalidInputError, "'half' names no architecture; possible: shrink:0.5,"),
        ("timm:", InvalidInputError, "'timm:' names no architecture"),
        ("timm:resnet18", InvalidInputError, "latin-letters is a resnet of transformers, and timm: networks"),
        ("factory:a:b", InvalidInputError, "and factory: networks are of another family"),
        ("dir:nowhere", NotFoundError, "no folder at"),
        ("hf:someone/else", OfflineError, "hf:someone/else needs the network"),
    ],
)
def test_references_that_lead_nowhere_are_refused(reference, kind, reason):
    expert, backbone = starter("latin-letters")
    with pytest.raises(kind, match=reason):
        resize(backbone, expert, reference)


def test_larger_and_other_architectures_are_refused():
    narrow, latin, words = starter("greek-letters"), starter("latin-letters"), starter("languages")
    with pytest.raises(InvalidInputError, match="choose an architecture that is smaller in every layer"):
        resize(narrow[1], narrow[0], latin[0])
    with pytest.raises(InvalidInputError, match="mobilenet_v2 and latin-letters is a resnet"):
        resize(latin[1], latin[0], starter("mobilenet-v2-imagenet")[0])
    with pytest.raises(InvalidInputError, match="languages takes text and latin-letters takes image"):
        resize(latin[1], latin[0], words[0])


def test_a_deeper_architecture_is_refused():
    clipart, fashion, latin = starter("clipart"), starter("fashion"), starter("latin-letters")
    assert resize(clipart[1], clipart[0], fashion[0]).dim == 112
    with pytest.raises(InvalidInputError, match=r"no tensor .*layers\.1\..*of another family, or deeper"):
        resize(latin[1], latin[0], clipart[0])


HUB = """
from expertise_graph.core import ExpertiseError
from expertise_graph.training import resize
from tests.training.resizing.material import starter

expert, backbone = starter("latin-letters")
print(resize(backbone, expert, "hf:acme/tiny").dim)
for name in ("acme/empty", "acme/none"):
    try:
        resize(backbone, expert, f"hf:{name}")
    except ExpertiseError as error:
        print(type(error).__name__, error)
"""


def test_a_repository_gives_its_architecture_without_its_weights(tmp_path):
    tiny = materials.resnet(tmp_path / "root/models/acme/tiny", 1)
    # No weights: they are not asked for.
    (tiny / "model.safetensors").unlink()
    (tmp_path / "root/models/acme/empty").mkdir()
    (tmp_path / "root/models/acme/empty/README.md").write_text("# Nothing")
    with HubServer(tmp_path / "root") as server:
        done = subprocess.run(
            [sys.executable, "-c", HUB],
            env=environment(tmp_path) | server.environment(tmp_path / "hf"),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.splitlines() == [
        "32",
        "SourceError hf:acme/empty has no config.json, so its architecture is not known",
        "MissingRepositoryError no repository hf:acme/none on the Hub, or it is private: check the name, or "
        "log in with: hf auth login, or set HF_TOKEN",
    ]


FACTORY = """
from torch import nn

def build(width):
    return nn.Sequential(nn.Conv2d(3, width, 3, stride=2), nn.BatchNorm2d(width), nn.ReLU(),
                         nn.Conv2d(width, 2 * width, 3), nn.AdaptiveAvgPool2d(1))

def wide():
    return build(8)

def narrow():
    return build(4)
"""


def test_networks_of_the_user_are_resized_to_another_of_his(tmp_path, monkeypatch):
    (tmp_path / "his_nets.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    spec = {"factory": "his_nets:wide", "input": dataclasses.asdict(InputSpec(size=16))}
    made = new_network(spec, trust_code=True)
    made.save(made.module, tmp_path / "wide")
    expert = resolve(f"dir:{tmp_path / 'wide'}", SourceOptions(trust_code=True))
    backbone = load(expert, trust_code=True)
    with pytest.raises(UntrustedError, match="his_nets:narrow is code that would be run"):
        resize(backbone, expert, "factory:his_nets:narrow")
    with pytest.raises(InvalidInputError, match="no settings to shrink: name the smaller one"):
        resize(backbone, expert, "shrink:0.5")
    items = pictures(6)
    small = resize(backbone, expert, "factory:his_nets:narrow", items=items, trust_code=True)
    assert small.dim == 8
    small.save(small.module, tmp_path / "narrow")
    again = load(resolve(f"dir:{tmp_path / 'narrow'}", SourceOptions(trust_code=True)), trust_code=True)
    assert torch.equal(again.module(**again.collate(items)), small.module(**small.collate(items)))
    with pytest.raises(SourceError, match="holds no configuration of transformers"):
        resize(backbone, expert, f"dir:{tmp_path / 'narrow'}")


def test_a_configuration_with_code_of_its_own_is_refused(tmp_path):
    expert, backbone = starter("latin-letters")
    backbone.save(backbone.module, tmp_path / "copy")
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    shutil.rmtree(tmp_path / "copy")
    (tmp_path / "copy").mkdir()
    config |= {"model_type": "strange", "auto_map": {"AutoModel": "code.Net"}}
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UntrustedError, match="needs code of its own"):
        resize(backbone, expert, f"dir:{tmp_path / 'copy'}")
