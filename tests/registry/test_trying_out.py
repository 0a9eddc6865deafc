"""An expert is tried on inputs as unlike as data may hold before it is registered."""

import pytest
import torch
import transformers

from tests import materials
from tests.program import invoke


def refused(workspace, folder, *parts):
    """Check that a folder is refused in one line, leaves nothing, and keeps no other source out."""
    before = materials.counts(workspace)
    done = invoke("register", f"dir:{folder}", f"dir:{materials.resnet(folder.parent / 'good', 1)}", "--json")
    assert done.code == 1
    (line,) = done.err.strip().splitlines()
    assert all(part in line for part in (f"dir:{folder}: ", *parts)), line
    # The other one: an expert and its embedding.
    added = {name: n - before[name] for name, n in materials.counts(workspace).items() if n != before[name]}
    assert added == {"experts": 1, "embeddings": 1}


def test_images_of_several_shapes_are_tried_although_those_of_the_probe_set_are_square(blank, tmp_path):
    folder = tmp_path / "vit"
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.ViTModel(config).save_pretrained(folder)
    keeping_the_ratio = transformers.BitImageProcessor(size={"shortest_edge": 32}, do_center_crop=False)
    keeping_the_ratio.save_pretrained(folder)
    refused(blank, folder, "vit failed: ValueError: Input image size (32*42) doesn't match model (32*32)")


@pytest.mark.parametrize(
    ("known", "said"),
    [(3199, "1 token more than the 3199"), (3000, "200 tokens more than the 3000")],
)
def test_tokens_that_no_text_of_the_probe_set_holds_need_an_embedding(blank, tmp_path, known, said):
    folder = materials.bert(tmp_path / "bert", 1)
    config = transformers.BertConfig(
        vocab_size=known, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertModel(config).save_pretrained(folder)
    refused(blank, folder, said, "model.resize_token_embeddings(len(tokenizer))")


def test_texts_longer_than_those_of_the_probe_set_are_tried(blank, tmp_path, monkeypatch):
    whole = transformers.BertModel.forward

    def short(self, input_ids, **others):
        if input_ids.shape[1] > 100:
            raise IndexError("more tokens than the cache holds")
        return whole(self, input_ids, **others)

    monkeypatch.setattr(transformers.BertModel, "forward", short)
    folder = materials.bert(tmp_path / "bert", 1)
    materials.change_json(folder / "tokenizer_config.json", model_max_length=10_000)
    refused(blank, folder, "bert failed: IndexError: more tokens than the cache holds")
    # Cut at what it takes, it is accepted.
    materials.change_json(folder / "tokenizer_config.json", model_max_length=100)
    invoke("register", f"dir:{folder}").worked()
