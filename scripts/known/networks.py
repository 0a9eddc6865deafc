"""Configurations of famous networks, and what an input costs each: counted on shapes, without weights.

The configuration of a published model is found again by its name (images), or by its number of parameters and
the sizes that families of text encoders have. Where neither tells, none is guessed.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch
import transformers

from expertise_graph.core import Footprint
from expertise_graph.models.footprint import footprint_of_images, footprint_of_texts
from expertise_graph.models.pooled import PooledModel, image_pooling

# Layers, width and inner width of vision transformers by what names call them.
VIT = {
    "tiny": (12, 192, 768), "small": (12, 384, 1536), "medium": (12, 512, 2048), "base": (12, 768, 3072),
    "large": (24, 1024, 4096), "huge": (32, 1280, 5120), "giant": (40, 1408, 6144),
    "so400m": (27, 1152, 4304), "bigg": (48, 1664, 8192),
}  # fmt: skip
LETTERS = {"s": "small", "b": "base", "l": "large", "h": "huge", "g": "giant"}
CONVNEXT = {
    "atto": ([40, 80, 160, 320], [2, 2, 6, 2]), "nano": ([80, 160, 320, 640], [2, 2, 8, 2]),
    "tiny": ([96, 192, 384, 768], [3, 3, 9, 3]), "small": ([96, 192, 384, 768], [3, 3, 27, 3]),
}  # fmt: skip
RESNET = {
    "18": {"hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"},
    "34": {"hidden_sizes": [64, 128, 256, 512], "depths": [3, 4, 6, 3], "layer_type": "basic"}, "50": {},
}  # fmt: skip
SWIN = {"tiny": (96, [2, 2, 6, 2], [3, 6, 12, 24]), "base": (128, [2, 2, 18, 2], [4, 8, 16, 32])}

# Rows of token tables, and positions: Chinese, cased and uncased English, RoBERTa, multilingual ones.
TABLES = (
    (21128, 512), (28996, 512), (30522, 512), (30527, 514), (31102, 512), (32000, 512), (35007, 512),
    (50265, 514), (50001, 514), (64000, 512), (100000, 512), (119547, 512), (119547, 2048), (83828, 2048),
    (128001, 514), (105879, 512), (250002, 514), (250002, 8194), (250037, 512), (501153, 512),
)  # fmt: skip
# Layers, width, inner width of text encoders.
ENCODERS = (
    (2, 128, 512), (3, 312, 600), (3, 384, 1536), (4, 256, 1024), (4, 312, 1200), (4, 512, 2048),
    (6, 384, 1536), (6, 768, 3072), (12, 384, 1536), (12, 768, 3072), (24, 1024, 4096),
)  # fmt: skip
# Attention heads, where their size is not the usual 64.
HEADS = {312: 12, 384: 12}
# Numbers of parameters differ by buffers that were saved, and by the pooling layer.
EXACT, ROUNDED = 0.0005, 0.006

DECODERS = {
    596049920: ("Qwen3Config", {"hidden_size": 1024, "num_hidden_layers": 28, "intermediate_size": 3072,
                "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936}),
    494032768: ("Qwen2Config", {"hidden_size": 896, "num_hidden_layers": 24, "intermediate_size": 4864,
                "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936}),
    149014272: ("ModernBertConfig", {}),
    395000000: ("ModernBertConfig", {"hidden_size": 1024, "num_hidden_layers": 28, "intermediate_size": 2624,
                "num_attention_heads": 16}),
}  # fmt: skip


def footprint(row: Mapping[str, Any]) -> Footprint | None:
    """Return what an input costs a model of the catalogue; None where its configuration is not known."""
    if row["modality"] == "image":
        found = image_network(row["model"].partition(":")[2].rpartition("/")[2].lower())
    elif row["modality"] == "text" and row["params"] and not row["remote_code"]:
        found = text_network(row["params"], row["dim"])
    else:
        found = None
    costs = None if found is None else counted(*found)
    if costs is None or costs.numbers:
        return costs
    # Texts are cut to 512 tokens unless more is asked for.
    return dataclasses.replace(costs, longest=min(row["max_tokens"] or 512, 512))


@cache
def counted(kind: str, settings: tuple[tuple[str, Any], ...], side: int | None) -> Footprint | None:
    """Return the footprint of a configuration; `side` is that of images, None for texts."""
    unfrozen = {name: list(v) if isinstance(v, tuple) else v for name, v in settings}
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(getattr(transformers, kind)(**unfrozen))
    if side is None:
        return footprint_of_texts(PooledModel(model, "mean"))
    return footprint_of_images(PooledModel(model, image_pooling(model)), channels=3, side=side)


def network(
    kind: str, side: int | None, **settings: Any
) -> tuple[str, tuple[tuple[str, Any], ...], int | None]:
    """Return a configuration in a form that can be compared: its class, settings, side of images."""
    frozen = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
    return kind, tuple(sorted(frozen.items())), side


def image_network(name: str) -> Any:
    """Return (class of the configuration, settings, side of images) that a name stands for, or None."""
    for pattern, build in IMAGES:
        found = re.match(pattern, name)
        if found:
            return build(*found.groups())
    return None


def vit(size: str, patch: str, side: str | int, kind: str = "ViTConfig", **more: Any) -> Any:
    """Return a vision transformer."""
    layers, width, inner = VIT[size]
    heads = 16 if size in ("giant", "bigg", "so400m", "huge") else max(1, width // 64)
    more = {"intermediate_size": inner, **more}
    return network(
        kind, int(side), hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        image_size=int(side), patch_size=int(patch), **more,
    )  # fmt: skip


def dinov2(size: str, side: int) -> Any:
    """Return a DINOv2 network, fed with images of a side."""
    layers, width, _ = VIT[size] if size != "giant" else (40, 1536, 0)
    return network(
        "Dinov2Config", side, hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64,
        image_size=side, patch_size=14, use_swiglu_ffn=size == "giant",
    )  # fmt: skip


def convnext(kind: str, size: str) -> Any:
    """Return a ConvNeXt of either version."""
    widths, depths = CONVNEXT[size]
    return network(kind, 224, hidden_sizes=widths, depths=depths)


def swin(kind: str, size: str, window: str, side: str) -> Any:
    """Return a Swin transformer of either version."""
    width, depths, heads = SWIN[size]
    return network(
        kind, int(side), embed_dim=width, depths=depths, num_heads=heads, window_size=int(window),
        image_size=int(side),
    )  # fmt: skip


B0 = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280, "image_size": 224}
CLIP, SIGLIP = "CLIPVisionConfig", "SiglipVisionConfig"
IMAGES = (
    (r"vit_(base)_patch(16|32)_clip_(224)", lambda size, patch, side: vit(size, patch, side, CLIP)),
    (r"vit_(base)_patch(16)_siglip_(224)", lambda size, patch, side: vit(size, patch, side, SIGLIP)),
    (r"vit_(small|base)_patch14_(?:reg4_)?dinov2", lambda size: dinov2(size, 518)),
    (r"vit_(small|base)_patch(16)_dinov3", lambda size, patch: vit(size, patch, 256)),
    (r"(?:vit|deit3?|beitv2)[-_](tiny|small|medium|base)[-_]patch(16)[-_](?:reg4_gap_)?(224|256)", vit),
    (r"dinov2-(small|base|large|giant)$", lambda size: dinov2(size, 224)),
    (r"dinov3-vit(s)(16)", lambda size, patch: vit(LETTERS[size], patch, 224)),
    (r"moco-v3-vit-(b|l)$", lambda size: vit(LETTERS[size], 16, 224)),
    (r"siglip2?-(base|large|so400m)-patch(14|16)-(\d+)", lambda s, p, side: vit(s, p, side, SIGLIP)),
    (r"clip-vit-(base|large)-patch(14|16|32)$", lambda size, patch: vit(size, patch, 224, CLIP)),
    (r"clip-vit-(b|l|h|g)-(14|16|32)-", lambda size, patch: vit(LETTERS[size], patch, 224, CLIP)),
    (r"clip-vit-(bigg)-(14)-", lambda size, patch: vit(size, patch, 224, CLIP)),
    (r"convnext_(atto|nano|tiny|small)\.", lambda size: convnext("ConvNextConfig", size)),
    (r"convnextv2_(nano|tiny)\.", lambda size: convnext("ConvNextV2Config", size)),
    (r"resnet-?(18|34|50)(?:\.|$)", lambda depth: network("ResNetConfig", 224, **RESNET[depth])),
    (r"swin_(tiny|base)_patch4_window(7)_(224)", lambda *given: swin("SwinConfig", *given)),
    (r"swinv2_(tiny)_window(8)_(256)", lambda *given: swin("Swinv2Config", *given)),
    (r"efficientnet_b0\.", lambda: network("EfficientNetConfig", 224, **B0)),
)  # fmt: skip


def text_network(params: int, dim: int | None) -> Any:
    """Return the encoder that has so many parameters, or None where no usual one has."""
    for exact, (kind, settings) in DECODERS.items():
        if abs(params - exact) <= EXACT * exact:
            return network(kind, None, **settings)
    tolerance = ROUNDED if params % 100_000 == 0 else EXACT
    fitting = [found for found in encoders() if abs(found[0] - params) <= tolerance * params]
    # The width of the features, where it is that of the network, decides between two of the same size.
    fitting.sort(key=lambda found: (found[2][1] != dim, abs(found[0] - params)))
    if not fitting:
        return None
    _, (rows, positions), (layers, width, inner) = fitting[0]
    return network(
        "BertConfig", None, vocab_size=rows, max_position_embeddings=positions, num_hidden_layers=layers,
        hidden_size=width, intermediate_size=inner, num_attention_heads=HEADS.get(width, width // 64),
    )  # fmt: skip


def encoders() -> Iterator[tuple[int, tuple[int, int], tuple[int, int, int]]]:
    """Yield the parameters of each usual encoder, with and without a pooling layer, and its sizes."""
    for table, sizes, pooled in itertools.product(TABLES, ENCODERS, (False, True)):
        (rows, positions), (layers, width, inner) = table, sizes
        a_layer = 4 * (width**2 + width) + 2 * width * inner + inner + 5 * width
        yield (rows + positions + 4) * width + layers * a_layer + pooled * (width**2 + width), table, sizes
