"""A checkpoint folder as an expert: what it is, and its backbone."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import nn

from expertise_graph.core import FOOTPRINT, UNKNOWN, Expert, Footprint, SourceError, sha256_of_texts
from expertise_graph.data import plural_of
from expertise_graph.models.architectures import IMAGE, is_tower, modalities_of, tower_of
from expertise_graph.models.base import Backbone, Batch, Pin, SourceOptions, TextLengths
from expertise_graph.models.bounds import declared_side
from expertise_graph.models.card import read_card
from expertise_graph.models.changes import stamps
from expertise_graph.models.footprint import footprint_of_images, footprint_of_texts
from expertise_graph.models.identity import identity_of
from expertise_graph.models.layout import (
    DESCRIPTIONS,
    PREPROCESSING,
    Layout,
    module_folders,
    read_layout,
    write_pooling,
)
from expertise_graph.models.modules import TextModules, read_modules
from expertise_graph.models.pooled import PIXELS, PooledModel, image_batch, image_pooling
from expertise_graph.models.recipe import FIRST, FIRST_RECIPE, Recipe
from expertise_graph.models.tensors import read_tensors
from expertise_graph.models.text_input import check_vocabulary, declared_limit, text_collate
from expertise_graph.models.transformers_backend import (
    build_skeleton,
    load_image_processor,
    load_model,
    new_model,
    read_config,
    read_content,
    save_model,
)
from expertise_graph.models.weights import WeightFiles, find_weights

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What a checkpoint is made of beside its weights, read together."""

    layout: Layout
    modality: str
    config: PretrainedConfig
    recipe: Recipe
    modules: TextModules | None
    identity: str

    @classmethod
    def read(cls, layout: Layout, modality: str, recipe: Recipe) -> _Parts:
        content = read_content(layout.model)
        modules = read_modules(layout) if recipe.version > FIRST else None
        return cls(
            layout=layout,
            modality=modality,
            config=tower_of(read_config(layout.model, content), modality),
            recipe=recipe,
            modules=modules,
            identity=identity_of(layout, modality, content=content, recipe=recipe, modules=modules),
        )

    def pooling(self, model: nn.Module) -> str:
        """Return how token states or feature maps are pooled."""
        named = self.layout.pooling if self.modules is None else self.modules.pooling
        if named is not None:
            return named
        if is_tower(self.config):
            return "pooler"
        return image_pooling(model) if self.modality == IMAGE else "mean"

    def network(self, model: nn.Module) -> PooledModel:
        """Return the model with its pooling and with random weights in what comes after it."""
        after, pooling = None, self.pooling(model)
        if self.modules is not None:
            width = feature_dim(self.config, model) * len(pooling.split("+"))
            after, _ = self.modules.layers(width)
        return PooledModel(model, pooling, after)

    def width(self, skeleton: nn.Module) -> int:
        """Return the width of the features."""
        width = feature_dim(self.config, skeleton)
        if self.modules is None:
            return width
        return self.modules.layers(width * len(self.modules.pooling.split("+")))[1]


def describe_checkpoint(
    root: Path, options: SourceOptions, pin: Pin, *, recipe: Recipe | None = None
) -> Expert:
    """Return the expert in a folder from its metadata; the weights are hashed, not loaded.

    Args:
        root: the folder.
        options: what the user declared.
        pin: where the expert is found again.
        recipe: how features are made, unless that is noted in the folder or asked for.

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
    chosen = Recipe.chosen(root, options, default=recipe, repository=pin.locator)
    parts = _Parts.read(layout, modality, chosen)
    skeleton = build_skeleton(parts.config, layout.model, weights)
    card = read_card(root / "README.md")
    content = (weights.sha256, parts.config.model_type, modality, parts.identity)
    former = {} if options.has_settings else _former(layout, weights, parts, pin)
    towers = is_tower(parts.config) and len(possible) > 1
    costs = _footprint(parts, skeleton)
    return Expert(
        id=_tower_id(pin, towers, modality) or f"{pin.source}:{sha256_of_texts(content)}",
        name=f"{options.name or root.name}-{modality}" if towers else options.name or root.name,
        source=pin.source,
        locator=pin.locator,
        revision=pin.revision,
        modality=modality,
        architecture=parts.config.model_type,
        params=sum(p.numel() for p in skeleton.parameters()) if towers else weights.params,
        bytes=weights.bytes,
        dim=parts.width(skeleton),
        weights_sha=weights.sha256,
        preprocessing_sha=parts.identity,
        license=(options.license or card.license or UNKNOWN).lower(),
        base_model=card.base_model,
        datasets=card.datasets,
        tags=tuple(dict.fromkeys((*options.tags, *card.tags))),
        meta={
            **card.meta,
            **chosen.meta,
            **former,
            **({} if costs is None else {FOOTPRINT: costs.as_dict()}),
            **({"towers": list(possible)} if towers else {}),
            **({"files": stamps(root)} if pin.source == "dir" else {}),
        },
    )


def _footprint(parts: _Parts, skeleton: nn.Module) -> Footprint | None:
    """Return what an input costs the model; None where that cannot be found out on shapes alone."""
    network = parts.network(skeleton)
    if parts.modality != IMAGE:
        found = footprint_of_texts(network)
        longest = declared_limit(parts.config, parts.layout.model, parts.recipe, parts.modules)
        return None if found is None else dataclasses.replace(found, longest=longest)
    side = declared_side(parts.layout.model) or getattr(parts.config, "image_size", None)
    channels = getattr(parts.config, "num_channels", 3)
    return footprint_of_images(network, channels=channels, side=side) if isinstance(side, int) else None


def _former(layout: Layout, weights: WeightFiles, parts: _Parts, pin: Pin) -> dict[str, Any]:
    """Return what earlier versions, which left the architecture out, would have called the same expert."""
    if parts.recipe.version == FIRST:
        return {}
    sha = identity_of(layout, parts.modality, content={}, recipe=FIRST_RECIPE, modules=None)
    content = (weights.sha256, parts.config.model_type, parts.modality, sha)
    return {
        "former_id": pin.id or f"{pin.source}:{sha256_of_texts(content)}",
        "former_preprocessing_sha": sha,
    }


def load_checkpoint(root: Path, expert: Expert) -> Backbone:
    """Return the backbone in a folder that must be what `expert` was registered as.

    Raises:
        SourceError: when weights, configuration or preprocessing changed since, or do not fit each other.
    """
    layout = read_layout(root)
    parts = _Parts.read(layout, expert.modality, Recipe.of(expert))
    _check_identity(root, expert, parts.identity)
    sha, state = read_tensors(find_weights(layout.model).files)
    _check_weights(root, expert, sha)
    model = load_model(layout.model, parts.config, state)
    module = parts.network(model)
    if parts.modules is not None and hasattr(module, "after"):
        parts.modules.load(module.after)
    collate, lengths = _collate(parts)

    def fresh(seed: int) -> nn.Module:
        """Return the architecture with random weights."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return parts.network(new_model(parts.config))

    return Backbone(
        module=module.eval(),
        collate=collate,
        dim=expert.dim,
        modality=expert.modality,
        fresh=fresh,
        save=lambda module, folder: _save(module, parts, folder),
        lengths=lengths,
        check=lambda: (
            _check_image_size(layout.model, parts.config, module, collate)
            if lengths is None
            else check_vocabulary(layout.model, model)
        ),
    )


