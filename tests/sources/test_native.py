"""Models that transformers' own classes read: the same logits, and the same expert for us."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    ConvNextConfig,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)

from expertise_graph.errors import MissingExtraError
from expertise_graph.probing import extract
from expertise_graph.sources import SourceOptions, load, resolve
from expertise_graph.sources.native import write_native
from expertise_graph.sources.pooled import PooledModel
from expertise_graph.starter.published import PUBLISHED, package_root
from tests import materials

CLASSES = ("ayb", "=ben", "gim")
NONE = SourceOptions()
TEXTS = ["a short one", "a text that is quite a bit longer than the others here", "third"]


def head(width, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(width, len(CLASSES))


def pictures():
    return [next((materials.LETTERS / "test" / name).iterdir()) for name in ("ayb", "ben", "gim")]


def saved(reference, folder):
    backbone = load(resolve(reference, NONE))
    backbone.save(backbone.module, folder)
    return backbone


@pytest.mark.parametrize("name", ["emoji", "mobilenet-v2-imagenet"])
def test_an_image_model_reads_with_transformers_alone(name, tmp_path):
    if name in PUBLISHED:
        try:
            package_root(PUBLISHED[name])
        except MissingExtraError as missing:
            pytest.skip(str(missing))
    folder = tmp_path / "model"
    backbone, linear = saved(f"zoo:{name}", folder), head(resolve(f"zoo:{name}", NONE).dim)
    form = write_native(backbone.module, linear, folder, classes=CLASSES)
    assert form.architecture.endswith("ForImageClassification")
    assert form.difference <= 1e-4
    assert "AutoModelForImageClassification" in form.note
    model = AutoModelForImageClassification.from_pretrained(folder)
    assert model.config.id2label == dict(enumerate(CLASSES))
    assert model.config.problem_type == "single_label_classification"
    shown = [Image.open(path).convert("RGB") for path in pictures()]
    with torch.inference_mode():
        found = model(**AutoImageProcessor.from_pretrained(folder)(shown, return_tensors="pt")).logits
        expected = linear(torch.from_numpy(extract(backbone, pictures())))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.01


def test_the_source_reads_the_same_features_and_pins_the_whole_file(tmp_path):
    backbone = saved("zoo:emoji", tmp_path / "model")
    bare = resolve(f"dir:{tmp_path / 'model'}", NONE)
    write_native(backbone.module, head(128), tmp_path / "model", classes=CLASSES)
    expert = resolve(f"dir:{tmp_path / 'model'}", NONE)
    np.testing.assert_array_equal(extract(load(expert), pictures()), extract(backbone, pictures()))
    assert (expert.dim, expert.modality, expert.architecture) == (bare.dim, "image", "resnet")
    assert expert.params == bare.params + 129 * 3
    copied = shutil.copytree(tmp_path / "model", tmp_path / "copy")
    assert resolve(f"dir:{copied}", NONE).id == expert.id != bare.id
    grandchild = tmp_path / "grandchild"
    load(expert).save(load(expert).module, grandchild)
    form = write_native(load(expert).module, head(128, 1), grandchild, classes=CLASSES[::-1])
    assert form.architecture == "ResNetForImageClassification"
    config = json.loads((grandchild / "config.json").read_text())
    assert [config["id2label"][str(i)] for i in range(3)] == list(CLASSES[::-1])


@pytest.mark.parametrize("reference", ["languages", "emoji-names"])
def test_a_text_model_that_averages_its_tokens_is_left_as_it_was(reference, tmp_path):
    backbone = saved(f"zoo:{reference}", tmp_path / "model")
    before = {p: p.read_bytes() for p in (tmp_path / "model").rglob("*") if p.is_file()}
    form = write_native(backbone.module, head(96), tmp_path / "model", classes=CLASSES)
    assert form.architecture is None
    assert "BertForSequenceClassification" in form.note
    assert "mean" in form.note
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("kind", ["class", "labels", "value"])
def test_a_text_model_that_takes_its_first_token_goes_through_the_tanh(kind, tmp_path):
    source = materials.starter("emoji-names", tmp_path)
    modes = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    materials.change_json(source / "1_Pooling" / "config.json", **modes)
    backbone, linear = saved(f"dir:{source}", tmp_path / "model"), head(96)
    form = write_native(backbone.module, linear, tmp_path / "model", classes=CLASSES, kind=kind)
    assert form.architecture == "BertForSequenceClassification"
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    problem = {"class": "single_label_", "labels": "multi_label_"}.get(kind)
    assert model.config.problem_type == (f"{problem}classification" if problem else "regression")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "model")(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = linear(torch.from_numpy(extract(backbone, TEXTS)))
        torch.testing.assert_close(model(**tokens).logits, expected, rtol=1e-3, atol=1e-3)
    assert expected.std() > 0.01
    again = load(resolve(f"dir:{tmp_path / 'model'}", NONE))
    np.testing.assert_allclose(extract(again, TEXTS), extract(backbone, TEXTS), atol=1e-6)


def small(kind):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "vit":
            return ViTModel(ViTConfig(**sizes, intermediate_size=64, image_size=32, patch_size=8)).eval()
        if kind == "dinov2":
            return Dinov2Model(Dinov2Config(**sizes, image_size=28, patch_size=14)).eval()
        return ConvNextModel(ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])).eval()


@pytest.mark.parametrize(
    ("kind", "pooling", "possible"),
    [("vit", "cls", True), ("dinov2", "cls", True), ("convnext", "mean", False)],
)
def test_other_architectures(kind, pooling, possible, tmp_path):
    model = small(kind)
    model.save_pretrained(tmp_path / "model")
    form = write_native(PooledModel(model, pooling), head(32), tmp_path / "model", classes=CLASSES)
    # ConvNeXt normalises the mean before its classifier, and DINOv2's sees the patches as well.
    assert (form.architecture is not None) == possible


def test_a_network_of_the_user_has_no_such_form(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    form = write_native(nn.Linear(3, 3), head(3), tmp_path, classes=CLASSES)
    assert form.architecture is None
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def test_a_model_that_cannot_be_run_on_random_inputs_is_left_as_it_was(tmp_path):
    model = small("vit")
    model.save_pretrained(tmp_path / "model")
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    form = write_native(PooledModel(model, "cls"), head(7), tmp_path / "model", classes=CLASSES)
    assert form.architecture is None
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
