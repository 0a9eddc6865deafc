"""A checkpoint folder as an expert: what it is, and its backbone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from expertise_graph.core import UNKNOWN, Expert, SourceError, count, sha256_of_texts
from expertise_graph.data import plural_of
from expertise_graph.models.architectures import (
    IMAGE,
    is_tower,
    modalities_of,
    padded_to_full_length,
    tower_of,
)
from expertise_graph.models.base import Backbone, Batch, Pin, SourceOptions
from expertise_graph.models.card import read_card
from expertise_graph.models.layout import PREPROCESSING, Layout, read_layout, write_pooling
from expertise_graph.models.pooled import PIXELS, PooledModel, image_batch, image_pooling
from expertise_graph.models.transformers_backend import (
    build_skeleton,
    load_image_processor,
    load_model,
    load_tokenizer,
    new_model,
    read_config,
    save_model,
)
from expertise_graph.models.weights import find_weights, sha256_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# Texts are cut to so many tokens: time and memory grow with the length, and what comes later is lost. It is
# part of the hash of the preprocessing, so another number makes other experts.
MAX_TOKENS = 128

# Their position embeddings start behind the padding index.
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "longformer", "mpnet")


def describe_checkpoint(root: Path, options: SourceOptions, pin: Pin) -> Expert:
    """Return the expert in a folder from its metadata; the weights are hashed, not loaded.

    Args:
        root: the folder.
        options: what the user declared.
        pin: where the expert is found again.

    Raises:
        SourceError: when a part is missing or not what it claims to be.
        UntrustedError: when it needs code of its own, or weights in a pickle-bearing format.
    """
    layout = read_layout(root)
    weights = find_weights(layout.model)
    possible = modalities_of(layout.model, chosen=options.modality)
    modality = options.modality or possible[0]
    if modality not in possible:
        raise SourceError(
            f"{layout.model} takes {' and '.join(map(plural_of, possible))}, not {plural_of(modality)}"
        )
    config = tower_of(read_config(layout.model), modality)
    skeleton = build_skeleton(config, layout.model, weights)
    card, preprocessing = read_card(root / "README.md"), _preprocessing_sha(layout, modality)
    content = (weights.sha256, config.model_type, modality, preprocessing)
    towers = is_tower(config) and len(possible) > 1
    return Expert(
        id=_tower_id(pin, towers, modality) or f"{pin.source}:{sha256_of_texts(content)}",
        name=f"{options.name or root.name}-{modality}" if towers else options.name or root.name,
        source=pin.source,
        locator=pin.locator,
        revision=pin.revision,
        modality=modality,
        architecture=config.model_type,
        params=sum(p.numel() for p in skeleton.parameters()) if towers else weights.params,
        bytes=weights.bytes,
        dim=feature_dim(config, skeleton),
        weights_sha=weights.sha256,
        preprocessing_sha=preprocessing,
        license=(options.license or card.license or UNKNOWN).lower(),
        base_model=card.base_model,
        datasets=card.datasets,
        tags=tuple(dict.fromkeys((*options.tags, *card.tags))),
        meta={"towers": list(possible)} if towers else {},
    )


def load_checkpoint(root: Path, expert: Expert) -> Backbone:
    """Return the backbone in a folder whose weights must be those of `expert`.

    Raises:
        SourceError: when the weights changed since registration or do not fit the architecture.
    """
    layout = read_layout(root)
    sha = find_weights(layout.model).sha256
    if sha != expert.weights_sha:
        raise SourceError(
            f"the weights in {root} are not the registered ones (sha256 {sha[:12]}, registered "
            f"{expert.weights_sha[:12]}); register the folder again"
        )
    config = tower_of(read_config(layout.model), expert.modality)
    model = load_model(layout.model, config)
    pooling = layout.pooling or _default_pooling(config, model, expert.modality)

    def fresh(seed: int) -> nn.Module:
        """Return the architecture with random weights."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return PooledModel(new_model(config), pooling)

    return Backbone(
        module=PooledModel(model, pooling).eval(),
        collate=_collate(config, layout.model, expert.modality),
        dim=expert.dim,
        modality=expert.modality,
        fresh=fresh,
        save=lambda module, folder: _save(module, layout, folder),
        check=lambda: _check_vocabulary(layout.model, model, expert.modality),
    )