def verify_checkpoint(root: Path, expert: Expert) -> None:
    """Compare a folder with what an expert was registered as, without loading it.

    Raises:
        SourceError: when weights, configuration or preprocessing changed since.
    """
    layout = read_layout(root)
    parts = _Parts.read(layout, expert.modality, Recipe.of(expert))
    _check_identity(root, expert, parts.identity)
    _check_weights(root, expert, find_weights(layout.model).sha256)


def _check_identity(root: Path, expert: Expert, identity: str) -> None:
    if identity != expert.preprocessing_sha:
        raise SourceError(
            f"the configuration or the preprocessing in {root} is not the registered one; register the "
            "folder again"
        )


def _check_weights(root: Path, expert: Expert, sha: str) -> None:
    if sha != expert.weights_sha:
        raise SourceError(
            f"the weights in {root} are not the registered ones (sha256 {sha[:12]}, registered "
            f"{expert.weights_sha[:12]}); register the folder again"
        )


def _check_image_size(
    folder: Path, config: PretrainedConfig, module: nn.Module, collate: Callable[[Sequence[Any]], Batch]
) -> None:
    """Refuse a preprocessing that makes images of a size which the model does not take.

    Raises:
        SourceError: saying which size it is to make.
    """
    size = getattr(config, "image_size", None)
    if not isinstance(size, int):
        return
    # Of another size than any that is usual, so that one which is not changed is seen.
    batch = collate([Image.new("RGB", (2 * size + 1, 2 * size + 1))])
    height, width = (int(n) for n in batch[PIXELS].shape[-2:])
    if (height, width) == (size, size):
        return
    try:
        with torch.inference_mode():
            module(**batch)
    except (RuntimeError, ValueError) as error:
        raise SourceError(
            f"the model in {folder} takes images of {size} x {size} pixels, and its preprocessing makes them "
            f"{height} x {width}: set do_resize to true and size to {size} in preprocessor_config.json"
        ) from error


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


def _collate(parts: _Parts) -> tuple[Callable[[Sequence[Any]], Batch], TextLengths | None]:
    folder, config = parts.layout.model, parts.config
    if parts.modality != IMAGE:
        return text_collate(config, folder, parts.recipe, parts.modules)
    processor, grey = load_image_processor(folder), getattr(config, "num_channels", 3) == 1

    def pixels(items: Sequence[Any]) -> Batch:
        images = [item.convert("L") for item in items] if grey else list(items)
        return image_batch([torch.as_tensor(image) for image in processor(images)[PIXELS]])

    return pixels, None


def _save(module: nn.Module, parts: _Parts, folder: Path) -> None:
    """Write the model and copy the preprocessing files beside it; parts keep their places."""
    layout = parts.layout
    if not isinstance(module, PooledModel):
        raise TypeError(f"a PooledModel is saved here, got {type(module).__name__}")
    target = folder / layout.model.relative_to(layout.root)
    save_model(module.model, target)
    for name in (*PREPROCESSING, *DESCRIPTIONS):
        for source, destination in {layout.root: folder, layout.model: target}.items():
            if (source / name).is_file():
                (destination / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, destination / name)
    for place, part in module_folders(layout.root) if parts.modules is not None else ():
        source, destination = part / "config.json", folder / part.relative_to(layout.root) / "config.json"
        if place == "Pooling":
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, destination)
    if parts.modules is not None and hasattr(module, "after"):
        parts.modules.save(module.after, layout.root, folder)
    if module.pooling != parts.pooling(module.model):
        write_pooling(folder, module.pooling)
    parts.recipe.write(folder)
