"""``timm:arch.tag``: an image model of timm, its weights pinned to a commit on the Hub."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expertise_graph.core import Expert, NotFoundError, SourceError, did_you_mean, nearest
from expertise_graph.models.base import Backbone, InputSpec, Pin, SourceOptions
from expertise_graph.models.card import read_card
from expertise_graph.models.hub_client import cached_commit, fetch, fetch_commit, hub_errors
from expertise_graph.models.networks import describe_network, import_timm, load_network
from expertise_graph.models.weights import WEIGHTS, read_object, weight_paths


class TimmSource:
    """Models that timm publishes as ``timm/arch.tag``."""

    def matching(self, pattern: str) -> list[str]:
        """Return the names of the models with weights that a pattern means.

        Raises:
            MissingExtraError: when timm cannot be imported.
            NotFoundError: for none.
        """
        names: list[str] = import_timm().list_models(pretrained=True)
        found = sorted(fnmatch.filter(names, pattern))
        if not found:
            raise NotFoundError(f"timm has no model {pattern!r}; {nearest(pattern, names)}")
        return found

    def resolve(self, locator: str, options: SourceOptions) -> Expert:
        """Pin the weights of a timm name and describe the model.

        Raises:
            MissingExtraError: when timm cannot be imported.
            NotFoundError: for a name that timm does not know.
        """
        _check_name(locator)
        root = fetch(f"timm/{locator}", options.revision)
        spec = {"timm": locator, "input": dataclasses.asdict(_input(read_object(root / "config.json")))}
        named = options if options.name else dataclasses.replace(options, name=locator)
        pin = Pin(source="timm", locator=locator, revision=root.name, id=f"timm:{locator}@{root.name}")
        card = dataclasses.replace(read_card(root / "README.md"), base_models=(), relation=None)
        return describe_network(spec, root / WEIGHTS, named, pin=pin, card=card)

    def repository(self, locator: str, options: SourceOptions) -> tuple[str, str | None]:
        """Return the repository of timm and the revision.

        Raises:
            MissingExtraError, NotFoundError: as `resolve`.
        """
        _check_name(locator)
        return f"timm/{locator}", options.revision

    def fetch(self, locator: str, options: SourceOptions) -> Path | None:
        """Download the weights."""
        return fetch(f"timm/{locator}", options.revision)

    def load(self, expert: Expert, *, trust_code: bool = False) -> Backbone:
        """Load the pinned commit, from the cache where it is there."""
        with hub_errors(f"hf:timm/{expert.locator}"):
            root: Path = fetch_commit(f"timm/{expert.locator}", str(expert.revision))
        return load_network(expert.meta, root / WEIGHTS, expert)

    def weight_files(self, expert: Expert) -> Sequence[Path]:
        """Return the file of the pinned commit, if it is in the cache."""
        root = cached_commit(f"timm/{expert.locator}", str(expert.revision))
        return () if root is None else weight_paths(root)


def _check_name(locator: str) -> None:
    timm = import_timm()
    if not timm.is_model(locator.split(".", 1)[0]):
        raise NotFoundError(f"timm has no model {locator!r}.{did_you_mean(locator, timm.list_models())}")


def _input(config: dict[str, Any]) -> InputSpec:
    """Return the input declared by a timm config.json."""
    declared = config.get("pretrained_cfg", config)
    try:
        channels, size, _ = declared["input_size"]
        return InputSpec(
            size=int(size), channels=int(channels), mean=tuple(declared["mean"]), std=tuple(declared["std"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"the timm config.json declares no usable input: {error}") from error


source = TimmSource()
