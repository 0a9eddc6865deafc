"""A checkpoint folder in the layout of transformers or sentence-transformers."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer, PretrainedConfig
from transformers.utils import logging as transformers_logging

from expertise_graph.errors import SourceError, UntrustedError
from expertise_graph.sources.base import Backbone, SourceOptions
from expertise_graph.sources.card import read_card
from expertise_graph.sources.pooled import POOLINGS, PooledModel, image_pooling
from expertise_graph.sources.weights import WeightFiles, find_weights, read_json, sha256_of
from expertise_graph.types import UNKNOWN, Expert

MAX_TOKENS = 128
PREPROCESSING = (
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
)
ALLOWED = ("config.json", "model.safetensors", "model*.safetensors*", "README.md", *PREPROCESSING)
_MAX_LAYERS = 1000
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "longformer", "mpnet")


@dataclass(frozen=True)
class Layout:
    """Where the parts of a checkpoint folder are."""

    root: Path
    model: Path
    pooling: str | None


def describe(root: Path, options: SourceOptions) -> Expert:
    """Return the expert in a folder from its metadata; the weights are hashed, not loaded.

    The id is left for the caller to set.

    Raises:
        SourceError: when a part is missing or not what it claims to be.
        UntrustedError: when it needs code of its own, or weights in a pickle-bearing format.
    """
    layout = read_layout(root)
    weights = find_weights(layout.model)
    config = _config(layout.model)
    modality = options.modality or _modality(layout.model)
    skeleton = _skeleton(config, layout.model, weights)
    card = read_card(root / "README.md")
    return Expert(
        id="",
        name=options.name or root.name,
        source="dir",
        locator=str(root),
        modality=modality,
        architecture=config.model_type,
        params=weights.params,
        bytes=weights.bytes,
        dim=_feature_dim(config, skeleton),
        weights_sha=weights.sha256,
        preprocessing_sha=_preprocessing_sha(layout, modality),
        license=(options.license or card.license or UNKNOWN).lower(),
        base_model=card.base_model,
        datasets=card.datasets,
        tags=tuple(dict.fromkeys((*options.tags, *card.tags))),
    )


def load(root: Path, expert: Expert) -> Backbone:
    """Return the backbone in a folder whose weights must be those of `expert`.

    Raises:
        SourceError: when the weights changed since registration or do not fit the architecture.
    """
    layout = read_layout(root)
    found = find_weights(layout.model).sha256
    if found != expert.weights_sha:
        raise SourceError(
            f"the weights in {root} are not the registered ones (sha256 {found[:12]}, registered "
            f"{expert.weights_sha[:12]}); register the folder again"
        )
    config = _config(layout.model)
    model = _weighted(layout.model)
    pooling = layout.pooling or (image_pooling(model) if expert.modality == "image" else "mean")

    def fresh(seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return PooledModel(AutoModel.from_config(config), pooling)

    return Backbone(
        module=PooledModel(model, pooling).eval(),
        collate=_collate(config, layout.model, expert.modality),
        dim=expert.dim,
        modality=expert.modality,
        fresh=fresh,
        save=lambda module, folder: _save(module, layout, folder),
    )


def read_layout(root: Path) -> Layout:
    """Return where model and pooling are; sentence-transformers folders say so in modules.json.

    Raises:
        UntrustedError: for modules other than a transformer, a pooling and a normalisation.
        SourceError: when a path leads out of the folder, or no model is there.
    """
    if not (root / "modules.json").is_file():
        return Layout(root, root, None)
    model, pooling = root, "mean"
    for module in _modules(root / "modules.json"):
        kind, path = str(module.get("type", "")).rsplit(".", 1)[-1], str(module.get("path", ""))
        if kind == "Normalize":
            continue
        part = root / path
        if not part.resolve().is_relative_to(root.resolve()) or not part.is_dir():
            raise SourceError(f"modules.json of {root} names {path!r}, which is no folder inside it")
        if kind == "Transformer":
            model = part
        elif kind == "Pooling":
            pooling = _pooling(read_json(part / "config.json"))
        else:
            raise UntrustedError(
                f"module {kind!r} of {root} is code that is not read; only Transformer, Pooling"
            )
    return Layout(root, model, pooling)


def _modules(path: Path) -> list[dict[str, Any]]:
    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(modules, list) or not all(isinstance(m, dict) for m in modules):
        raise SourceError(f"{path} holds no list of modules")
    return modules


def _pooling(config: dict[str, Any]) -> str:
    named = config.get("pooling_mode")
    if isinstance(named, str) and named in POOLINGS:
        return named
    keys = {
        "cls": "pooling_mode_cls_token",
        "max": "pooling_mode_max_tokens",
        "lasttoken": "pooling_mode_lasttoken",
    }
    return next((pooling for pooling, key in keys.items() if config.get(key) is True), "mean")


def _config(folder: Path) -> PretrainedConfig:
    content = read_json(folder / "config.json")
    if (layers := _declared_layers(content)) > _MAX_LAYERS:
        raise SourceError(f"config.json of {folder} declares {layers} layers; at most {_MAX_LAYERS} are read")
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
        return config
    except Exception as error:
        if "auto_map" in content:
            raise UntrustedError(
                f"{folder} needs code of its own (auto_map), which is not run; wrap it as "
                "factory:package.module:callable with --trust-code"
            ) from error
        kind = content.get("model_type")
        raise SourceError(
            f"config.json of {folder} is not usable (model_type {kind!r}): {_line(error)}"
        ) from error


def _declared_layers(content: dict[str, Any]) -> int:
    """Return the largest number of layers, or sum of depths, that a configuration asks for."""
    most = 0
    for key, value in content.items():
        if isinstance(value, dict):
            most = max(most, _declared_layers(value))
        elif key.endswith(("layers", "layer", "depth", "depths", "blocks", "repeats")):
            parts = value if isinstance(value, list) else [value]
            most = max(most, sum(p for p in parts if isinstance(p, int)))
    return most


def _skeleton(config: PretrainedConfig, folder: Path, weights: WeightFiles) -> nn.Module:
    """Return the model without memory for its weights; refuse one far larger than its file."""
    try:
        with torch.device("meta"):
            model: nn.Module = AutoModel.from_config(config)
    except Exception as error:
        raise SourceError(
            f"config.json of {folder} describes no model that can be built: {_line(error)}"
        ) from error
    size = sum(p.numel() for p in model.parameters())
    if size > 2 * weights.params + 10_000_000:
        raise SourceError(
            f"config.json of {folder} describes {size:,} parameters, its weights hold {weights.params:,}; "
            "the two do not belong together"
        )
    return model


def _feature_dim(config: PretrainedConfig, skeleton: nn.Module) -> int:
    """Return the width of the pooled features, which the configurations name in several ways."""
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


def _modality(folder: Path) -> str:
    image = (folder / "preprocessor_config.json").is_file()
    text = any(
        (folder / name).is_file() for name in ("tokenizer.json", "vocab.txt", "spiece.model", "vocab.json")
    )
    if image and text:
        raise SourceError(f"{folder} takes images and text; say which with --modality image|text")
    if not image and not text:
        raise SourceError(
            f"{folder} has neither preprocessor_config.json nor tokenizer.json; add the one it needs"
        )
    return "image" if image else "text"


def _preprocessing_sha(layout: Layout, modality: str) -> str:
    parts = [f"modality {modality}", f"pooling {layout.pooling}", f"tokens {MAX_TOKENS}"]
    for folder in dict.fromkeys((layout.root, layout.model)):
        parts += [f"{n} {sha256_of([folder / n])}" for n in PREPROCESSING if (folder / n).is_file()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _weighted(folder: Path) -> nn.Module:
    """Return the model with its weights; refuse when any but a head or pooler is missing."""
    try:
        with quiet_transformers():
            model, report = AutoModel.from_pretrained(
                folder,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as error:
        raise SourceError(f"the weights in {folder} do not load: {_line(error)}") from error
    missing = [k for k in report["missing_keys"] if "pooler" not in k and "position_ids" not in k]
    if missing:
        raise SourceError(
            f"the weights in {folder} lack {len(missing)} tensors of the model, e.g. {missing[0]}"
        )
    result: nn.Module = model
    return result


def _positions(config: PretrainedConfig) -> int:
    """Return how many tokens the position embeddings take; RoBERTa's start behind the padding index."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return MAX_TOKENS
    return positions - 2 if config.model_type in _OFFSET_POSITIONS else positions


