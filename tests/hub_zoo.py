"""A hub with many small models of six families, and with every odd repository that people have made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file

from expertise_graph.starter.contents import shipped
from tests import materials

_SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
_TEXT = {"vocab_size": 3200}
_ENDS = {"bos_token_id": 0, "eos_token_id": 0}
FAMILIES = (
    ("resnet", "image", None),
    ("vit", "image", transformers.ViTConfig(**_SMALL, image_size=32, patch_size=8)),
    ("convnext", "image", transformers.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1])),
    ("bert", "text", transformers.BertConfig(**_SMALL, **_TEXT, max_position_embeddings=128)),
    (
        "distilbert",
        "text",
        transformers.DistilBertConfig(**_TEXT, dim=16, hidden_dim=24, n_layers=1, n_heads=2),
    ),
    (
        "gpt2",
        "text",
        transformers.GPT2Config(**_TEXT, n_embd=16, n_layer=1, n_head=2, n_positions=128, **_ENDS),
    ),
)
PIPELINES = {"image": "image-classification", "text": "feature-extraction"}

GONE_LATER = "acme/odd-deleted"
"""To be deleted between the listing and the download."""
ODD = {
    "acme/odd-gated": "gated",
    "acme/odd-pickle": "refused",
    "acme/odd-code": "refused",
    "acme/odd-broken": "broken",
    GONE_LATER: "gone",
    "acme/odd-large-card": None,
    "acme/odd-yaml": None,
    "other/m000": None,
    "acme/odd-same": None,
}
"""What becomes of the odd ones when they are registered: why not, or None where that works."""


def build(root: Path, n: int) -> dict[str, tuple[str, ...]]:
    """Write n sound models, acme/m000 and on, and the odd ones; return the base models of each."""
    models = root / "models"
    templates = [_template(root / "templates" / kind, kind, config) for kind, _, config in FAMILIES]
    bases = {}
    for i in range(n):
        family = i % len(FAMILIES)
        name = f"acme/m{i:03d}"
        folder = _moved(templates[family], models / name, i)
        bases[name] = tuple(_bases(i))
        _describe(folder, FAMILIES[family][1], _card(i, bases[name]))
    for number, name in enumerate(ODD):
        folder = _moved(templates[number % 3], models / name, 10_000 + number)
        _describe(folder, "image", "---\nlicense: mit\n---\n")
        bases[name] = ()
    shutil.copytree(models / "acme" / "m000", models / "acme" / "odd-same", dirs_exist_ok=True)
    _spoil(models / "acme")
    shutil.rmtree(root / "templates")
    return bases


def _bases(i: int) -> Iterator[str]:
    """One in ten has one base model, one in ten has two, of its own family where that is possible."""
    if i % 10 == 8:
        yield f"acme/m{i - 6:03d}"
    if i % 10 == 9 and i > 12:
        yield from (f"acme/m{i - 6:03d}", f"acme/m{i - 12:03d}")


def _card(i: int, bases: tuple[str, ...]) -> str | None:
    """A card as people write them; one in eleven has none."""
    if i % 11 == 10:
        return None if not bases else f"---\nbase_model: {json.dumps(bases)}\n---\n"
    kinds = ("mit", "apache-2.0", "other\nlicense_name: our-terms", "[mit, apache-2.0]")
    base = "" if not bases else f"base_model: {bases[0] if len(bases) == 1 else json.dumps(bases)}\n"
    return (
        f"---\nlicense: {kinds[i % 4]}\n{base}language: {'de' if i % 2 else '[en, de]'}\n---\n# Model {i}\n"
    )


def _template(folder: Path, kind: str, config: transformers.PretrainedConfig | None) -> Path:
    if config is None:
        return materials.resnet(folder, 0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
    if "vocab_size" in config.to_dict():
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(shipped()["languages"] / name, folder)
    else:
        transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def _moved(template: Path, folder: Path, seed: int) -> Path:
    """Copy a model with other weights."""
    shutil.copytree(template, folder)
    rng = np.random.default_rng(seed)
    weights = {
        name: w + 0.02 * rng.standard_normal(w.shape).astype(w.dtype) if w.dtype.kind == "f" else w
        for name, w in load_file(folder / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _describe(folder: Path, modality: str, card: str | None) -> None:
    # The Hub tells the use of a model from its files where the card does not.
    (folder / ".hub.json").write_text(json.dumps({"pipeline_tag": PIPELINES[modality]}))
    if card is not None:
        (folder / "README.md").write_text(card)


def _spoil(acme: Path) -> None:
    (acme / "odd-gated" / ".gated").write_text("")
    (acme / "odd-pickle" / "model.safetensors").rename(acme / "odd-pickle" / "pytorch_model.bin")
    materials.change_json(acme / "odd-code" / "config.json", auto_map={"AutoModel": "modeling.Net"})
    tagged = {"pipeline_tag": PIPELINES["image"], "tags": ["custom_code"]}
    (acme / "odd-code" / ".hub.json").write_text(json.dumps(tagged))
    weights = acme / "odd-broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (acme / "odd-large-card" / "README.md").write_text("---\nlicense: mit\n---\n" + "x" * (10 << 20))
    (acme / "odd-yaml" / "README.md").write_text("---\nlicense: [mit\n  base_model: {\n---\n")
