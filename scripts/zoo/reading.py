"""The small text encoder, its vocabulary, and how experts are pooled and written."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from functools import cache as remembered
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedModel, PreTrainedTokenizerFast

from zoo.labelled import Sample
from zoo.recipes import RECIPES

VOCABULARY = 3200
WIDTH = 96
LENGTH = 64
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
POOLING_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


@remembered
def tokenizer(cache: Path) -> PreTrainedTokenizerFast:
    """Return the word pieces that all text specialists share, learnt from all their texts."""
    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, limit_alphabet=300, show_progress=False
    )
    recipes = [recipe for recipe in RECIPES.values() if recipe.modality == "text"]
    pieces.train_from_iterator((str(s.value) for r in recipes for s in r.samples(cache)), trainer)
    pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(
        zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True)
    )
    return PreTrainedTokenizerFast(tokenizer_object=pieces, model_max_length=LENGTH, **names)


def encode(tokens: PreTrainedTokenizerFast, samples: Sequence[Sample]) -> Mapping[str, torch.Tensor]:
    """Return input_ids and attention_mask, (n, LENGTH) each."""
    values = [str(sample.value) for sample in samples]
    encoded = tokens(values, padding=True, truncation=True, max_length=LENGTH, return_tensors="pt")
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


def network(classes: int) -> tuple[BertModel, torch.nn.Linear]:
    """Return an untrained encoder and its head."""
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=2 * WIDTH, max_position_embeddings=LENGTH, type_vocab_size=2,
    )  # fmt: skip
    # The architecture's own pooler is never used; it is kept so that no weight is missing on loading.
    return BertModel(config), torch.nn.Linear(WIDTH, classes)


class Classifier(torch.nn.Module):
    """Mean pooling and a linear head on an encoder."""

    def __init__(self, backbone: BertModel, head: torch.nn.Linear) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, **batch: torch.Tensor) -> Any:
        """Return logits (n, classes)."""
        longest = int(batch["attention_mask"].sum(1).max())
        batch = {name: tensor[:, :longest] for name, tensor in batch.items()}
        return self.head(torch.nn.functional.dropout(pooled(self.backbone, batch), 0.1, self.training))


def pooled(backbone: PreTrainedModel, batch: Mapping[str, torch.Tensor]) -> Any:
    """Return the features (n, d): a network's own pooling for images, the mean over tokens for texts."""
    output = backbone(**batch)
    if "attention_mask" not in batch:
        return output.pooler_output.flatten(1)
    mask = batch["attention_mask"][..., None].float()
    return (output.last_hidden_state * mask).sum(1) / mask.sum(1)


def write(backbone: BertModel, tokens: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the encoder in the layout of sentence-transformers, which records the mean pooling."""
    write_half(backbone, folder)
    tokens.save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    pooling = {
        "word_embedding_dimension": WIDTH,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    files = {
        "modules.json": POOLING_MODULES,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": LENGTH, "do_lower_case": False},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_half(backbone: PreTrainedModel, folder: Path) -> None:
    """Write the weights in half precision, with a configuration that says to compute in single."""
    copy.deepcopy(backbone).half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    path = folder / "config.json"
    config = {**json.loads(path.read_text(encoding="utf-8")), "dtype": "float32"}
    # Labels of a head that is not in the file would only mislead.
    for key in ("id2label", "label2id"):
        config.pop(key, None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
