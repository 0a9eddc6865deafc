"""A source of another package: ``store:name`` is a checkpoint in the team's folder of models."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from expertise_graph.core import Expert, NotFoundError
from expertise_graph.models import Backbone, SourceOptions, load, resolve


class ModelStore:
    """Checkpoints by name, below the folder that TEAM_MODELS names."""

    def resolve(self, locator: str, options: SourceOptions) -> Expert:
        """Describe the checkpoint as the local source does; the name and the weights pin it."""
        found = resolve(f"dir:{_folder(locator)}", dataclasses.replace(options, name=locator))
        return dataclasses.replace(
            found, id=f"store:{locator}@{found.weights_sha[:12]}", source="store", locator=locator
        )

    def load(self, expert: Expert, *, trust_code: bool = False) -> Backbone:
        """Load what is in the folder now; other weights than the registered ones are refused."""
        here = dataclasses.replace(expert, source="dir", locator=str(_folder(expert.locator)))
        return load(here, trust_code=trust_code)


def _folder(name: str) -> Path:
    folder = Path(os.environ["TEAM_MODELS"]) / name
    if not folder.is_dir():
        raise NotFoundError(f"the team has no model {name!r}")
    return folder


source = ModelStore()
