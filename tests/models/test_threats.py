"""Checkpoints made to do harm: one clear refusal, nothing run, nothing stored."""

import json
import os
import pickle
import shutil
import struct
import time
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests import materials
from tests.program import invoke


class Malicious:
    """A pickle that makes a file when it is opened."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


@pytest.fixture
def marker(tmp_path):
    """Where the harm would show; the malicious file is known to work."""
    path = tmp_path / "executed"
    pickle.loads(pickle.dumps(Malicious(path)))
    assert path.is_dir()
    path.rmdir()
    yield path
    assert not path.exists()


@pytest.fixture
def model(tmp_path):
    return materials.resnet(tmp_path / "model", 1)


def refused(workspace, model, *parts):
    before = materials.counts(workspace)
    began = time.perf_counter()
    done = invoke("register", f"dir:{model}")
    assert done.code == 1
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert all(part in done.err for part in parts), done.err
    assert materials.counts(workspace) == before
    assert time.perf_counter() - began < 15


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "weights.pkl"])
def test_a_checkpoint_in_pickles_only_is_refused_and_never_opened(blank, model, marker, name):
    (model / "model.safetensors").unlink()
    (model / name).write_bytes(pickle.dumps(Malicious(marker)))
    refused(blank, model, name, "can run code", "save_pretrained")


def test_pickles_beside_safetensors_are_never_opened(blank, model, marker):
    names = ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "adapter_model.bin", "scheduler.pt")
    for name in names:
        (model / name).write_bytes(pickle.dumps(Malicious(marker)))
    invoke("register", f"dir:{model}").worked()
    assert materials.counts(blank)["experts"] == 1


def test_safetensors_by_name_only_are_refused(blank, model, marker):
    weights = model / "model.safetensors"
    weights.write_bytes(pickle.dumps(Malicious(marker)))
    refused(blank, model, "is not a safetensors file")
    with zipfile.ZipFile(weights, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Malicious(marker)))
    refused(blank, model, "is not a safetensors file")


def header(content, data=b"\0" * 64, length=None):
    encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + data


def tensor(begin, end, shape, kind="F32"):
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


DAMAGED = {
    "empty": b"",
    "huge header": header({}, length=2**62),
    "header longer than the file": header({}, length=10_000),
    "no JSON": header(b"{not json"),
    "deep JSON": header(b"[" * 50_000),
    "overlap": header({"a": tensor(0, 32, [8]), "b": tensor(16, 64, [12])}),
    "hole": header({"a": tensor(0, 16, [4]), "b": tensor(32, 64, [8])}),
    "past the end": header({"a": tensor(0, 4096, [1024])}),
    "shape overflow": header({"a": tensor(0, 64, [2**62, 2**62])}),
    "unknown type": header({"a": tensor(0, 64, [16], "PICKLE")}),
    "negative offset": header({"a": tensor(-64, 0, [16])}),
    "duplicate key": header(b'{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]},"a":{}}'),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_safetensors_are_refused(blank, model, content):
    (model / "model.safetensors").write_bytes(content)
    refused(blank, model, "is not a safetensors file")


def test_truncated_weights_are_refused(blank, model):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused(blank, model, "is not a safetensors file")


def test_too_many_tensors_are_refused(blank, model):
    save_file({f"t{i}": np.zeros(1, np.float32) for i in range(50_001)}, model / "model.safetensors")
    refused(blank, model, "50001 tensors")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_numbers_are_refused(blank, model, value):
    tensors = load_file(model / "model.safetensors")
    name = next(n for n in tensors if n.endswith("convolution.weight"))
    tensors[name] = np.full_like(tensors[name], value)
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    refused(blank, model, "NaN or infinite")


def test_weights_of_another_architecture_are_refused(blank, model, tmp_path):
    shutil.copy(materials.bert(tmp_path / "bert", 1) / "model.safetensors", model)
    refused(blank, model, "lack")


def test_weights_of_other_shapes_than_the_configuration_asks_for_are_named(blank, tmp_path):
    folder = materials.bert(tmp_path / "bert", 1)
    materials.change_json(folder / "config.json", type_vocab_size=1)
    refused(blank, folder, "token_type_embeddings.weight is 2 x 24, where the configuration asks for 1 x 24")
    materials.change_json(folder / "config.json", intermediate_size=16)
    refused(blank, folder, "not those of its config.json", "; 3 other tensors differ, too")


def test_tensor_names_that_look_like_paths_are_only_names(blank, model, tmp_path):
    tensors = load_file(model / "model.safetensors")
    tensors["../../escaped"] = tensors["__proto__"] = np.ones(3, np.float32)
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    invoke("register", f"dir:{model}").worked()
    assert not list(tmp_path.parent.glob("**/escaped*"))


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/etc/passwd", "sub/x.safetensors", "missing", ""]
)
def test_shards_outside_of_the_folder_are_refused(blank, model, name):
    shutil.move(model / "model.safetensors", model.parent / "outside.safetensors")
    index = {"metadata": {}, "weight_map": {"embedder.weight": name}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(blank, model, "is not a regular file in")


@pytest.mark.parametrize("index", ["[]", "{}", '{"weight_map": {"a": 3}}', '{"weight_map": {}}', "{"])
def test_an_index_that_names_no_shards_is_refused(blank, model, index):
    (model / "model.safetensors").unlink()
    (model / "model.safetensors.index.json").write_text(index)
    refused(blank, model, str(model))


CODE = "import os\nos.mkdir({!r})\nclass Evil: pass\n"


def test_code_named_by_the_configuration_is_not_run(blank, model, marker):
    (model / "modeling_evil.py").write_text(CODE.format(str(marker)))
    materials.change_json(
        model / "config.json",
        model_type="evil",
        auto_map={"AutoConfig": "modeling_evil.Evil", "AutoModel": "modeling_evil.Evil"},
        trust_remote_code=True,
    )
    refused(blank, model, "auto_map", "--trust-code")


def test_code_named_by_the_preprocessing_is_not_run(blank, model, marker):
    (model / "modeling_evil.py").write_text(CODE.format(str(marker)))
    materials.change_json(
        model / "preprocessor_config.json",
        image_processor_type="Evil",
        auto_map={"AutoImageProcessor": "modeling_evil.Evil"},
    )
    refused(blank, model, "preprocessing")


def test_code_beside_a_known_architecture_is_not_run(blank, model, marker):
    for name in ("modeling_resnet.py", "configuration_resnet.py", "__init__.py", "conftest.py"):
        (model / name).write_text(CODE.format(str(marker)))
    materials.change_json(model / "config.json", auto_map={"AutoModel": "modeling_resnet.Evil"})
    invoke("register", f"dir:{model}").worked()


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"hidden_sizes": [10**9, 10**9, 10**9, 10**9]}, "config.json"),
        ({"hidden_sizes": [8, 16, 24, 50_000]}, "do not belong together"),
        ({"depths": [10**9, 1, 1, 1]}, "layers"),
        ({"model_type": "no-such-thing"}, "model_type 'no-such-thing'"),
        ({"model_type": "bert"}, ""),
        ({"hidden_sizes": "many"}, "config.json"),
    ],
    ids=["memory", "mismatch", "depth", "unknown type", "wrong type", "no numbers"],
)
def test_configurations_that_cannot_be_are_refused(blank, model, changes, part):
    materials.change_json(model / "config.json", **changes)
    refused(blank, model, part)


def test_a_memory_bomb_in_a_text_configuration(blank, tmp_path):
    model = materials.bert(tmp_path / "bert", 1)
    materials.change_json(model / "config.json", hidden_size=10**9, num_attention_heads=1)
    refused(blank, model, "config.json")
    materials.change_json(model / "config.json", hidden_size=24, num_hidden_layers=10**7)
    refused(blank, model, "10000000 layers")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"\xff\xfe{", b'{"a":' * 10_000, b'{"model_type": 7}', b"{" + b" " * (65 << 20)],
    ids=["empty", "list", "null", "encoding", "deep", "number", "large"],
)
def test_a_configuration_that_is_no_object_is_refused(blank, model, content):
    (model / "config.json").write_bytes(content)
    refused(blank, model, "config.json")


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "preprocessor_config.json", "README.md", "modules.json"]
)
def test_a_pipe_in_place_of_a_file_is_not_waited_for(blank, model, name):
    (model / name).unlink(missing_ok=True)
    os.mkfifo(model / name)
    began = time.perf_counter()
    done = invoke("register", f"dir:{model}")
    assert time.perf_counter() - began < 15
    assert done.code == (0 if name in ("README.md", "modules.json") else 1)


def test_a_link_to_a_device_is_refused(blank, model):
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").symlink_to("/dev/zero")
    refused(blank, model, "not a regular file")


def test_linked_weights_are_followed_and_pinned_by_their_content(blank, model, tmp_path):
    weights = shutil.move(model / "model.safetensors", tmp_path / "blob")
    (model / "model.safetensors").symlink_to(weights)
    invoke("register", f"dir:{model}").worked()
    shutil.copy(materials.resnet(tmp_path / "other", 2) / "model.safetensors", weights)
    done = invoke("query", materials.pictures(tmp_path / "data", 2, 5))
    done.failed("no expert could be run", "not the registered ones")


STRANGE = [
    "../nowhere",
    "-rf",
    "C:\\x",
    "%2e%2e",
    "a\0b",
    "x\ny",
    "\u202egnp.exe",
    "\x1b[31mred",
    "x" * 10_000,
    "🙂",
    "'; DROP TABLE experts; --",
    "=cmd()",
    "<script>alert(1)</script>",
]


@pytest.mark.parametrize("locator", STRANGE)
def test_strange_names_are_refused_in_one_clean_line(blank, locator):
    before = materials.counts(blank)
    for scheme in ("dir", "zoo", "hf"):
        done = invoke("register", f"{scheme}:{locator}")
        assert done.code == 1
        assert len(done.err.splitlines()) == 1
        assert not set(done.err) & set("\x1b\u202e\0")
        assert not set(done.out) & set("\x1b\u202e\0")
    assert materials.counts(blank) == before
