"""The data that comes with the package: complete, as described, and without leaks."""

import csv
import hashlib
import io
import json
import re
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.utils import logging

from expertise_graph.starter.contents import probe_files, shipped, task_archives

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
IMAGE_EXPERTS = [name for name, path in shipped().items() if (path / "preprocessor_config.json").exists()]
TEXT_EXPERTS = sorted(set(shipped()) - set(IMAGE_EXPERTS))


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable_progress_bar()


def _items(path):
    """Return the manifest, and each item's bytes as its checksum is taken of them."""
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        items = [archive.read(i["file"]) if "file" in i else i["text"].encode() for i in manifest["items"]]
    return manifest, items


def _front_matter(folder):
    _, front, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return front, body


@pytest.mark.parametrize("path", probe_files(), ids=lambda path: path.stem)
def test_probe_items_are_distinct_and_match_their_checksums(path):
    manifest, items = _items(path)
    assert [hashlib.sha256(item).hexdigest() for item in items] == [i["sha256"] for i in manifest["items"]]
    assert len(set(items)) == 384
    assert path.stem == f"{manifest['name']}-v{manifest['version']}"


@pytest.mark.parametrize("path", probe_files(), ids=lambda path: path.stem)
def test_probe_set_states_exactly_the_licences_of_its_items(path):
    manifest, _ = _items(path)
    assert set(manifest["license"].split(" AND ")) == {item["license"] for item in manifest["items"]}
    assert all(item["origin"] for item in manifest["items"])


def test_probe_images_are_small_and_of_one_size():
    _, items = _items(next(path for path in probe_files() if path.stem.startswith("image")))
    images = [Image.open(io.BytesIO(item)) for item in items]
    assert {(image.size, image.mode) for image in images} == {((64, 64), "RGB")}


def test_no_probe_is_an_input_of_an_example_task():
    probes = set()
    for path in probe_files():
        _, items = _items(path)
        image = path.stem.startswith("image")
        probes |= {Image.open(io.BytesIO(item)).tobytes() if image else item for item in items}
    tasks = set()
    for path in task_archives().values():
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".png"):
                    tasks.add(Image.open(io.BytesIO(archive.read(name))).convert("RGB").tobytes())
                elif name.endswith(".csv"):
                    rows = csv.DictReader(io.StringIO(archive.read(name).decode()))
                    tasks |= {row["text"].encode() for row in rows}
    assert len(probes) == 768
    assert len(tasks) > 1000
    assert not probes & tasks


@pytest.mark.parametrize("name", task_archives())
def test_archive_and_folder_of_an_example_are_the_same(name):
    if not EXAMPLES.is_dir():
        pytest.skip("the examples folder is not part of an installed package")
    folder = EXAMPLES / name
    with zipfile.ZipFile(task_archives()[name]) as archive:
        packed = {entry: archive.read(entry) for entry in archive.namelist()}
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert packed == files


@pytest.mark.parametrize("name", ["armenian-letters", "emoji-redrawn"])
def test_image_task_has_ten_to_learn_from_and_no_input_on_both_sides(name):
    with zipfile.ZipFile(task_archives()[name]) as archive:
        contents = {entry: archive.read(entry) for entry in archive.namelist() if entry.endswith(".png")}
    train = {entry: data for entry, data in contents.items() if entry.startswith("train/")}
    per_class = {}
    for entry in train:
        per_class[entry.split("/")[1]] = per_class.get(entry.split("/")[1], 0) + 1
    assert set(per_class.values()) == {10}
    assert {entry.split("/")[1] for entry in contents if entry.startswith("test/")} == set(per_class)
    assert not set(train.values()) & {data for entry, data in contents.items() if entry.startswith("test/")}


def test_there_are_specialists_of_both_modalities_and_they_are_small():
    assert len(IMAGE_EXPERTS) >= 8
    assert len(TEXT_EXPERTS) >= 3
    files = [path for folder in shipped().values() for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 11.5e6


@pytest.mark.parametrize("name", shipped())
def test_card_states_licence_data_and_a_measured_accuracy(name):
    front, body = _front_matter(shipped()[name])
    accuracy = float(front.split("value: ")[1].split()[0])
    assert 0.3 < accuracy <= 1
    stated = re.search(r"Accuracy on what was held out: ([\d.]+\d),", body)
    assert float(stated[1]) == pytest.approx(accuracy, abs=6e-4)
    assert "license: apache-2.0\n" in front


@pytest.mark.parametrize("name", shipped())
def test_weights_are_finite_half_precision_and_computed_in_single(name):
    tensors = load_file(shipped()[name] / "model.safetensors")
    floating = [tensor for tensor in tensors.values() if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in floating} == {torch.float16}
    assert all(tensor.isfinite().all() for tensor in floating)
    loaded = AutoModel.from_pretrained(shipped()[name]).state_dict()
    assert set(loaded) == set(tensors)
    for key, tensor in tensors.items():
        torch.testing.assert_close(loaded[key], tensor.to(loaded[key].dtype), rtol=0, atol=0)
    assert all(tensor.dtype == torch.float32 for tensor in loaded.values() if tensor.is_floating_point())


@torch.inference_mode()
@pytest.mark.parametrize("name", IMAGE_EXPERTS)
def test_image_expert_tells_images_apart(name):
    processor = AutoImageProcessor.from_pretrained(shipped()[name])
    _, items = _items(next(path for path in probe_files() if path.stem.startswith("image")))
    images = [Image.open(io.BytesIO(item)) for item in items[:16]]
    pixels = processor(images, return_tensors="pt")
    assert pixels["pixel_values"].shape == (16, 3, 64, 64)
    assert (pixels["pixel_values"].min(), pixels["pixel_values"].max()) == (-1, 1)
    features = AutoModel.from_pretrained(shipped()[name]).eval()(**pixels).pooler_output.flatten(1)
    assert torch.linalg.matrix_rank(features - features.mean(0)) == 15


@torch.inference_mode()
@pytest.mark.parametrize("name", TEXT_EXPERTS)
def test_text_expert_records_mean_pooling_and_tells_texts_apart(name):
    folder = shipped()[name]
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
    model = AutoModel.from_pretrained(folder).eval()
    assert pooling["pooling_mode_mean_tokens"] is True
    assert pooling["word_embedding_dimension"] == model.config.hidden_size
    assert [m["path"] for m in json.loads((folder / "modules.json").read_text())] == ["", "1_Pooling"]
    tokens = AutoTokenizer.from_pretrained(folder)
    batch = tokens(
        ["library for images", "Alle Menschen sind frei", "red apple"], padding=True, return_tensors="pt"
    )
    assert tokens.unk_token_id not in batch["input_ids"]
    mask = batch["attention_mask"][..., None]
    features = (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
    assert torch.linalg.matrix_rank(features - features.mean(0)) == 2
