"""GGUF files: what they give is what the model gives whose weights they hold; hostile ones are one line."""

import shutil
import struct

import numpy as np
import pytest
import torch
import transformers

from expertise_graph.core.errors import MissingExtraError, SourceError
from expertise_graph.features.running import extract
from expertise_graph.models import gguf as gguf_source
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.gguf_header import read_gguf_header
from expertise_graph.models.loading import load, resolve
from expertise_graph.workspace import Workspace
from tests import materials
from tests.program import invoke

TEXTS = ["a short one", "a text that is quite a bit longer than the others here", "third"]


def config():
    return transformers.Qwen2Config(
        vocab_size=260,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
    )


def letters():
    """The 256 letters that bytes are written with, as byte-level tokenizers have them."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(others)) for b in range(256)]


NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name):
    """The name of a tensor of Qwen2 in a GGUF file."""
    whole = {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}
    if name in whole:
        return whole[name]
    _, layer, rest = name.split(".", 2)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{NAMES[part]}.{kind}"


def write(path, model, *, quantised=True, **entries):
    """Write a model of Qwen2; matrices in blocks of 8 bits. Returns what its weights are then."""
    gguf = pytest.importorskip("gguf")
    kind, c = gguf.GGMLQuantizationType.Q8_0, model.config
    out = gguf.GGUFWriter(path, "qwen2")
    out.add_context_length(c.max_position_embeddings)
    out.add_embedding_length(c.hidden_size)
    out.add_block_count(c.num_hidden_layers)
    out.add_feed_forward_length(c.intermediate_size)
    out.add_head_count(c.num_attention_heads)
    out.add_head_count_kv(c.num_key_value_heads)
    out.add_layer_norm_rms_eps(c.rms_norm_eps)
    out.add_rope_freq_base(10_000.0)
    out.add_vocab_size(c.vocab_size)
    tokens = [*letters(), "th", "the", "<|endoftext|>", "<pad>"]
    out.add_tokenizer_model("gpt2")
    out.add_token_list(tokens)
    out.add_token_types([1] * 258 + [3, 3])
    out.add_token_merges(["t h", "th e"])
    out.add_eos_token_id(258)
    out.add_bos_token_id(258)
    out.add_pad_token_id(259)
    for name, value in entries.items():
        out.add_uint16(name.replace("__", "."), value)
    kept = {}
    for name, weight in model.state_dict().items():
        values = weight.numpy()
        if quantised and values.ndim == 2:
            blocks = gguf.quants.quantize(values, kind)
            out.add_tensor(gguf_name(name), blocks, raw_dtype=kind)
            kept[name] = torch.from_numpy(gguf.quants.dequantize(blocks, kind).copy())
        else:
            out.add_tensor(gguf_name(name), values)
            kept[name] = weight
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return kept


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.Qwen2Model(config()).eval()


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPERTISE_GRAPH_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
def test_the_features_are_those_of_the_quantised_weights(model, tmp_path):
    file = tmp_path / "tiny.Q8_0.gguf"
    kept = write(file, model)
    found = resolve(f"gguf:{file}", SourceOptions())
    assert (found.source, found.architecture, found.modality, found.dim) == ("gguf", "qwen2", "text", 64)
    assert (found.name, found.bytes, found.params) == (
        "tiny.Q8_0",
        file.stat().st_size,
        sum(p.numel() for p in model.parameters()),
    )
    assert found.id == f"gguf:{found.weights_sha}"
    got = extract(load(found), TEXTS)
    model.load_state_dict(kept)
    folder = tmp_path / "cache" / "gguf" / found.weights_sha
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("the") == ["the"]
    batch = tokenizer(TEXTS, return_tensors="pt", padding=True, padding_side="right")
    with torch.inference_mode():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    expected = ((states * mask).sum(1) / mask.sum(1)).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-4)
    shutil.rmtree(folder)
    np.testing.assert_array_equal(extract(load(found), TEXTS), got)


@pytest.mark.slow
def test_a_file_is_registered_ranked_and_fine_tuned(blank, model, tmp_path):
    file = tmp_path / "tiny.gguf"
    write(file, model)
    (row,) = invoke("register", f"dir:{file}", "--license", "mit", "--json").worked().json
    assert (row["source"], row["weights_format"], row["license"]) == (f"dir:{file}", "gguf, expanded", "mit")
    again = invoke("register", f"gguf:{file}", "-q").worked()
    assert again.out.strip() == row["id"]
    glosses = materials.glosses(tmp_path / "g.csv", 8)
    assert invoke("query", glosses, "--json").worked().json["experts_run"] == 1
    out = tmp_path / "out"
    done = invoke("warm-start", glosses, "--out", out, "--epochs", 1, "--json").worked().json
    assert (out / "model" / "model.safetensors").is_file()
    with Workspace() as opened:
        assert opened.expert(done["child"]).architecture == "qwen2"


@pytest.mark.slow
def test_what_is_not_read_is_one_line(blank, model, tmp_path, monkeypatch):
    split, other = tmp_path / "split.gguf", tmp_path / "other.gguf"
    write(split, model, split__count=3)
    invoke("register", f"gguf:{split}").failed("is one of 3 parts of a model")
    write(other, model)
    other.write_bytes(other.read_bytes().replace(b"qwen2", b"clip5"))
    invoke("register", f"gguf:{other}").failed("clip5 model that is not read")
    assert not list((tmp_path / "cache" / "gguf").iterdir())
    invoke("register", f"gguf:{tmp_path / 'none.gguf'}").failed("no file at")
    assert materials.counts(blank)["experts"] == 0


def header(*, magic=b"GGUF", version=3, tensors=0, entries=0, rest=b""):
    return magic + struct.pack("<IQQ", version, tensors, entries) + rest


def text(value):
    return struct.pack("<Q", len(value)) + value


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "ends within its header"),
        (b"PK\x03\x04" + bytes(100), "does not begin as one"),
        (header(version=9), "version 9"),
        (header(tensors=2**62), "claims 4,611,686,018,427,387,904 tensors"),
        (header(entries=2**62), "4,611,686,018,427,387,904 entries"),
        (header(entries=1, rest=struct.pack("<Q", 2**63)), "a name of 9,223,372,036,854,775,808 bytes"),
        (header(entries=1, rest=text(b"k") + struct.pack("<I", 99)), "unknown type 99"),
        (header(entries=1, rest=text(b"k") + struct.pack("<IIQ", 9, 4, 2**60)), "ends within its header"),
        (header(entries=1, rest=text(b"k") + struct.pack("<IIQ", 9, 9, 1)), "an array of 1 values of type 9"),
        (header(entries=1, rest=text(b"k") + struct.pack("<IIQ", 9, 8, 2**60)), "values of type 8"),
        (header(tensors=1, rest=text(b"t") + struct.pack("<I", 2**31)), "2147483648 dimensions"),
        (
            header(tensors=1, rest=text(b"t") + struct.pack("<IQQIQ", 2, 2**40, 2**20, 0, 0)),
            "claims 1,152,921,504,606,846,976 weights in 65 bytes",
        ),
    ],
)
def test_a_hostile_header_is_one_line(tmp_path, content, said):
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="is no GGUF file that can be read") as raised:
        read_gguf_header(path)
    assert said in str(raised.value)


def test_without_the_extra_there_is_one_hint(tmp_path, monkeypatch):
    path = tmp_path / "tiny.gguf"
    path.write_bytes(
        header(entries=1, rest=text(b"general.architecture") + struct.pack("<I", 8) + text(b"qwen2"))
    )
    assert read_gguf_header(path).architecture == "qwen2"
    monkeypatch.setattr(gguf_source.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"expertise-graph\[gguf\]"):
        resolve(f"gguf:{path}", SourceOptions())
