"""Opening a finished run: its own logits, and one line for everything that is wrong with a folder."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel, pipeline

from expertise_graph.core.errors import (
    DatasetError,
    InvalidInputError,
    NotFoundError,
    SourceError,
    UntrustedError,
)
from expertise_graph.data.reading import read_data
from expertise_graph.data.sampling import holdout
from expertise_graph.inference import model as room
from expertise_graph.inference.opening import open_model
from expertise_graph.models.base import InputSpec, SourceOptions
from expertise_graph.models.loading import load, resolve
from expertise_graph.models.transformers_export import write_native
from tests import materials
from tests.materials import change_json
from tests.models.test_factory import module, weights  # noqa: F401


def test_logits_are_those_of_backbone_and_head_computed_by_hand(image_run, letters):
    files = sorted(letters.rglob("*.png"))[::7]
    shown = [Image.open(f).convert("RGB") for f in files]
    pixels = AutoImageProcessor.from_pretrained(image_run / "model")(shown, return_tensors="pt")
    head = load_file(image_run / "head.safetensors")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(image_run / "model")(**pixels).last_hidden_state
        expected = states.mean(dim=(2, 3)) @ head["weight"].T + head["bias"]
    model = open_model(image_run)
    found = model.logits(files)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)
    assert model.classes == tuple(sorted(p.name for p in letters.iterdir()))
    np.testing.assert_allclose(
        model.probabilities(found), expected.softmax(dim=1).numpy(), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("kind", ["image", "text"])
def test_the_test_split_gives_the_accuracy_that_the_run_recorded(kind, image_run, text_run, letters, glosses):
    model = open_model(image_run if kind == "image" else text_run)
    data = read_data(letters if kind == "image" else glosses)
    rows = holdout(data, seed=3).test
    right = model.logits([data.items[i] for i in rows]).argmax(axis=1) == data.labels[rows]
    assert right.mean() == pytest.approx(model.accuracy)
    assert model.identity["data"] == data.sha256


def test_a_model_in_the_form_of_its_library_is_used_the_same_and_by_its_pipelines(run, letters):
    files, before = sorted(letters.rglob("*.png"))[::9], open_model(run)
    form = write_native(before.backbone.module, before.head, run / "model", classes=before.classes)
    assert form.architecture == "ResNetForImageClassification"
    expected = before.probabilities(before.logits(files))
    model = open_model(run)
    np.testing.assert_array_equal(model.probabilities(model.logits(files)), expected)
    for path, row in zip(files, expected, strict=True):
        answer = pipeline("image-classification", str(run / "model"))(str(path))[0]
        assert answer["label"] == model.classes[row.argmax()]
        assert answer["score"] == pytest.approx(row.max(), abs=1e-3)


def test_chunks_change_nothing_and_progress_counts_all(image_run, letters, monkeypatch):
    model, files, seen = open_model(image_run), sorted(letters.rglob("*.png"))[:23], []
    whole = model.logits(files)
    monkeypatch.setattr(room, "CHUNK", 5)
    found = model.logits(files, progress=lambda label, done, total: seen.append((done, total)))
    np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-4)
    assert seen == [(5, 23), (10, 23), (15, 23), (20, 23), (23, 23)]
    assert model.logits([]).shape == (0, 5)


def test_temperature_and_kind_come_from_the_head(run, letters):
    change_json(run / "head.json", temperature=4.0)
    model = open_model(run)
    logits = model.logits(sorted(letters.rglob("*.png"))[:3])
    exponentials = np.exp(logits.astype(float) / 4)
    np.testing.assert_allclose(
        model.probabilities(logits), exponentials / exponentials.sum(axis=1, keepdims=True)
    )
    change_json(run / "head.json", kind="labels")
    np.testing.assert_allclose(
        open_model(run).probabilities(logits), 1 / (1 + np.exp(-logits / 4.0)), rtol=1e-5
    )


def test_an_unfinished_run_says_how_to_finish_it(run):
    change_json(run / "run.json", result=None)
    with pytest.raises(InvalidInputError, match=r"has not finished: run the same command again to resume it"):
        open_model(run)


@pytest.mark.parametrize("part", ["model", ""])
def test_another_folder_is_told_from_a_finished_one(part, run, tmp_path):
    with pytest.raises(NotFoundError, match=f"give {run}" if part else "holds no finished model"):
        open_model(run / part if part else tmp_path)
    with pytest.raises(NotFoundError, match="Did you mean 'run'"):
        open_model(tmp_path / "rum")


def test_a_run_without_its_record_can_be_used(run):
    (run / "run.json").unlink()
    assert open_model(run).identity == {}


@pytest.mark.parametrize("file", ["head.safetensors", "model/model.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "empty", "pickle"])
def test_damaged_weights_are_refused(file, damage, run):
    path = run / file
    content = {"cut": path.read_bytes()[:-100], "empty": b"", "pickle": b"\x80\x04." * 50}[damage]
    path.write_bytes(content)
    with pytest.raises(SourceError, match="not a safetensors file"):
        open_model(run)


@pytest.mark.parametrize("name", ["head.safetensors", "head.json"])
def test_a_missing_head_is_named(name, run):
    (run / name).unlink()
    with pytest.raises(NotFoundError, match="head"):
        open_model(run)


def test_broken_json_is_named(run):
    (run / "head.json").write_text('{"classes": [')
    with pytest.raises(InvalidInputError, match=r"head\.json is no JSON"):
        open_model(run)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"classes": ["a", "b"]}, "head for 5 classes and names 2"),
        ({"classes": []}, "names no classes"),
        ({"classes": "abcde"}, "names no classes"),
        ({"kind": "ordinal"}, "possible are class, labels, value"),
        ({"temperature": 0}, "a number above 0"),
        ({"temperature": "warm"}, "a number above 0"),
        ({"temperature": None}, "a number above 0"),
    ],
)
def test_a_head_that_says_something_else_than_its_weights_is_refused(changes, expected, run):
    change_json(run / "head.json", **changes)
    with pytest.raises(InvalidInputError, match=expected):
        open_model(run)


def test_a_head_of_another_run_is_refused(run):
    save_file({"weight": torch.zeros(5, 96), "bias": torch.zeros(5)}, run / "head.safetensors")
    with pytest.raises(InvalidInputError, match="takes 96 features and model/ gives 128"):
        open_model(run)


def test_weights_that_are_not_finite_are_found_when_run(run, letters):
    save_file({"weight": torch.full((5, 128), torch.nan), "bias": torch.zeros(5)}, run / "head.safetensors")
    with pytest.raises(SourceError, match="gives NaN"):
        open_model(run).logits(sorted(letters.rglob("*.png"))[:2])


def test_an_item_that_cannot_be_decoded_is_an_error(image_run, tmp_path):
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="not a readable image"):
        open_model(image_run).logits([tmp_path / "x.png"])


def test_a_network_of_the_user_needs_trust(blank, module, weights, letters):  # noqa: F811
    options = SourceOptions(
        trust_code=True, weights=str(weights), input=InputSpec(size=16, channels=1, mean=(0.5,), std=(0.25,))
    )
    backbone = load(resolve(f"factory:{module}:network", options), trust_code=True)
    out = blank / "out"
    backbone.save(backbone.module, out / "model")
    generator = torch.Generator().manual_seed(0)
    head = {"weight": torch.randn(2, 12, generator=generator), "bias": torch.zeros(2)}
    save_file(head, out / "head.safetensors")
    (out / "head.json").write_text(json.dumps({"classes": ["a", "b"], "modality": "image"}))
    with pytest.raises(UntrustedError, match="trust_code=True"):
        open_model(out)
    files = materials.LETTERS / "test" / "ayb"
    logits = open_model(out, trust_code=True).logits(sorted(files.iterdir())[:3])
    assert logits.std() > 0
