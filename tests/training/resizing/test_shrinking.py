from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModel

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.models.base import Backbone
from expertise_graph.models.pooled import PooledModel
from expertise_graph.training.resizing.architectures import FAMILIES, parse_shrink, shrink, shrunk_settings
from expertise_graph.training.resizing.resize_expert import transfer
from tests.training.resizing.material import starter

TEXT = {"vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ENCODER = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "image_size": 32,
    "patch_size": 8,
}
SMALL = {
    "distilbert": {"dim": 48, "hidden_dim": 96, "n_heads": 4, "n_layers": 2},
    "gpt2": {"n_embd": 48, "n_head": 4, "n_layer": 2},
    "resnet": {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [2, 2]},
    "regnet": {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [2, 2], "groups_width": 8},
    "convnext": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 2, 2, 1]},
    "convnextv2": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 2, 2, 1]},
    "swin": {
        "image_size": 64, "embed_dim": 24, "num_heads": [1, 2, 4, 8], "depths": [1, 1, 2, 1],
        "window_size": 2,
    },
    "segformer": {
        "hidden_sizes": [16, 32, 40, 64], "num_attention_heads": [1, 2, 5, 8], "depths": [1, 1, 2, 1],
    },
    "mobilenet_v1": {"depth_multiplier": 0.25, "min_depth": 2, "depth_divisible_by": 2},
    "mobilenet_v2": {"depth_multiplier": 0.25, "min_depth": 2, "depth_divisible_by": 2},
    "efficientnet": {
        "image_size": 64, "width_coefficient": 0.5, "hidden_dim": 640, "depth_coefficient": 0.3,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", FAMILIES)
def test_each_family_is_halved_and_answers(kind):
    tokens = kind in ("gpt2", "distilbert", "albert", "mpnet", "electra") or "bert" in kind
    settings = SMALL.get(kind, ENCODER)
    config = AutoConfig.for_model(kind, **(TEXT if tokens else {}), **settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        large = PooledModel(AutoModel.from_config(config), "mean").eval()
        side = settings.get("image_size", 64)
        batch = (
            {"input_ids": torch.randint(3, 60, (3, 7)), "attention_mask": torch.ones(3, 7, dtype=torch.int64)}
            if tokens
            else {"pixel_values": torch.rand(3, 3, side, side)}
        )
    width = large(**batch).shape[1]
    backbone = Backbone(
        module=large,
        collate=lambda items: batch,
        dim=width,
        modality="text" if tokens else "image",
        fresh=lambda seed: large,
        save=lambda module, folder: None,
    )
    depth = 0.5 if FAMILIES[kind].depth else 1.0
    small = shrink(backbone, width=0.5, depth=depth)
    started = transfer(backbone, small, items=["anything"])
    answer = started.module(**batch)
    assert answer.shape == (3, small.dim)
    assert small.dim == (1280 if kind == "mobilenet_v2" else width // 2)
    assert bool(answer.isfinite().all())
    # Tables of tokens stay as wide as they are where another layer follows them.
    sizes = [sum(p.numel() for p in m.parameters()) for m in (started.module, large)]
    assert sizes[0] < (0.82 if kind in ("albert", "electra", "mobilenet_v2") else 0.4) * sizes[1]
    pairs = zip(started.module.parameters(), small.module.parameters(), strict=True)
    assert any(not torch.equal(one, two) for one, two in pairs)


@pytest.mark.parametrize(
    ("heads", "width", "found"),
    [
        (4, 0.5, {"hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 2}),
        (4, 0.75, {"hidden_size": 72, "intermediate_size": 144, "num_attention_heads": 3}),
        (3, 0.5, {"hidden_size": 48, "intermediate_size": 96}),
        (4, 0.6, {"hidden_size": 56, "intermediate_size": 112}),
    ],
)
def test_heads_become_fewer_or_smaller(heads, width, found):
    settings = {
        "model_type": "bert",
        "hidden_size": 96,
        "intermediate_size": 192,
        "num_attention_heads": heads,
    }
    assert shrunk_settings(settings, width=width) == found


def test_each_stage_keeps_a_layer():
    settings = {"model_type": "resnet", "hidden_sizes": [32, 64], "embedding_size": 32, "depths": [1, 6]}
    assert shrunk_settings(settings, width=1, depth=0.25) == {"depths": [1, 2]}
    assert shrunk_settings(settings, width=1, depth=1) == {}


@pytest.mark.parametrize(
    ("settings", "shares", "reason"),
    [
        ({"model_type": "t5"}, {}, "a t5 cannot be shrunk by a number.*bert .width and depth.*name the arch"),
        ({"model_type": "resnet"}, {"width": 0}, "width=0: give a share above 0 and at most 1"),
        ({"model_type": "resnet"}, {"depth": 1.5}, "depth=1.5: give a share above 0"),
        ({"model_type": "mobilenet_v2"}, {"depth": 0.5}, "depth of a mobilenet_v2 is part of its design"),
    ],
)
def test_what_cannot_be_shrunk_is_refused(settings, shares, reason):
    with pytest.raises(InvalidInputError, match=reason):
        shrunk_settings(settings, **shares)


@pytest.mark.parametrize(
    ("reference", "shares"),
    [
        ("shrink:0.5", (0.5, 1.0)),
        ("shrink:width=0.5,depth=0.25", (0.5, 0.25)),
        ("shrink:depth=0.5", (1.0, 0.5)),
    ],
)
def test_shares_are_read(reference, shares):
    assert parse_shrink(reference) == shares


@pytest.mark.parametrize(
    "reference", ["shrink:", "shrink:half", "shrink:size=0.5", "shrink:width=nan", "shrink:0.5,"]
)
def test_shares_that_are_none_are_refused(reference):
    with pytest.raises(InvalidInputError, match=r"is not understood: write shrink:0\.5 or"):
        parse_shrink(reference)


def test_a_starter_expert_keeps_its_preprocessing():
    _, backbone = starter("mobilenet-v2-imagenet")
    small = shrink(backbone, width=0.5)
    assert small.collate is backbone.collate
    assert small.dim == 1280
    assert sum(p.numel() for p in small.module.parameters()) == 687_680