def _collate(
    config: PretrainedConfig, folder: Path, modality: str
) -> Callable[[Sequence[Any]], dict[str, torch.Tensor]]:
    if modality == "image":
        processor = _opened(AutoImageProcessor, folder)
        return lambda items: {"pixel_values": processor(list(items), return_tensors="pt")["pixel_values"]}
    tokenizer = _opened(AutoTokenizer, folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    longest = min(MAX_TOKENS, tokenizer.model_max_length, _positions(config))
    return lambda items: dict(
        tokenizer(list(items), padding=True, truncation=True, max_length=longest, return_tensors="pt")
    )


def _opened(kind: Any, folder: Path) -> Any:
    try:
        return kind.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise SourceError(f"the preprocessing in {folder} does not load: {_line(error)}") from error


def _save(module: nn.Module, layout: Layout, folder: Path) -> None:
    """Write the model and copy the preprocessing files beside it; parts keep their places."""
    if not isinstance(module, PooledModel):
        raise TypeError(f"a PooledModel is saved here, got {type(module).__name__}")
    target = folder / layout.model.relative_to(layout.root)
    target.mkdir(parents=True, exist_ok=True)
    with quiet_transformers():
        module.model.save_pretrained(target, safe_serialization=True)  # type: ignore[operator]
    for name in PREPROCESSING:
        for source, destination in {layout.root: folder, layout.model: target}.items():
            if (source / name).is_file():
                (destination / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, destination / name)


class quiet_transformers:
    """Keep transformers' own bars and load reports off the terminal; ours says what goes on."""

    def __enter__(self) -> None:
        self._level = transformers_logging.get_verbosity()
        self._bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        transformers_logging.set_verbosity(self._level)
        if self._bars:
            transformers_logging.enable_progress_bar()


def _line(error: Exception) -> str:
    """Return the first line of an error's text."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
