"""What a checkpoint is apart from its weights: architecture, preprocessing and pooling, as one hash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from expertise_graph.core import sha256_of_json, sha256_of_texts
from expertise_graph.models.layout import DESCRIPTIONS, PREPROCESSING, Layout
from expertise_graph.models.modules import TextModules
from expertise_graph.models.recipe import FIRST, Recipe
from expertise_graph.models.weights import sha256_of

# What a library notes in a configuration without computing anything else by it.
_NOTES = (
    "_commit_hash",
    "_name_or_path",
    "architectures",
    "auto_map",
    "dtype",
    "feature_pooling",
    "finetuning_task",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "task_specific_params",
    "torch_dtype",
    "transformers_version",
)


def identity_of(
    layout: Layout,
    modality: str,
    *,
    content: Mapping[str, Any],
    recipe: Recipe,
    modules: TextModules | None,
) -> str:
    """Return the hash of all that decides the features of a checkpoint beside its weights.

    Under the first rules the architecture was left out.

    Args:
        layout: where the parts are.
        modality: of the inputs.
        content: of config.json, from which the network is built.
        recipe: how features are made.
        modules: what sentence-transformers adds.
    """
    if recipe.version == FIRST:
        parts = [f"modality {modality}", f"pooling {layout.pooling}", f"tokens {recipe.max_tokens}"]
        return sha256_of_texts([*parts, *_files(layout, PREPROCESSING)])
    pooling = layout.pooling if modules is None else modules.pooling
    parts = [
        f"recipe {recipe.version}",
        f"modality {modality}",
        f"pooling {pooling}",
        f"tokens {recipe.max_tokens}",
        f"prompt {recipe.prompt}",
        f"architecture {sha256_of_json(_computing(content))}",
    ]
    described = [name for name in DESCRIPTIONS if name != "features.json"]
    parts += _files(layout, (*PREPROCESSING, *described))
    after = [] if modules is None else modules.files
    return sha256_of_texts([*parts, *(f"{_place(p, layout)} {sha256_of([p])}" for p in after)])


def _computing(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in _NOTES}


def _files(layout: Layout, names: tuple[str, ...] | list[str]) -> Iterator[str]:
    for folder in dict.fromkeys((layout.root, layout.model)):
        yield from (f"{n} {sha256_of([folder / n])}" for n in names if (folder / n).is_file())


def _place(path: Path, layout: Layout) -> str:
    return path.relative_to(layout.root).as_posix()
