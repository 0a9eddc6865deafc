"""What an expert is, is what is computed: attacks on hash, cache, blobs and the moment of loading."""

from __future__ import annotations

import hashlib
import shutil
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from expertise_graph import Workspace
from expertise_graph.core.errors import SourceError
from expertise_graph.features.running import extract
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.hub_blobs import check_blobs
from expertise_graph.models.loading import load, resolve
from expertise_graph.models.tensors import read_tensors
from expertise_graph.store.arrays import features_key
from tests import materials
from tests.program import invoke

pytestmark = pytest.mark.slow

NONE = SourceOptions()


def copied(model, name, **changes):
    folder = shutil.copytree(model, model.parent / name)
    if changes:
        materials.change_json(folder / "config.json", **changes)
    return folder


def images():
    return sorted((materials.LETTERS / "test" / "ayb").iterdir())[:3]


@pytest.fixture
def model(tmp_path):
    return materials.resnet(tmp_path / "model", 1)


def test_another_activation_is_another_expert_with_features_of_its_own(blank, model):
    other = copied(model, "other", hidden_act="gelu")
    invoke("register", f"dir:{model}", f"dir:{other}").worked()
    with Workspace() as opened:
        one, two = opened.experts()
        arrays = opened.store.features
        current = {p.probe_set.modality: p.probe_set.id for p in opened.probe_sets() if p.current}
        stored = [arrays.get(features_key(e, current["image"])) for e in (one, two)]
    assert one.id != two.id
    assert one.weights_sha == two.weights_sha
    assert np.abs(stored[0] - stored[1]).max() > 1e-3
    np.testing.assert_allclose(
        extract(load(two), images()), extract(load(resolve(f"dir:{other}", NONE)), images())
    )


def test_what_a_library_notes_in_a_configuration_does_not_matter(model):
    noted = copied(model, "noted", transformers_version="9.9", _name_or_path="/x", architectures=["Y"])
    assert resolve(f"dir:{noted}", NONE).id == resolve(f"dir:{model}", NONE).id


def test_a_decoder_with_other_heads_is_another_expert(tmp_path):
    """A sibling: text, and a number that no tensor has in its shape."""
    one = materials.bert(tmp_path / "one", 1)
    two = copied(one, "two", num_attention_heads=4)
    assert resolve(f"dir:{one}", NONE).id != resolve(f"dir:{two}", NONE).id


