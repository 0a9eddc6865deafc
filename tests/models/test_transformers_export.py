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
    BeitConfig,
    BeitModel,
    ConvNextConfig,
    ConvNextModel,
    DebertaV2Config,
    DebertaV2Model,
    Dinov2Config,
    Dinov2Model,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    GPT2Config,
    GPT2Model,
    RobertaConfig,
    RobertaModel,
    ViTConfig,
    ViTModel,
)

from expertise_graph.core.errors import MissingExtraError, SourceError
from expertise_graph.features.running import extract
from expertise_graph.models.base import Backbone, SourceOptions
from expertise_graph.models.loading import load, resolve
from expertise_graph.models.pooled import PooledModel
from expertise_graph.models.transformers_export import native_features, random_batch, write_native
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


@pytest.mark.slow
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


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
PATCHES = {"intermediate_size": 64, "image_size": 32, "patch_size": 8}
WORDS = {"intermediate_size": 64, "vocab_size": 90}
SMALL = {
    "vit": lambda: ViTModel(ViTConfig(**SIZES, **PATCHES)),
    "beit": lambda: BeitModel(BeitConfig(**SIZES, **PATCHES)),
    "dinov2": lambda: Dinov2Model(Dinov2Config(**SIZES, image_size=28, patch_size=14)),
    "convnext": lambda: ConvNextModel(ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])),
    "distilbert": lambda: DistilBertModel(
        DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64, vocab_size=90)
    ),
    "roberta": lambda: RobertaModel(RobertaConfig(**SIZES, **WORDS)),
    "electra": lambda: ElectraModel(ElectraConfig(**SIZES, **WORDS, embedding_size=32)),
    "deberta": lambda: DebertaV2Model(DebertaV2Config(**SIZES, **WORDS)),
    "gpt2": lambda: GPT2Model(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=90)),
}


def small(kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SMALL[kind]().eval()


def expert_of(kind, pooling):
    return Backbone(
        module=PooledModel(small(kind), pooling),
        collate=list,
        dim=32,
        modality="image",
        fresh=lambda seed: PooledModel(small(kind), pooling),
        save=lambda module, folder: module.model.save_pretrained(folder),
    )


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


@pytest.mark.parametrize(
    ("kind", "pooling", "native"),
    [
        ("vit", "cls", "cls"),
        ("convnext", "mean", "pooler"),
        ("beit", "cls", "pooler"),
        ("distilbert", "mean", "cls"),
        ("roberta", "mean", "cls"),
        ("electra", "mean", "cls"),
        ("deberta", "mean", "cls"),
    ],
)
def test_features_that_the_classifier_of_the_library_sees(kind, pooling, native, tmp_path):
    expert, linear = expert_of(kind, pooling), head(32)
    before = torch.get_rng_state()
    changed = native_features(expert)
    assert torch.equal(torch.get_rng_state(), before)
    assert changed.module.pooling == changed.fresh(0).pooling == native
    assert expert.module.pooling == pooling
    assert not hasattr(expert.module.model.config, "feature_pooling")
    for ours, theirs in zip(changed.module.parameters(), expert.module.parameters(), strict=True):
        assert ours is theirs
    folder, batch = tmp_path / "model", random_batch(small(kind))
    changed.save(changed.module, folder)
    form = write_native(changed.module, linear, folder, classes=CLASSES)
    modality = "Image" if "pixel_values" in batch else "Sequence"
    assert f"For{modality}Classification" in form.architecture
    auto = AutoModelForImageClassification if modality == "Image" else AutoModelForSequenceClassification
    with torch.inference_mode():
        found, expected = auto.from_pretrained(folder)(**batch).logits, linear(changed.module(**batch))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert expected.std() > 0.01
    if native != pooling:
        assert json.loads((folder / "config.json").read_text())["feature_pooling"] == native


def test_an_expert_that_averages_its_tokens_can_be_asked_for_the_first_one(tmp_path):
    expert = load(resolve("zoo:languages", NONE))
    changed = native_features(expert)
    changed.save(changed.module, tmp_path / "model")
    form = write_native(changed.module, head(96), tmp_path / "model", classes=CLASSES)
    assert form.architecture == "BertForSequenceClassification"
    again = load(resolve(f"dir:{tmp_path / 'model'}", NONE))
    np.testing.assert_allclose(extract(again, TEXTS), extract(changed, TEXTS), atol=1e-6)
    assert np.abs(extract(again, TEXTS) - extract(expert, TEXTS)).max() > 0.1
    grandchild = tmp_path / "grandchild"
    again.save(again.module, grandchild)
    assert load(resolve(f"dir:{grandchild}", NONE)).module.pooling == "cls"


def test_no_head_of_the_library_fits():
    with pytest.raises(SourceError, match=r"GPT2ForSequenceClassification does not end in .*linear head"):
        native_features(expert_of("gpt2", "mean"))


def test_an_unknown_pooling_in_a_configuration_is_refused(tmp_path):
    folder = tmp_path / "model"
    saved("zoo:emoji", folder)
    materials.change_json(folder / "config.json", feature_pooling=["mean"])
    with pytest.raises(SourceError, match="asks for the pooling"):
        resolve(f"dir:{folder}", NONE)


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
