"""Model folders that ask for far more than they hold: refused in one line, before memory is taken."""

from __future__ import annotations

import json
import resource
import sys
import time
import uuid

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import nn

from expertise_graph.core.errors import SourceError
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.bounds import TooLargeError, building
from expertise_graph.models.loading import load, resolve
from tests import materials
from tests.program import invoke, run

NONE = SourceOptions()


def refused(workspace, model, *parts):
    before, began = materials.counts(workspace), time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = invoke("register", f"dir:{model}")
    done.failed(*parts)
    assert time.perf_counter() - began < 20
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used
    assert grown < (1 << 20 if sys.platform != "darwin" else 1 << 30)
    assert materials.counts(workspace) == before


@pytest.fixture
def vision(tmp_path):
    return materials.resnet(tmp_path / "model", 1)


@pytest.fixture
def text(tmp_path):
    return materials.bert(tmp_path / "text", 1)


def test_a_milliard_labels_are_names_of_a_head_that_is_not_built(blank, vision):
    materials.change_json(vision / "config.json", num_labels=10**9)
    began = time.perf_counter()
    invoke("register", f"dir:{vision}").worked()
    assert time.perf_counter() - began < 20


@pytest.mark.slow
def test_five_million_groups_of_layers_are_refused(blank, tmp_path):
    config = transformers.AlbertConfig(
        vocab_size=3200, embedding_size=8, hidden_size=16, num_attention_heads=2, intermediate_size=24
    )
    folder = materials.bert(tmp_path / "albert", 1)
    transformers.AlbertModel(config).save_pretrained(folder)
    materials.change_json(folder / "config.json", num_hidden_groups=5_000_000)
    refused(blank, folder, "do not belong together", "more than")


@pytest.mark.parametrize("changes", [{"vocab_size": 10**9}, {"max_position_embeddings": 10**8}])
def test_tables_that_the_weights_do_not_hold_are_refused(blank, text, changes):
    materials.change_json(text / "config.json", **changes)
    refused(blank, text, "do not belong together")


@pytest.mark.slow
def test_a_configuration_of_many_megabytes_is_refused(blank, vision):
    content = json.loads((vision / "config.json").read_text())
    content["id2label"] = {str(i): "x" * 50 for i in range(1_000_000)}
    (vision / "config.json").write_text(json.dumps(content))
    refused(blank, vision, "config.json", "larger than 8 MiB")


@pytest.mark.parametrize("size", [{"height": 20_000, "width": 20_000}, {"shortest_edge": 20_000}])
def test_a_preprocessing_that_makes_images_of_gigabytes_is_refused(blank, vision, size):
    materials.change_json(vision / "preprocessor_config.json", size=size)
    refused(blank, vision, "20,000 pixels a side")


def test_a_side_under_another_name_is_seen_too(blank, vision):
    materials.change_json(vision / "preprocessor_config.json", crop_size=30_000, do_center_crop=True)
    refused(blank, vision, "30,000 pixels a side", "crop_size")


def rules(folder, *rules_):
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "Sequence", "normalizers": list(rules_)}
    (folder / "tokenizer.json").write_text(json.dumps(content))


def replace(pattern, content):
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def test_rules_of_a_tokenizer_that_explode_are_refused(blank, text):
    rules(text, *(replace("a", "a" * 10) for _ in range(10)))
    refused(blank, text, "10,000,000,000 times longer")


def test_one_rule_is_enough_and_common_rules_are_not_refused(blank, text):
    rules(text, replace("e", "e" * 100_000))
    refused(blank, text, "100,000 times longer")
    rules(text, replace("``", '"'), {"type": "Lowercase"}, {"type": "Prepend", "prepend": "_"})
    assert load(resolve(f"dir:{text}", NONE)).lengths.limit == 64


@pytest.mark.parametrize("pattern", ["(", "[z-a]"])
def test_a_pattern_that_no_library_can_read_is_one_line(blank, text, pattern):
    rules(text, {"type": "Replace", "pattern": {"Regex": pattern}, "content": "x"})
    refused(blank, text)


def test_networks_are_stopped_while_they_are_built():
    with pytest.raises(TooLargeError, match="parameters"), torch.device("meta"), building(1000):
        nn.Linear(100, 100)
    with pytest.raises(TooLargeError, match="buffers"), torch.device("meta"), building(1000):
        nn.Module().register_buffer("mask", torch.zeros(100_000, 100_000))
    with torch.device("meta"), building(1000):
        nn.Linear(10, 10)
    nn.Linear(100, 100)


def test_the_size_of_weights_of_another_network_is_told(vision):
    materials.change_json(vision / "config.json", hidden_sizes=[8, 16, 24, 30_000])
    with pytest.raises(SourceError, match="do not belong together"):
        resolve(f"dir:{vision}", NONE)


CODE = "from torch import nn\ndef net():\n    return nn.Conv2d(1, 4, 3)\n"


@pytest.mark.slow
def test_code_is_trusted_on_the_command_line_alone(blank):
    module = f"net_{uuid.uuid4().hex[:8]}"
    (blank / f"{module}.py").write_text(CODE)
    save_file(nn.Conv2d(1, 4, 3).state_dict(), blank / "w.safetensors")
    line = (f"factory:{module}:net", "--weights", blank / "w.safetensors", "--input-size", 8, "--channels", 1)
    trusting = {f"EXPERTISE_GRAPH_{v}TRUST_CODE": "1" for v in ("", "REGISTER_")}
    done = run("--workspace", blank, "register", *line, "--name", "n", cwd=blank, more=trusting)
    done.failed(f"{module}:net is code", "--trust-code")
    words = " ".join(map(str, line))
    (blank / "list.txt").write_text(f"{words} --trust-code\n")
    invoke("register", "--from-file", "list.txt").failed("on the command line only")
    (blank / "list.yaml").write_text(f"- {{source: 'factory:{module}:net', trust-code: true}}\n")
    invoke("register", "--from-file", "list.yaml").failed("on the command line only")
    (blank / "list.txt").write_text(f"{words}\n")
    invoke("register", "--from-file", "list.txt", "--trust-code", "--mean", "0.5", "--std", "0.5").worked()


@pytest.mark.parametrize("kind", ["siglip", "clip"])
def test_a_configuration_of_a_part_of_a_model_imports_no_other_models(blank, text, kind):
    """The library's own error would name all it has, which takes fifteen seconds."""
    settings = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    other = {"siglip": "clip", "clip": "siglip"}[kind]
    content = {
        "model_type": kind,
        "text_config": {**settings, "model_type": f"{other}_text_model"},
        "vision_config": {**settings, "model_type": f"{other}_vision_model"},
    }
    (text / "config.json").write_text(json.dumps(content))
    before = sum(name.startswith("transformers.models") for name in sys.modules)
    refused(blank, text, "no model that can be built")
    assert sum(name.startswith("transformers.models") for name in sys.modules) < before + 40