CHANGES = {
    "preprocessor_config.json": {"image_mean": [0.1, 0.2, 0.3]},
    "config.json": {"hidden_act": "gelu"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_after_registration_is_noticed_by_query_and_warm_start(blank, model, tmp_path, name):
    data = materials.pictures(tmp_path / "data", 3, 6)
    invoke("register", f"dir:{model}", "zoo:hebrew-letters").worked()
    invoke("query", data, "--json").worked()
    materials.change_json(model / name, **CHANGES[name])
    again = invoke("query", data, "--json").worked().json
    assert {c["name"] for c in again["candidates"]} == {"hebrew-letters"}
    assert any("is not the registered one" in note for note in again["notes"])
    done = invoke("warm-start", data, "--expert", "model", "--out", "out")
    done.failed("is not the registered one", "register the folder again")


def test_weights_that_change_are_noticed_by_a_query_whose_features_are_stored(blank, model, tmp_path):
    data = materials.pictures(tmp_path / "data", 3, 6)
    invoke("register", f"dir:{model}", "zoo:hebrew-letters").worked()
    invoke("query", data).worked()
    shutil.copy(materials.resnet(tmp_path / "x", 2) / "model.safetensors", model)
    notes = invoke("query", data, "--json").worked().json["notes"]
    assert any("the weights in" in note for note in notes)


def test_files_that_were_only_touched_are_no_change(blank, model, tmp_path):
    data = materials.pictures(tmp_path / "data", 3, 6)
    invoke("register", f"dir:{model}").worked()
    for path in model.iterdir():
        path.touch()
    assert invoke("query", data, "--json").worked().json["failed"] == []


def test_the_weights_that_are_loaded_are_those_that_were_hashed(model, tmp_path):
    """While files take each other's place, every load has the function of its hash, or is refused."""
    other = materials.resnet(tmp_path / "other", 2)
    expert = resolve(f"dir:{model}", NONE)
    expected = extract(load(expert), images())
    contents = [(f / "model.safetensors").read_bytes() for f in (model, other)]
    stop = threading.Event()

    def swap():
        turn = 0
        while not stop.is_set():
            turn += 1
            (tmp_path / "next").write_bytes(contents[turn % 2])
            (tmp_path / "next").replace(model / "model.safetensors")

    thread = threading.Thread(target=swap)
    thread.start()
    loaded = refused = 0
    try:
        for _ in range(12):
            try:
                found = extract(load(expert), images())
            except SourceError:
                refused += 1
                continue
            loaded += 1
            np.testing.assert_array_equal(found, expected)
    finally:
        stop.set()
        thread.join()
    assert loaded + refused == 12


def test_tensors_read_by_hand_are_those_of_the_library(tmp_path):
    kinds = (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.uint8)
    tensors = {f"t{i}": (torch.arange(6).reshape(2, 3) % 2).to(k) for i, k in enumerate(kinds)}
    tensors["scalar"], tensors["empty"] = torch.tensor(3.0), torch.zeros(0, 4)
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    _, found = read_tensors([tmp_path / "x.safetensors"])
    expected = load_file(tmp_path / "x.safetensors")
    assert {n: (t.dtype, tuple(t.shape)) for n, t in found.items()} == {
        n: (t.dtype, tuple(t.shape)) for n, t in expected.items()
    }
    assert all(torch.equal(found[n], expected[n]) for n in expected)


def test_a_feature_that_was_changed_in_the_cache_is_computed_again(blank, model, tmp_path):
    data = materials.pictures(tmp_path / "data", 3, 6)
    invoke("register", f"dir:{model}").worked()
    before = invoke("query", data, "--json").worked().json["candidates"]
    for path in (blank / "embeddings" / "features").rglob("*.safetensors"):
        content = bytearray(path.read_bytes())
        content[-2] ^= 0x01
        path.write_bytes(bytes(content))
    with Workspace() as opened:
        opened.store.db.execute("DELETE FROM scores")
    assert invoke("query", data, "--json").worked().json["candidates"] == before


def test_keys_that_fetch_code_are_dropped(model):
    bad = copied(model, "bad", attn_implementation="evil/kernel", _attn_implementation="evil/kernel")
    found = extract(load(resolve(f"dir:{bad}", NONE)), images())
    np.testing.assert_array_equal(found, extract(load(resolve(f"dir:{model}", NONE)), images()))


@pytest.mark.parametrize("form", ["sha256", "git"])
def test_a_blob_that_is_not_what_it_is_named_after_is_refused(tmp_path, form):
    data = b"weights" * 100
    name = hashlib.sha256(data).hexdigest()
    if form == "git":
        name = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    (tmp_path / "blobs").mkdir()
    blob = tmp_path / "blobs" / name
    blob.write_bytes(data)
    snapshot = tmp_path / "snapshots" / "a"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(blob)
    check_blobs(snapshot, "org/name")
    blob.write_bytes(data[:-1] + b"!")
    with pytest.raises(SourceError, match=r"is not what the Hub has.*delete it"):
        check_blobs(snapshot, "org/name")


def test_the_same_weights_with_another_function_are_candidates_of_their_own(blank, model, tmp_path):
    other = copied(model, "other", hidden_act="tanh")
    materials.change_json(other / "preprocessor_config.json", image_mean=[0.9, 0.1, 0.9])
    invoke("register", f"dir:{model}", f"dir:{other}").worked()
    data = materials.pictures(tmp_path / "data", 3, 6)
    answer = invoke("query", data, "--json").worked().json
    near = invoke("similar", "model", "--json").worked().json[0]["cka"]
    names = {c["name"] for c in answer["candidates"]}
    assert near < 0.9
    assert names == {"model", "other"}