def feature_dim(config: PretrainedConfig, skeleton: nn.Module) -> int:
    """Return the width of the pooled features, which the configurations name in several ways.

    Raises:
        SourceError: when it is not known.
    """
    if is_tower(config) and isinstance(width := getattr(config, "projection_size", None), int):
        return width
    for name in ("hidden_size", "d_model", "dim", "n_embd"):
        value = getattr(config, name, None)
        if isinstance(value, int):
            return value
    sizes = getattr(config, "hidden_sizes", None) or getattr(config, "embed_dims", None)
    if config.model_type.startswith(("mobilenet", "efficientnet")):
        return _last_norm_width(skeleton)
    return int(sizes[-1]) if sizes else _last_norm_width(skeleton)


def _last_norm_width(skeleton: nn.Module) -> int:
    norms = [m for m in skeleton.modules() if isinstance(m, nn.BatchNorm2d | nn.LayerNorm)]
    if not norms:
        raise SourceError("the feature dimension of this architecture is not known; use factory: instead")
    last = norms[-1]
    return last.num_features if isinstance(last, nn.BatchNorm2d) else int(last.normalized_shape[-1])


def _tower_id(pin: Pin, towers: bool, modality: str) -> str | None:
    """Return the id that a source gives, one for each tower of a model that has two."""
    return f"{pin.id}#{modality}" if pin.id and towers else pin.id


def _default_pooling(config: PretrainedConfig, model: nn.Module, modality: str) -> str:
    """Return how features are pooled where the folder does not say it."""
    if is_tower(config):
        return "pooler"
    return image_pooling(model) if modality == IMAGE else "mean"


def _preprocessing_sha(layout: Layout, modality: str) -> str:
    parts = [f"modality {modality}", f"pooling {layout.pooling}", f"tokens {MAX_TOKENS}"]
    for folder in dict.fromkeys((layout.root, layout.model)):
        parts += [f"{n} {sha256_of([folder / n])}" for n in PREPROCESSING if (folder / n).is_file()]
    return sha256_of_texts(parts)


def _positions(config: PretrainedConfig) -> int:
    """Return how many tokens the position embeddings take; RoBERTa's start behind the padding index."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return MAX_TOKENS
    return positions - 2 if config.model_type in _OFFSET_POSITIONS else positions


def _collate(
    config: PretrainedConfig, folder: Path, modality: str
) -> Callable[[Sequence[Any]], dict[str, torch.Tensor]]:
    if modality == IMAGE:
        processor, grey = load_image_processor(folder), getattr(config, "num_channels", 3) == 1

        def pixels(items: Sequence[Any]) -> Batch:
            images = [item.convert("L") for item in items] if grey else list(items)
            return image_batch([torch.as_tensor(image) for image in processor(images)[PIXELS]])

        return pixels
    tokenizer = load_tokenizer(folder)
    longest = min(MAX_TOKENS, tokenizer.model_max_length, _positions(config))
    full = padded_to_full_length(config)

    def tokens(items: Sequence[Any]) -> Batch:
        padding = "max_length" if full else True
        batch = tokenizer(
            list(items), padding=padding, truncation=True, max_length=longest, return_tensors="pt"
        )
        return {name: tensor for name, tensor in batch.items() if not (full and name == "attention_mask")}

    return tokens


def _check_vocabulary(folder: Path, model: nn.Module, modality: str) -> None:
    """Refuse a tokenizer that knows tokens which the model has no embedding for.

    Raises:
        SourceError: naming the first of them.
    """
    if modality == IMAGE:
        return
    rows = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    beyond = {i: token for token, i in load_tokenizer(folder).get_vocab().items() if i >= rows}
    if beyond:
        raise SourceError(
            f"the tokenizer in {folder} knows {count(len(beyond), 'token')} more than the {rows} of the "
            f"model's embedding, e.g. {beyond[min(beyond)]!r}: call model.resize_token_embeddings("
            "len(tokenizer)), train or merge it so, and save both again"
        )


def _save(module: nn.Module, layout: Layout, folder: Path) -> None:
    """Write the model and copy the preprocessing files beside it; parts keep their places."""
    if not isinstance(module, PooledModel):
        raise TypeError(f"a PooledModel is saved here, got {type(module).__name__}")
    target = folder / layout.model.relative_to(layout.root)
    save_model(module.model, target)
    for name in PREPROCESSING:
        for source, destination in {layout.root: folder, layout.model: target}.items():
            if (source / name).is_file():
                (destination / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, destination / name)
    if module.pooling != layout.pooling:
        write_pooling(folder, module.pooling)
