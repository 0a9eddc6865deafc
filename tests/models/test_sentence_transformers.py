"""Folders of sentence-transformers give the very features that the package itself gives."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from expertise_graph.core.errors import InvalidInputError, SourceError, UntrustedError
from expertise_graph.features.running import extract
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import load, resolve
from tests import materials
from tests.program import invoke

TEXTS = [
    "a short one",
    "A Text that is quite a bit LONGER than the others here, and goes on and on and on to the end",
    "third",
]
TYPES = "sentence_transformers.models."


def folder_of(path, *, pooling, after=(), transformer=None, prompts=None):
    """Write a small encoder in the layout of sentence-transformers."""
    materials.bert(path, 1)
    modules = [{"idx": 0, "name": "0", "path": "", "type": TYPES + "Transformer"}]
    parts = [("Pooling", {"word_embedding_dimension": 24, **pooling}), *after]
    for number, (kind, config) in enumerate(parts, 1):
        place = f"{number}_{kind}"
        (path / place).mkdir()
        if config is not None:
            (path / place / "config.json").write_text(json.dumps(config))
        modules.append({"idx": number, "name": str(number), "path": place, "type": TYPES + kind})
    (path / "modules.json").write_text(json.dumps(modules))
    settings = {"max_seq_length": 32, "do_lower_case": False, **(transformer or {})}
    (path / "sentence_bert_config.json").write_text(json.dumps(settings))
    if prompts is not None:
        (path / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return path


def dense(path, size, **config):
    """Write the weights of a dense layer."""
    generator = torch.Generator().manual_seed(3)
    tensors = {"linear.weight": torch.randn(size[1], size[0], generator=generator)}
    if config.get("bias", True):
        tensors["linear.bias"] = torch.randn(size[1], generator=generator)
    if config.get("use_residual"):
        tensors["residual.weight"] = torch.randn(size[1], size[0], generator=generator)
    save_file(tensors, path / "model.safetensors")


def ours(path, **options):
    return extract(load(resolve(f"dir:{path}", SourceOptions(**options))), TEXTS)


def theirs(path, **options):
    package = pytest.importorskip("sentence_transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = package.SentenceTransformer(str(path), device="cpu", local_files_only=True)
        return model.encode(TEXTS, show_progress_bar=False, **options)


def flags(*names):
    return {f"pooling_mode_{name}": True for name in names}


DENSE = {"in_features": 24, "out_features": 10}
CASES = {
    "mean": {"pooling": flags("mean_tokens")},
    "class token": {"pooling": flags("cls_token")},
    "max": {"pooling": flags("max_tokens")},
    "root of the length": {"pooling": flags("mean_sqrt_len_tokens")},
    "weighted mean": {"pooling": flags("weightedmean_tokens")},
    "last token": {"pooling": flags("lasttoken")},
    "none named": {"pooling": {}},
    "several side by side": {"pooling": flags("mean_tokens", "max_tokens", "cls_token")},
    "several in the new form": {"pooling": {"pooling_mode": ["lasttoken", "mean"]}},
    "normalised": {"pooling": flags("mean_tokens"), "after": [("Normalize", None)]},
    "cut early": {"pooling": flags("mean_tokens"), "transformer": {"max_seq_length": 6}},
    "lower case": {"pooling": flags("mean_tokens"), "transformer": {"do_lower_case": True}},
    "a default prompt": {
        "pooling": flags("mean_tokens"),
        "prompts": {"prompts": {"query": "query: ", "x": "y"}, "default_prompt_name": "query"},
    },
    "prompts without a default": {
        "pooling": flags("mean_tokens"),
        "prompts": {"prompts": {"query": "query: "}, "default_prompt_name": None},
    },
}
LAYERS = {
    "dense": DENSE,
    "identity": {**DENSE, "activation_function": "torch.nn.modules.linear.Identity", "bias": False},
    "gelu": {**DENSE, "activation_function": "torch.nn.modules.activation.GELU"},
    "residual": {**DENSE, "activation_function": "torch.nn.modules.activation.ReLU", "use_residual": True},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_features_are_those_of_the_package(tmp_path, case):
    path = folder_of(tmp_path / "st", **case)
    np.testing.assert_allclose(ours(path), theirs(path), atol=1e-5)


@pytest.mark.parametrize("config", LAYERS.values(), ids=LAYERS.keys())
def test_layers_after_the_pooling_are_those_of_the_package(tmp_path, config):
    path = folder_of(
        tmp_path / "st", pooling=flags("mean_tokens"), after=[("Dense", config), ("Normalize", None)]
    )
    dense(path / "2_Dense", (24, 10), **config)
    found = ours(path)
    assert found.shape == (3, 10)
    np.testing.assert_allclose(found, theirs(path), atol=1e-5)


def test_a_prompt_is_asked_for_by_its_name_or_as_it_is(tmp_path):
    path = folder_of(
        tmp_path / "st",
        pooling=flags("mean_tokens"),
        prompts={"prompts": {"passage": "passage: "}, "default_prompt_name": None},
    )
    by_name, plain = ours(path, prompt="passage"), ours(path)
    np.testing.assert_array_equal(by_name, ours(path, prompt="passage: "))
    assert np.abs(by_name - plain).max() > 1e-3
    np.testing.assert_allclose(by_name, theirs(path, prompt="passage: "), atol=1e-5)
    ids = {resolve(f"dir:{path}", SourceOptions(prompt=p)).id for p in (None, "passage", "x: ")}
    assert len(ids) == 3


def test_what_is_trained_from_one_is_saved_and_read_back_whole(tmp_path):
    path = folder_of(
        tmp_path / "st",
        pooling=flags("mean_tokens", "cls_token"),
        after=[("Dense", {"in_features": 48, "out_features": 12}), ("Normalize", None)],
        transformer={"do_lower_case": True},
        prompts={"prompts": {"query": "query: "}, "default_prompt_name": "query"},
    )
    dense(path / "2_Dense", (48, 12))
    backbone = load(resolve(f"dir:{path}", SourceOptions(max_tokens=20)))
    with torch.no_grad():
        backbone.module.after[0].linear.weight += 1
    backbone.save(backbone.module, tmp_path / "saved")
    again = load(resolve(f"dir:{tmp_path / 'saved'}", SourceOptions()))
    assert again.lengths.limit == 20
    np.testing.assert_allclose(extract(again, TEXTS), extract(backbone, TEXTS), atol=1e-6)
    assert np.abs(extract(again, TEXTS) - ours(path)).max() > 1e-3


def test_a_warm_start_of_an_encoder_with_dense_layers(blank, tmp_path):
    path = folder_of(tmp_path / "st", pooling=flags("mean_tokens"), after=[("Dense", DENSE)])
    dense(path / "2_Dense", (24, 10))
    data = materials.glosses(tmp_path / "g.csv", 8)
    invoke("register", f"dir:{path}").worked()
    invoke("warm-start", data, "--expert", "st", "--out", "out", "--epochs", 1).worked()
    said = invoke("predict", "out", "a small animal", "--json").worked().json
    assert len(said["predictions"]) == 1


BAD = {
    "an unknown activation": ({**DENSE, "activation_function": "os.system"}, UntrustedError, "activation"),
    "a class of other code": ({**DENSE, "activation_function": "my.code.Tanh"}, UntrustedError, "activation"),
    "a layer on tokens": ({**DENSE, "module_input_name": "token_embeddings"}, SourceError, "on tokens"),
    "a bomb": ({"in_features": 60_000, "out_features": 60_000}, SourceError, "weights hold"),
    "another width": ({"in_features": 10, "out_features": 24}, SourceError, "gets 24"),
    "no sizes": ({}, SourceError, "features"),
}


@pytest.mark.parametrize(("config", "error", "said"), BAD.values(), ids=BAD.keys())
def test_layers_that_cannot_be_are_refused(tmp_path, config, error, said):
    path = folder_of(tmp_path / "st", pooling=flags("mean_tokens"), after=[("Dense", config)])
    dense(path / "2_Dense", (24, 10))
    with pytest.raises(error, match=said):
        resolve(f"dir:{path}", SourceOptions())


def test_weights_of_a_layer_in_a_pickle_are_refused(tmp_path):
    path = folder_of(tmp_path / "st", pooling=flags("mean_tokens"), after=[("Dense", DENSE)])
    (path / "2_Dense" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(UntrustedError, match="can run code"):
        resolve(f"dir:{path}", SourceOptions())


@pytest.mark.parametrize("tokens", [0, -1, 10**9])
def test_a_number_of_tokens_that_cannot_be_is_refused(tmp_path, tokens):
    path = materials.bert(tmp_path / "bert", 1)
    with pytest.raises(InvalidInputError, match=f"max_tokens={tokens}"):
        resolve(f"dir:{path}", SourceOptions(max_tokens=tokens))


def test_the_models_own_length_counts_up_to_the_one_asked_for(tmp_path):
    path = materials.bert(tmp_path / "bert", 1, positions=600)
    materials.change_json(path / "tokenizer_config.json", model_max_length=10_000)
    limit = {n: load(resolve(f"dir:{path}", SourceOptions(max_tokens=n))).lengths.limit for n in (None, 40)}
    assert limit == {None: 512, 40: 40}
    short = materials.bert(tmp_path / "short", 1, positions=48)
    assert load(resolve(f"dir:{short}", SourceOptions())).lengths.limit == 48
    path = folder_of(tmp_path / "st", pooling={}, transformer={"max_seq_length": 16})
    assert load(resolve(f"dir:{path}", SourceOptions())).lengths.limit == 16


def test_a_text_of_many_megabytes_is_cut_before_it_is_tokenised(tmp_path):
    path = materials.bert(tmp_path / "bert", 1)
    backbone = load(resolve(f"dir:{path}", SourceOptions()))
    long = "word " * 8_000_000
    np.testing.assert_array_equal(extract(backbone, [long]), extract(backbone, [long[:10_000]]))
    assert (backbone.lengths.seen, backbone.lengths.cut) == (2, 2)


@pytest.mark.slow
def test_query_check_and_warm_start_say_what_share_of_the_texts_was_cut(blank, tmp_path):
    path = materials.bert(tmp_path / "bert", 1, positions=600)
    materials.change_json(path / "tokenizer_config.json", model_max_length=10_000)
    data = tmp_path / "long.csv"
    rows = materials.gloss_rows(8)
    lines = [f'"{text * (40 if i % 2 else 1)}",{label}' for i, (text, label) in enumerate(rows)]
    data.write_text("\n".join(["text,label", *(line.replace('""', '"') for line in lines)]), encoding="utf-8")
    invoke("register", f"dir:{path}", "--max-tokens", 64).worked()
    for _ in range(2):
        notes = invoke("query", data, "--json").worked().json["notes"]
        (said,) = [n for n in notes if "tokens that it reads" in n]
        assert said.startswith("bert: ")
        assert "64 tokens" in said
        assert "max_tokens=600" in said
        notes = invoke("check", data, "--expert", "bert", "--json").worked().json["notes"]
        (said,) = [n for n in notes if "tokens that it reads" in n]
        assert said.startswith("bert: 50 % of the texts are longer than the 64 tokens")
    done = invoke("warm-start", data, "--expert", "bert", "--out", "out", "--epochs", 1, "--json").worked()
    assert "longer than the 64 tokens" in done.json["note"]


def test_of_another_encoder_no_text_is_cut_and_nothing_is_said(blank, tmp_path):
    shutil.rmtree(tmp_path / "x", ignore_errors=True)
    data = materials.glosses(tmp_path / "g.csv", 6)
    invoke("register", f"dir:{materials.bert(tmp_path / 'bert', 1)}").worked()
    for verb in ("query", "check"):
        notes = invoke(verb, data, "--json").worked().json["notes"]
        assert not any("tokens that it reads" in n for n in notes)
